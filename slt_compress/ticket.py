"""The ticket: a seed, the masks, and what neither rebuilds. `container` is the file around it, `restore` the way back.

Reading is strict, and ordered so that nothing large is allocated before the size of the file has vouched for it.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from slt_compress import bits, container, seeding
from slt_compress.errors import TicketError
from slt_compress.files import write_atomically

if TYPE_CHECKING:
    from torch import nn

MAX_FILE_BYTES = 4 * 2**30
MAX_WEIGHTS = 2**33  # gated weights in one ticket
INITIALISER = "signed-constant"


@dataclass(frozen=True)
class Layer:
    """A gated tensor: the magnitude of its weights, how its mask is coded, its kept weights, its bytes in the file."""

    name: str
    shape: tuple[int, ...]
    scale: float
    codec: str
    kept: int
    bytes: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bound(self) -> int:
        """Bytes that no code for a random mask of this density can average below."""
        return bits.shannon_bound(self.size, self.kept)


@dataclass(frozen=True)
class Provenance:
    """Where a ticket comes from and what its network is for. Everything here is stored as it stands.

    Attributes:
        model: the arguments of `models.ModelSpec`.
        library: name and version of the library that built the network.
        architecture: SHA-256 over the names and shapes of the network's tensors.
        dataset: name of the data set.
        classes: names of the classes, in the order of the logits.
        preprocessing: the arguments of `data.Preprocessing`.
        method: name and settings of the search.
        metrics: fractions in [0, 1], and losses in nats.
    """

    model: dict[str, Any]
    library: str
    architecture: str
    dataset: str
    classes: list[str]
    preprocessing: dict[str, Any]
    method: dict[str, Any]
    metrics: dict[str, float]


_PROVENANCE_TYPES = {
    "model": dict,
    "library": str,
    "architecture": str,
    "dataset": str,
    "classes": list,
    "preprocessing": dict,
    "method": dict,
    "metrics": dict,
}
_DOCUMENT_KEYS = {
    *_PROVENANCE_TYPES,
    *(
        "digest",
        "format",
        "generator",
        "initialiser",
        "layers",
        "seed",
        "statistics",
        "tool",
        "version",
        "weights",
    ),
}


@dataclass(frozen=True, eq=False)
class Ticket:
    """A strong lottery ticket. Make one with `Ticket.pack` or `Ticket.load`; it never changes."""

    seed: int  # u64 from which every weight is generated
    layers: tuple[Layer, ...]  # the gated tensors, in module order
    statistics: dict[str, npt.NDArray[np.float32]]  # buffer name -> values of shape (n,)
    provenance: Provenance
    weights_digest: str  # SHA-256 over the packed signs of all gated tensors, in order
    tool: str  # name and version of what wrote it
    _codes: npt.NDArray[np.uint8] = field(repr=False)

    @classmethod
    def pack(
        cls,
        masks: Mapping[str, npt.NDArray[np.bool_]],
        scales: Mapping[str, float],
        statistics: Mapping[str, npt.NDArray[np.float32]],
        provenance: Provenance,
        *,
        seed: int,
        codec: str = "raw",
    ) -> "Ticket":
        """Code masks, given by tensor name and in the tensors' shapes, into a ticket."""
        from slt_compress import __version__

        layers, codes = [], [np.empty(0, np.uint8)]
        for name, mask in masks.items():
            code = bits.CODECS[codec].encode(mask.ravel())
            layers.append(Layer(name, mask.shape, scales[name], codec, int(mask.sum()), code.size))
            codes.append(code)
        return cls(
            seed=seed,
            layers=tuple(layers),
            statistics=dict(statistics),
            provenance=provenance,
            weights_digest=_weights_digest(seed, layers),
            tool=f"slt-compress {__version__}",
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
        if set(document) != _DOCUMENT_KEYS:
            wrong = sorted(set(document) ^ _DOCUMENT_KEYS)
            raise TicketError(f"its document lacks or should not have {', '.join(map(repr, wrong))}")
        for key, known in (("generator", seeding.GENERATOR), ("initialiser", INITIALISER)):
            if document[key] != known:
                raise TicketError(f"expected the {key} {known!r}, found {document[key]!r}")
        for key, kind in {
            **_PROVENANCE_TYPES,
            "tool": str,
            "weights": str,
            "layers": list,
            "statistics": list,
        }.items():
            if not isinstance(document[key], kind):
                raise TicketError(f"its field {key!r} should be a {kind.__name__}, found {document[key]!r}")
        seed = document["seed"]
        if type(seed) is not int or not 0 <= seed <= seeding.MAX_SEED:
            raise TicketError(f"its seed should be a whole number from 0 to 2**64 - 1, found {seed!r}")
        if not all(isinstance(name, str) for name in document["classes"]):
            raise TicketError("its class names should be strings")
        layers = tuple(map(_read_layer, document["layers"]))
        if sum(layer.bytes for layer in layers) != codes.size or sum(layer.size for layer in layers) > MAX_WEIGHTS:
            raise TicketError(f"its {len(layers)} layers do not fit its {codes.size} bytes of masks")
        if len({layer.name for layer in layers}) != len(layers):
            raise TicketError("a layer occurs twice")
        return cls(
            seed=seed,
            layers=layers,
            statistics=_read_statistics(document["statistics"], statistics),
            provenance=Provenance(**{key: document[key] for key in _PROVENANCE_TYPES}),
            weights_digest=document["weights"],
            tool=document["tool"],
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
        from slt_compress.restore import restore

        return restore(self)

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """Return the mask of a gated tensor, in the tensor's shape. Raises KeyError for an unknown name."""
        offset = 0
        for layer in self.layers:
            if layer.name == name:
                code = self._codes[offset : offset + layer.bytes]
                mask = bits.CODECS[layer.codec].decode(code, layer.size)
                if np.count_nonzero(mask) != layer.kept:
                    raise TicketError(f"the mask of {name} keeps {np.count_nonzero(mask)} weights, not {layer.kept}")
                return mask.reshape(layer.shape)
            offset += layer.bytes
        raise KeyError(name)

    def with_metrics(self, **metrics: float) -> "Ticket":
        """Return the same ticket with these metrics added to its provenance."""
        provenance = replace(self.provenance, metrics={**self.provenance.metrics, **metrics})
        return replace(self, provenance=provenance)

    def check_weights(self) -> None:
        """Generate all signs and compare their digest. Raises TicketError if this machine generates other weights."""
        digest = _weights_digest(self.seed, self.layers)
        if digest != self.weights_digest:
            raise TicketError(
                f"the seed generates weights of digest {digest[:12]}… here, "
                f"{self.weights_digest[:12]}… when the ticket was made"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the file, as stored in it."""
        return self._packed[1]

    @property
    def weights(self) -> int:
        """Number of gated weights."""
        return sum(layer.size for layer in self.layers)

    @property
    def kept(self) -> int:
        """Number of gated weights that are not zero."""
        return sum(layer.kept for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of gated weights that are zero."""
        return 1 - self.kept / self.weights

    @property
    def mask_bytes(self) -> int:
        return int(self._codes.size)

    @property
    def mask_bound_bytes(self) -> int:
        return sum(layer.bound for layer in self.layers)

    @property
    def statistics_bytes(self) -> int:
        return sum(values.nbytes for values in self.statistics.values())

    @cached_property
    def _packed(self) -> tuple[bytes, str]:
        document = {
            **vars(self.provenance),
            "generator": seeding.GENERATOR,
            "initialiser": INITIALISER,
            "layers": [
                [
                    layer.name,
                    list(layer.shape),
                    float(f"{layer.scale:.9g}"),
                    layer.codec,
                    layer.kept,
                    layer.bytes,
                ]
                for layer in self.layers
            ],
            "seed": self.seed,
            "statistics": [[name, values.size] for name, values in self.statistics.items()],
            "tool": self.tool,
            "weights": self.weights_digest,
        }
        statistics = np.concatenate([np.empty(0, np.float32), *self.statistics.values()])
        return container.pack(document, self._codes, statistics)


def few(names: Sequence[str]) -> str:
    """Return the first few class names as a person reads them."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _read_layer(row: object) -> Layer:
    if not isinstance(row, list) or len(row) != 6:
        raise TicketError(f"a layer should be [name, shape, scale, codec, kept, bytes], found {row!r}")
    name, shape, scale, codec, kept, size = row
    if not isinstance(name, str) or not re.fullmatch(r"[\w.]{1,256}", name, re.ASCII):
        raise TicketError(f"a layer has an impossible name: {name!r}")
    if not isinstance(shape, list) or not 2 <= len(shape) <= 6 or not all(_whole(n, 1, MAX_WEIGHTS) for n in shape):
        raise TicketError(f"the layer {name} has an impossible shape: {shape!r}")
    weights = math.prod(shape)
    if not isinstance(codec, str) or codec not in bits.CODECS:
        raise TicketError(f"the layer {name} has an unknown codec: {codec!r}, known: {', '.join(bits.CODECS)}")
    if weights > MAX_WEIGHTS or not _whole(kept, 0, weights) or not _whole(size, 0, MAX_FILE_BYTES):
        raise TicketError(f"the layer {name} of shape {shape} cannot keep {kept!r} weights in {size!r} bytes")
    if type(scale) is not float or not 0 < scale < 1e6:
        raise TicketError(f"the layer {name} has an impossible scale: {scale!r}")
    return Layer(name, tuple(shape), float(np.float32(scale)), codec, kept, size)


def _read_statistics(rows: list[object], values: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    statistics, offset = {}, 0
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str) or not _whole(row[1], 0, 2**31):
            raise TicketError(f"a statistic should be [name, size], found {row!r}")
        name, size = row
        statistics[name] = values[offset : offset + size]
        offset += size
    if offset != values.size or len(statistics) != len(rows):
        raise TicketError(f"its statistics are {offset} values by name, {values.size} in the file")
    if not np.isfinite(values).all():
        raise TicketError("its statistics hold values that are not finite")
    return statistics


def _weights_digest(seed: int, layers: Sequence[Layer]) -> str:
    sha = hashlib.sha256()
    for layer in layers:
        sha.update(seeding.sign_bits(seed, layer.name, layer.size).tobytes())
    return sha.hexdigest()


def _whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
