"""The ticket: a seed, the masks, and what neither rebuilds. `container` is the file around it, `restore` the way back.

docs/ticket-format.md and docs/ticket-format-2.md describe the format. Reading is strict, and in an order that allocates
nothing large before the size of the file has been checked.
"""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from slt_compress import prng
from slt_compress.errors import TicketError
from slt_compress.files import write_atomically
from slt_compress.hub.address import CARD_NAME, TICKET_NAME
from slt_compress.hub.download import located
from slt_compress.hub.upload import MESSAGE, push
from slt_compress.masking import codecs
from slt_compress.prng import SeedRecipe
from slt_compress.ticket import assembly, container, masks, pretrained, version1, version2, weights
from slt_compress.ticket.assembly import LayerParts, Values
from slt_compress.ticket.card import card
from slt_compress.ticket.fields import MAX_FILE_BYTES
from slt_compress.ticket.held_out import Reference
from slt_compress.ticket.masks import Mask
from slt_compress.ticket.open_channels import OpenStatistic, without_closed
from slt_compress.ticket.schema import Contents, Layer, Provenance
from slt_compress.ticket.stored import FP16, StoredTensor
from slt_compress.version import __version__

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class Ticket(Contents):
    """A strong lottery ticket. Make one with `Ticket.pack`, `Ticket.assemble` or `Ticket.load`; it never changes.

    >>> ticket = Ticket.load("ticket.safetensors")
    >>> ticket.mask("1.weight").shape
    (300, 784)
    >>> module = ticket.restore()

    Its attributes are those of `Contents`.
    """

    @classmethod
    def pack(
        cls,
        masks: Mapping[str, Mask],
        scales: Mapping[str, float],
        statistics: Mapping[str, Values],
        provenance: Provenance,
        *,
        origin: SeedRecipe,
        granularity: str = "weight",
        codec: str = "auto",
        constants: Mapping[str, float] | None = None,
    ) -> "Ticket":
        """Code one mask a layer, given by tensor name and in the tensors' shapes, into a ticket.

        With the granularity "neuron", one gate keeps or drops all weights into an output. Otherwise as `assemble`.
        Raises ValueError if a mask contradicts the granularity or the gates that the seed fixes.
        """
        code = assembly.weight_layer if granularity == "weight" else assembly.neuron_layer
        layers = [code(name, mask, scales[name], origin, codec) for name, mask in masks.items()]
        return cls._of(layers, provenance, origin, statistics, {}, constants or {})

    @classmethod
    def assemble(
        cls,
        layers: Sequence[LayerParts],
        provenance: Provenance,
        *,
        origin: SeedRecipe,
        statistics: Mapping[str, Values] | None = None,
        parameters: Mapping[str, Values] | None = None,
        constants: Mapping[str, float] | None = None,
        codec: str = "auto",
    ) -> "Ticket":
        """Code layers of any number of masks into a ticket.

        Args:
            layers: what is to be coded of each gated tensor, in module order.
            provenance: where the ticket comes from.
            origin: what is generated.
            statistics: floating-point buffers by full name; numbers are stored as fp32.
            parameters: trained values by parameter name, likewise.
            constants: what parameters are filled with, by name, that are neither gated nor trained, and for which the
                rule by name and shape would be wrong.
            codec: how masks are coded, "auto" for the shortest code.

        Raises ValueError for masks that contradict each other, their layer or the gates that the seed fixes, and
        TicketError for anything that a reader would refuse.
        """
        coded = assembly.code_layers(layers, origin, codec)
        return cls._of(coded, provenance, origin, statistics or {}, parameters or {}, constants or {})

    @classmethod
    def _of(
        cls,
        layers: Sequence[Layer],
        provenance: Provenance,
        origin: SeedRecipe,
        statistics: Mapping[str, Values],
        parameters: Mapping[str, Values],
        constants: Mapping[str, float],
    ) -> "Ticket":
        stored = assembly.as_stored(statistics)
        ticket = cls(
            **vars(origin),
            layers=tuple(layers),
            stored_statistics=stored,
            parameters=assembly.as_stored(parameters),
            constants=dict(constants),
            provenance=provenance,
            weights_digest=_weights_digest(origin.initialiser, origin.seed, layers),
            tool=f"slt-compress {__version__}",
            half_statistics=version2.are_half(stored),
        )._without_closed()
        cls.from_bytes(ticket.to_bytes())  # raises for what a reader would refuse
        return ticket

    @classmethod
    def load(cls, path: str | Path) -> "Ticket":
        """Read a ticket and check its digest; one on the Hugging Face hub, hf://OWNER/NAME, is downloaded first.

        Raises TicketError, naming the file, what was expected and what was found, if it is not a whole and undamaged
        ticket of a version this release reads; for one on the hub, as `hub.download.fetch` does.
        """
        path = located(path)
        try:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise TicketError(f"{path} is not a ticket: it has {size} bytes, a ticket at most {MAX_FILE_BYTES}")
            content = path.read_bytes()
        except OSError as error:
            raise TicketError(f"cannot read the ticket {path}: {error.strerror or error}") from error
        try:
            return cls.from_bytes(content)
        except TicketError as error:
            raise TicketError(f"{path} is not a valid ticket: {error}") from error

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> "Ticket":
        """Read a ticket from a repository OWNER/NAME of the Hugging Face hub, or from a folder or file here, as `load`
        does. The arguments are those of huggingface_hub's `ModelHubMixin`.
        """
        path = pretrained.find(
            pretrained_model_name_or_path,
            revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return cls.load(path)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = MESSAGE,
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        model_card_kwargs: Mapping[str, str] | None = None,
    ) -> str:
        """Write the ticket and its model card to a repository OWNER/NAME of the hub, and return the URL of the commit.

        The arguments are those of huggingface_hub's `ModelHubMixin`; `model_card_kwargs` may hold `license`. Raises as
        `hub.upload.push` does.
        """
        text = card(self, repo_id, **(model_card_kwargs or {}))
        files = {TICKET_NAME: self.to_bytes(), CARD_NAME: text.encode()}
        made = push(
            *(repo_id, files),
            message=commit_message,
            private=private,
            token=token,
            branch=branch,
            create_pr=bool(create_pr),
        )
        return made.url

    @classmethod
    def from_bytes(cls, content: bytes) -> "Ticket":
        """Read a ticket from the bytes of its file. Raises TicketError as `load` does, without the file's name."""
        document, tensors = container.unpack(content)
        read = version1.read if document["version"] == 1 else version2.read
        return cls(**vars(read(document, tensors, len(content))))

    def to_bytes(self) -> bytes:
        """Return the bytes of the ticket's file; equal tickets have equal bytes."""
        return self._packed[0]

    def save(self, path: str | Path) -> None:
        """Write the ticket, replacing an old file at once and as a whole. Raises OutputError if it cannot."""
        write_atomically(Path(path), self.to_bytes())

    def restore(self, *, compact: bool = False) -> "nn.Module":
        """Return the network in evaluation mode, with every weight regenerated and masked.

        With `compact`, its dead neurons are removed: tensors are smaller, and outputs the same but for rounding.

        Raises TicketError if the network is the user's own, see `apply_to`, or if the generated weights, or the
        architecture that the installed libraries build, are not those the ticket was made with; with `compact`,
        UnreachableError if torch cannot trace the network.
        """
        from slt_compress.ticket.restore import restore, without_dead

        module = restore(self)
        return without_dead(self, module).module if compact else module

    def apply_to(self, module: "nn.Module", *, compact: bool = False) -> "nn.Module":
        """Return a copy of the ticket's network, in evaluation mode and on the CPU, with every value set; `compact` as
        in `restore`.

        `module` itself stays as it is. Raises TicketError if it is another network, or if the generated weights are not
        those the ticket was made with.
        """
        from slt_compress.ticket.restore import apply, without_dead

        applied = apply(self, module)
        return without_dead(self, applied).module if compact else applied

    def mask(self, name: str) -> Mask:
        """Return which weights of a gated tensor are kept, bool, in the tensor's shape.

        Raises KeyError for an unknown name, TicketError if its masks do not decode to the recorded number of ones.
        """
        return masks.union(masks.coat_masks(self._layer(name), self.origin))

    def weights(self, name: str) -> npt.NDArray[np.float32]:
        """Return the weights of a gated tensor, float32 in its shape, zero (never minus zero) where it drops them.

        Raises as `mask` does.
        """
        return weights.layer_weights(self._layer(name), self.origin)

    def check(self) -> None:
        """Generate what the weights digest covers, and decode every mask and every stored weight.

        Raises TicketError if this machine generates other weights, or something does not decode.
        """
        self.check_weights()
        for layer in self.layers:
            kept = masks.coat_masks(layer, self.origin)
            if layer.values:
                layer.values.weights(kept[0])

    def check_weights(self) -> None:
        """Raise TicketError if this machine generates other weights from the seed than the ticket was made with."""
        digest = _weights_digest(self.initialiser, self.seed, self.layers)
        if digest != self.weights_digest:
            raise TicketError(
                f"the seed generates weights of digest {digest[:12]}… here, "
                f"{self.weights_digest[:12]}… when the ticket was made"
            )

    def with_metrics(self, **metrics: float) -> "Ticket":
        """Return the same ticket with these metrics added to its provenance, but for those that are not finite."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        provenance = replace(self.provenance, metrics={**self.provenance.metrics, **finite})
        return replace(self, provenance=provenance)

    def with_reference(self, reference: Reference) -> "Ticket":
        """Return the ticket with a reference of held-out images, which makes it one of version 2."""
        return replace(self, provenance=replace(self.provenance, held_out=reference))

    def with_statistics(self, statistics: Mapping[str, Values]) -> "Ticket":
        """Return the ticket with other statistics, as in `assemble`."""
        stored = assembly.as_stored(statistics)
        return replace(self, stored_statistics=stored, half_statistics=version2.are_half(stored))._without_closed()

    def with_half_statistics(self) -> "Ticket":
        """Return the ticket with its statistics rounded to float16. Raises UnreachableError if one is too large."""
        rounded = {name: StoredTensor.of(values, FP16) for name, values in self.statistics.items()}
        return replace(self, stored_statistics=rounded, half_statistics=True)._without_closed()

    def with_scaled(self, names: Collection[str], factor: float) -> "Ticket":
        """Return the ticket with the generated weights of some tensors multiplied by a factor."""
        layers = (assembly.scaled(layer, factor) if layer.name in names else layer for layer in self.layers)
        return replace(self, layers=tuple(layers))

    def bound(self, layer: Layer) -> int:
        """Return the bytes that no code for random masks of the layer's coded gates can average below."""
        return sum(codecs.shannon_bound(mask.gates, mask.open) for mask in layer.masks)

    @cached_property
    def statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        """What training observed, by buffer name and in the buffers' shapes."""
        return {name: stored.values() for name, stored in self.stored_statistics.items()}

    @property
    def version(self) -> int:
        """Version of the file's format: 1 wherever that can hold the ticket."""
        return 1 if version1.expresses(self) else 2

    @property
    def granularity(self) -> str:
        """ "weight" if all gates are of single weights, "neuron" if all are of whole outputs, else "mixed"."""
        return version1.granularity(self.layers)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, as stored in it."""
        return self._packed[1]

    @property
    def weight_count(self) -> int:
        """Number of gated weights."""
        return sum(layer.size for layer in self.layers)

    @property
    def kept(self) -> int:
        """Number of gated weights that are not zero."""
        return sum(layer.kept for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of gated weights that are zero."""
        return 1 - self.kept / self.weight_count

    @property
    def mask_bytes(self) -> int:
        """Bytes of all coded masks."""
        return sum(len(mask.code) for mask in self.masks)

    @property
    def mask_bound_bytes(self) -> int:
        """Sum of the masks' bounds, see `bound`."""
        return sum(codecs.shannon_bound(mask.gates, mask.open) for mask in self.masks)

    @property
    def statistics_bytes(self) -> int:
        """Bytes of the statistics in the file."""
        return sum(len(stored.data) for stored in self.stored_statistics.values())

    @property
    def parameters_bytes(self) -> int:
        """Bytes of the trained parameters in the file."""
        return sum(len(stored.data) for stored in self.parameters.values())

    @property
    def values_bytes(self) -> int:
        """Bytes of the stored weights in the file."""
        return sum(layer.values_bytes for layer in self.layers)

    @property
    def reference_bytes(self) -> int:
        """Bytes of the reference in the file."""
        return len(self.provenance.held_out.to_bytes()) if self.provenance.held_out else 0

    def _without_closed(self) -> "Ticket":
        """Return the ticket without zeros for channels that masks close, if that makes a file of version 2 smaller."""
        if self.version == 1:
            return self
        statistics = without_closed(self.stored_statistics, self.layers)
        if not any(isinstance(stored, OpenStatistic) for stored in statistics.values()):
            return self
        shorter = replace(self, stored_statistics=statistics)
        return shorter if len(shorter.to_bytes()) < len(self.to_bytes()) else self

    def _layer(self, name: str) -> Layer:
        return {layer.name: layer for layer in self.layers}[name]

    @cached_property
    def _packed(self) -> tuple[bytes, str]:
        version = self.version
        document, tensors = (version1.write if version == 1 else version2.write)(self)
        return container.pack(document, tensors, version)


def _weights_digest(initialiser: str, seed: int, layers: Sequence[Layer]) -> str:
    sha = hashlib.sha256()
    for layer in layers:
        if not layer.values:
            sha.update(prng.fingerprint(initialiser, seed, layer.name, layer.size))
    return sha.hexdigest()
