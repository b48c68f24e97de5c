"""The ticket: a seed, the masks, and what neither rebuilds. `container` is the file around it, `restore` the way back.

The format is described in docs/ticket-format.md. Reading is strict, and in an order that allocates nothing large before
the size of the file has been checked.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from slt_compress import prng
from slt_compress.errors import TicketError, UnreachableError
from slt_compress.files import write_atomically
from slt_compress.masking import codecs
from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.ticket import container
from slt_compress.ticket.schema import (
    MAX_FILE_BYTES,
    Layer,
    Provenance,
    check_document,
    read_freeze,
    read_layer,
    read_statistics,
)
from slt_compress.version import __version__

if TYPE_CHECKING:
    from torch import nn

MAX_WEIGHTS_PER_BYTE = 2**12  # of the file; a ticket of sparsity 0.9999 has 5,000 weights to a byte of mask alone

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Ticket:
    """A strong lottery ticket. Make one with `Ticket.pack` or `Ticket.load`; it never changes.

    >>> ticket = Ticket.load("ticket.safetensors")
    >>> ticket.mask("1.weight").shape
    (300, 784)
    >>> module = ticket.restore()

    Attributes:
        seed: u64 from which every weight is generated.
        initialiser: name of the distribution of the weights, a key of `prng.INITIALISERS`.
        freeze: the part of the mask that the seed fixes, and for which no bit is stored.
        granularity: "weight", or "neuron" where one gate keeps or drops all weights into an output.
        layers: the gated tensors, in module order.
        statistics: BatchNorm statistics by buffer name, each float32 of shape (n,).
        provenance: where the ticket comes from.
        weights_digest: SHA-256 over what the generator makes of the seed.
        tool: name and version of what wrote the ticket.
        half_statistics: whether the file holds the statistics as float16.
    """

    seed: int
    initialiser: str
    freeze: Freeze
    granularity: str
    layers: tuple[Layer, ...]
    statistics: dict[str, npt.NDArray[np.float32]]
    provenance: Provenance
    weights_digest: str
    tool: str
    half_statistics: bool
    _codes: npt.NDArray[np.uint8] = field(repr=False)

    @classmethod
    def pack(
        cls,
        masks: Mapping[str, Mask],
        scales: Mapping[str, float],
        statistics: Mapping[str, npt.NDArray[np.float32]],
        provenance: Provenance,
        *,
        origin: SeedRecipe,
        granularity: str = "weight",
        codec: str = "auto",
    ) -> "Ticket":
        """Code masks, given by tensor name and in the tensors' shapes, into a ticket.

        `statistics` come in pairs, NAME.running_mean and NAME.running_var. Raises ValueError if a mask contradicts the
        granularity or the gates that the seed fixes.
        """
        layers, codes = [], [np.empty(0, np.uint8)]
        for name, mask in masks.items():
            gates = mask.ravel() if granularity == "weight" else mask.reshape(len(mask), -1)[:, 0]
            if granularity == "neuron" and (mask.reshape(len(mask), -1) != gates[:, None]).any():
                raise ValueError(f"the mask of {name} keeps a part of a neuron")
            if origin.freeze.ratio:
                locked, pruned = prng.fixed_gates(origin.seed, name, gates.size, origin.freeze)
                if gates[pruned].any() or not gates[locked].all():
                    raise ValueError(f"the mask of {name} contradicts the gates that the seed fixes")
                gates = gates[~(locked | pruned)]
            used, code = codecs.encode(gates, codec)
            layers.append(Layer(name, mask.shape, scales[name], used, int(np.count_nonzero(mask)), code.size))
            codes.append(code)
        return cls(
            seed=origin.seed,
            initialiser=origin.initialiser,
            freeze=origin.freeze,
            granularity=granularity,
            layers=tuple(layers),
            statistics=dict(statistics),
            provenance=provenance,
            weights_digest=_weights_digest(origin.initialiser, origin.seed, layers),
            tool=f"slt-compress {__version__}",
            half_statistics=False,
            _codes=np.concatenate(codes),
        )

    @classmethod
    def load(cls, path: str | Path) -> "Ticket":
        """Read a ticket and check its digest.

        Raises TicketError, naming the file, what was expected and what was found, if it is not a whole and undamaged
        ticket of a version this release reads.
        """
        path = Path(path)
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
    def from_bytes(cls, content: bytes) -> "Ticket":
        """Read a ticket from the bytes of its file. Raises TicketError as `load` does, without the file's name."""
        document, codes, statistics = container.unpack(content)
        check_document(document)
        layers = tuple(map(read_layer, document["layers"]))
        weight_count = sum(layer.size for layer in layers)
        if not layers or sum(layer.code_bytes for layer in layers) != codes.size:
            raise TicketError(f"its {len(layers)} layers do not fit its {codes.size} bytes of masks")
        if weight_count > MAX_WEIGHTS_PER_BYTE * len(content):
            raise TicketError(f"its {len(content)} bytes claim {weight_count} weights: more than a mask could describe")
        if len({layer.name for layer in layers}) != len(layers):
            raise TicketError("a layer occurs twice")
        return cls(
            seed=document["seed"],
            initialiser=document["initialiser"],
            freeze=read_freeze(document["freeze"]),
            granularity=document["granularity"],
            layers=layers,
            statistics=read_statistics(document["statistics"], statistics.astype(np.float32)),
            provenance=Provenance.from_json(document),
            weights_digest=document["weights"],
            tool=document["tool"],
            half_statistics=statistics.dtype.itemsize == 2,
            _codes=codes,
        )

    def to_bytes(self) -> bytes:
        """Return the bytes of the ticket's file; equal tickets have equal bytes."""
        return self._packed[0]

    def save(self, path: str | Path) -> None:
        """Write the ticket, replacing an old file at once and as a whole. Raises OutputError if it cannot."""
        write_atomically(Path(path), self.to_bytes())

    def restore(self) -> "nn.Module":
        """Return the network in evaluation mode, with every weight regenerated and masked.

        Raises TicketError if the generated weights, or the architecture that the installed libraries build, are not
        those the ticket was made with.
        """
        from slt_compress.ticket.restore import restore

        return restore(self)

    def mask(self, name: str) -> Mask:
        """Return the mask of a gated tensor, bool, in the tensor's shape.

        Raises KeyError for an unknown name, TicketError if its code does not decode to the recorded number of ones.
        """
        offset = 0
        for layer in self.layers:
            if layer.name == name:
                code = self._codes[offset : offset + layer.code_bytes]
                gates = self._decode(layer, code)
                if self.granularity == "neuron":
                    gates = np.repeat(gates, layer.size // gates.size)
                return gates.reshape(layer.shape)
            offset += layer.code_bytes
        raise KeyError(name)

    def check(self) -> None:
        """Generate what the weights digest covers and decode every mask.

        Raises TicketError if this machine generates other weights, or a mask does not decode.
        """
        self.check_weights()
        for layer in self.layers:
            self.mask(layer.name)

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

    def with_half_statistics(self) -> "Ticket":
        """Return the ticket with its statistics rounded to float16. Raises UnreachableError if one is too large."""
        largest = max((float(np.abs(values).max()) for values in self.statistics.values()), default=0.0)
        if largest > float(np.finfo(np.float16).max):
            raise UnreachableError(f"a BatchNorm statistic of {largest:.3g} does not fit into fp16; use fp32")
        rounded = {name: values.astype(np.float16).astype(np.float32) for name, values in self.statistics.items()}
        return replace(self, statistics=rounded, half_statistics=True)

    def bound(self, layer: Layer) -> int:
        """Return the bytes that no code for a random mask of the layer's searchable gates can average below."""
        gates, opened = self._gates(layer)
        if not self.freeze.ratio:
            return codecs.shannon_bound(gates, opened)
        locked, pruned = prng.fixed_gates(self.seed, layer.name, gates, self.freeze)
        searched = gates - int(np.count_nonzero(locked | pruned))
        return codecs.shannon_bound(searched, opened - int(np.count_nonzero(locked)))

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
        return int(self._codes.size)

    @property
    def mask_bound_bytes(self) -> int:
        """Sum of the layers' bounds."""
        return sum(map(self.bound, self.layers))

    @property
    def statistics_bytes(self) -> int:
        """Bytes of the BatchNorm statistics in the file."""
        return sum(values.size for values in self.statistics.values()) * (2 if self.half_statistics else 4)

    def _decode(self, layer: Layer, code: npt.NDArray[np.uint8]) -> Mask:
        """Return the gates of a layer, bool of shape (gates,)."""
        codec = codecs.CODECS[layer.codec]
        gates, opened = self._gates(layer)
        if not self.freeze.ratio:
            return codec.decode(code, gates, opened)
        mask, pruned = prng.fixed_gates(self.seed, layer.name, gates, self.freeze)
        searched = ~(mask | pruned)
        ones = opened - int(np.count_nonzero(mask))
        mask[searched] = codec.decode(code, int(np.count_nonzero(searched)), ones)
        return mask

    def _gates(self, layer: Layer) -> tuple[int, int]:
        """Return how many gates a layer has, and how many of them are open."""
        each = 1 if self.granularity == "weight" else layer.size // layer.shape[0]
        if layer.kept % each:
            raise TicketError(f"the layer {layer.name} keeps {layer.kept} weights, no whole number of neurons")
        return layer.size // each, layer.kept // each

    @cached_property
    def _packed(self) -> tuple[bytes, str]:
        document = {
            **self.provenance.to_json(),
            "freeze": [self.freeze.ratio, self.freeze.lock],
            "generator": prng.GENERATOR,
            "granularity": self.granularity,
            "initialiser": self.initialiser,
            "layers": [
                [layer.name, list(layer.shape), float(f"{layer.scale:.9g}"), layer.codec, layer.kept, layer.code_bytes]
                for layer in self.layers
            ],
            "seed": self.seed,
            "statistics": [
                [name.removesuffix(".running_mean"), values.size]
                for name, values in self.statistics.items()
                if name.endswith(".running_mean")
            ],
            "tool": self.tool,
            "weights": self.weights_digest,
        }
        dtype = np.float16 if self.half_statistics else np.float32
        statistics = np.concatenate(
            [np.empty(0, dtype), *(values.astype(dtype) for values in self.statistics.values())]
        )
        return container.pack(document, self._codes, statistics)


def _weights_digest(initialiser: str, seed: int, layers: Sequence[Layer]) -> str:
    sha = hashlib.sha256()
    for layer in layers:
        sha.update(prng.fingerprint(initialiser, seed, layer.name, layer.size))
    return sha.hexdigest()
