"""The ticket: a seed, the masks, and what neither rebuilds. `container` is the file around it, `restore` the way back.

The format is written down in docs/ticket-format.md. Reading is strict, and ordered so that nothing large is allocated
before the size of the file has vouched for it.
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
from slt_compress.errors import TicketError, UnreachableError
from slt_compress.files import write_atomically

if TYPE_CHECKING:
    from torch import nn

MAX_FILE_BYTES = 4 * 2**30
MAX_WEIGHTS_PER_BYTE = 2**12  # of the file; a ticket of sparsity 0.9999 has 5,000 weights to a byte of mask alone

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """A gated tensor: what its values are multiplied with, how its mask is coded, its kept weights, its bytes."""

    name: str
    shape: tuple[int, ...]
    scale: float
    codec: str
    kept: int
    bytes: int

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Freeze:
    """The share of weights that the seed has fixed, and the share it has fixed to be kept; both of all weights."""

    ratio: float = 0.0
    lock: float = 0.0


@dataclass(frozen=True)
class Provenance:
    """Where a ticket comes from and what its network is for. Everything here is stored as it stands.

    Attributes:
        model: the arguments of `models.ModelSpec`.
        library: name and version of the library that built the network.
        architecture: SHA-256 over the names and shapes of the network's tensors.
        dataset: name of the data set.
        classes: names of the classes, in the order of the logits.
        preprocessing: the arguments of `pictures.Preprocessing`.
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


_TYPES = {
    "model": dict,
    "library": str,
    "architecture": str,
    "dataset": str,
    "classes": list,
    "preprocessing": dict,
    "method": dict,
    "metrics": dict,
}
_FIELDS = {  # of objects within the document
    "model": {"builder": str, "name": str, "classes": int, "channels": int, "input_size": int, "small_input": bool},
    "preprocessing": {"size": int, "channels": int, "mean": list, "std": list},
    "method": {"name": str, "steps": int, "batch_size": int, "settings": dict},
}
_OTHER_TYPES = {
    "digest": str,
    "format": str,
    "freeze": list,
    "generator": str,
    "granularity": str,
    "initialiser": str,
    "layers": list,
    "seed": int,
    "statistics": list,
    "tool": str,
    "version": int,
    "weights": str,
}


@dataclass(frozen=True, eq=False)
class Ticket:
    """A strong lottery ticket. Make one with `Ticket.pack` or `Ticket.load`; it never changes.

    >>> ticket = Ticket.load("ticket.safetensors")
    >>> ticket.mask("1.weight").shape
    (300, 784)
    >>> module = ticket.restore()

    Attributes:
        seed: u64 from which every weight is generated.
        initialiser: name of the distribution of the weights, a key of `seeding.INITIALISERS`.
        freeze: the shares of gates that the seed, not a bit, opens or closes.
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
        seed: int,
        initialiser: str = "signed-constant",
        freeze: Freeze = Freeze(),
        granularity: str = "weight",
        codec: str = "auto",
    ) -> "Ticket":
        """Code masks, given by tensor name and in the tensors' shapes, into a ticket.

        `statistics` come in pairs, NAME.running_mean and NAME.running_var. Raises ValueError if a mask contradicts the
        granularity or the gates that `freeze` fixes.
        """
        from slt_compress import __version__

        layers, codes = [], [np.empty(0, np.uint8)]
        for name, mask in masks.items():
            gates = mask.ravel() if granularity == "weight" else mask.reshape(len(mask), -1)[:, 0]
            if granularity == "neuron" and (mask.reshape(len(mask), -1) != gates[:, None]).any():
                raise ValueError(f"the mask of {name} keeps a part of a neuron")
            if freeze.ratio:
                locked, pruned = seeding.frozen(seed, name, gates.size, freeze.ratio, freeze.lock)
                if gates[pruned].any() or not gates[locked].all():
                    raise ValueError(f"the mask of {name} contradicts the gates that the seed has frozen")
                gates = gates[~(locked | pruned)]
            used, code = bits.encode(gates, codec)
            layers.append(Layer(name, mask.shape, scales[name], used, int(np.count_nonzero(mask)), code.size))
            codes.append(code)
        return cls(
            seed=seed,
            initialiser=initialiser,
            freeze=freeze,
            granularity=granularity,
            layers=tuple(layers),
            statistics=dict(statistics),
            provenance=provenance,
            weights_digest=_weights_digest(initialiser, seed, layers),
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
        _check_fields("its document", document, {**_TYPES, **_OTHER_TYPES})
        for key, fields in _FIELDS.items():
            _check_fields(f"its {key}", document[key], fields)
        _check_numbers("its metrics", list(document["metrics"].values()))
        for key in ("mean", "std"):
            _check_numbers(f"its {key}", document["preprocessing"][key])
            if len(document["preprocessing"][key]) != document["preprocessing"]["channels"]:
                raise TicketError(f"its {key} should have a value for each channel")
        _check_one_of(document, "generator", [seeding.GENERATOR])
        _check_one_of(document, "initialiser", list(seeding.INITIALISERS))
        _check_one_of(document, "granularity", ["weight", "neuron"])
        if not 0 <= document["seed"] <= seeding.MAX_SEED:
            raise TicketError(f"its seed should be a whole number from 0 to 2**64 - 1, found {document['seed']!r}")
        if not all(isinstance(name, str) for name in document["classes"]):
            raise TicketError("its class names should be strings")
        layers = tuple(map(_read_layer, document["layers"]))
        weights = sum(layer.size for layer in layers)
        if not layers or sum(layer.bytes for layer in layers) != codes.size:
            raise TicketError(f"its {len(layers)} layers do not fit its {codes.size} bytes of masks")
        if weights > MAX_WEIGHTS_PER_BYTE * len(content):
            raise TicketError(f"its {len(content)} bytes claim {weights} weights: more than a mask could describe")
        if len({layer.name for layer in layers}) != len(layers):
            raise TicketError("a layer occurs twice")
        return cls(
            seed=document["seed"],
            initialiser=document["initialiser"],
            freeze=_read_freeze(document["freeze"]),
            granularity=document["granularity"],
            layers=layers,
            statistics=_read_statistics(document["statistics"], statistics.astype(np.float32)),
            provenance=Provenance(**{key: document[key] for key in _TYPES}),
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
        from slt_compress.restore import restore

        return restore(self)

    def mask(self, name: str) -> Mask:
        """Return the mask of a gated tensor, bool, in the tensor's shape.

        Raises KeyError for an unknown name, TicketError if its code does not decode to the recorded number of ones.
        """
        offset = 0
        for layer in self.layers:
            if layer.name == name:
                code = self._codes[offset : offset + layer.bytes]
                gates = self._decode(layer, code)
                if self.granularity == "neuron":
                    gates = np.repeat(gates, layer.size // gates.size)
                return gates.reshape(layer.shape)
            offset += layer.bytes
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
        """Return the bytes that no code for a random mask of the layer's searched gates can average below."""
        gates, opened = self._gates(layer)
        if not self.freeze.ratio:
            return bits.shannon_bound(gates, opened)
        locked, pruned = seeding.frozen(self.seed, layer.name, gates, self.freeze.ratio, self.freeze.lock)
        searched = gates - int(np.count_nonzero(locked | pruned))
        return bits.shannon_bound(searched, opened - int(np.count_nonzero(locked)))

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
        codec = bits.CODECS[layer.codec]
        gates, opened = self._gates(layer)
        if not self.freeze.ratio:
            return codec.decode(code, gates, opened)
        mask, pruned = seeding.frozen(self.seed, layer.name, gates, self.freeze.ratio, self.freeze.lock)
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
            **vars(self.provenance),
            "freeze": [self.freeze.ratio, self.freeze.lock],
            "generator": seeding.GENERATOR,
            "granularity": self.granularity,
            "initialiser": self.initialiser,
            "layers": [
                [layer.name, list(layer.shape), float(f"{layer.scale:.9g}"), layer.codec, layer.kept, layer.bytes]
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


def few(names: Sequence[str]) -> str:
    """Return the first few class names as a person reads them."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _check_fields(what: str, found: Mapping[str, Any], expected: Mapping[str, type]) -> None:
    if set(found) != set(expected):
        wrong = sorted(set(found) ^ set(expected))
        raise TicketError(f"{what} lacks or should not have {', '.join(map(repr, wrong))}")
    for key, kind in expected.items():
        if type(found[key]) is not kind:
            raise TicketError(f"{what} should have a {kind.__name__} as {key!r}, found {found[key]!r}")


def _check_numbers(what: str, found: list[Any]) -> None:
    if not all(type(value) is float and math.isfinite(value) for value in found):
        raise TicketError(f"{what} should be finite floating-point numbers, found {found!r}")


def _check_one_of(document: Mapping[str, Any], key: str, known: Sequence[str]) -> None:
    if document[key] not in known:
        raise TicketError(f"expected the {key} {' or '.join(map(repr, known))}, found {document[key]!r}")


def _read_layer(row: object) -> Layer:
    if not isinstance(row, list) or len(row) != 6:
        raise TicketError(f"a layer should be [name, shape, scale, codec, kept, bytes], found {row!r}")
    name, shape, scale, codec, kept, size = row
    if not isinstance(name, str) or not re.fullmatch(r"[\w.]{1,256}", name, re.ASCII):
        raise TicketError(f"a layer has an impossible name: {name!r}")
    if not isinstance(shape, list) or not 2 <= len(shape) <= 6 or not all(_whole(n, 1, 2**40) for n in shape):
        raise TicketError(f"the layer {name} has an impossible shape: {shape!r}")
    if not isinstance(codec, str) or codec not in bits.CODECS:
        raise TicketError(f"the layer {name} has an unknown codec: {codec!r}, known: {', '.join(bits.CODECS)}")
    if not _whole(kept, 0, math.prod(shape)) or not _whole(size, 0, MAX_FILE_BYTES):
        raise TicketError(f"the layer {name} of shape {shape} cannot keep {kept!r} weights in {size!r} bytes")
    if type(scale) is not float or not 1e-30 < scale < 1e30:
        raise TicketError(f"the layer {name} has an impossible scale: {scale!r}")
    return Layer(name, tuple(shape), float(np.float32(scale)), codec, kept, size)


def _read_freeze(pair: list[object]) -> Freeze:
    if len(pair) != 2 or not all(isinstance(share, float) for share in pair) or not 0 <= pair[1] <= pair[0] <= 1:  # type: ignore[operator]
        raise TicketError(f"its freeze should be [ratio, lock] with 0 ≤ lock ≤ ratio ≤ 1, found {pair!r}")
    return Freeze(*pair)  # type: ignore[arg-type]


def _read_statistics(rows: list[object], values: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    statistics, offset = {}, 0
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str) or not _whole(row[1], 1, 2**31):
            raise TicketError(f"a statistic should be [name, size], found {row!r}")
        name, size = row
        for kind in ("running_mean", "running_var"):
            statistics[f"{name}.{kind}"] = values[offset : offset + size]
            offset += size
    if offset != values.size or len(statistics) != 2 * len(rows):
        raise TicketError(f"its statistics are {offset} values by name, {values.size} in the file")
    if not np.isfinite(values).all():
        raise TicketError("its statistics hold values that are not finite")
    return statistics


def _weights_digest(initialiser: str, seed: int, layers: Sequence[Layer]) -> str:
    sha = hashlib.sha256()
    for layer in layers:
        sha.update(seeding.fingerprint(initialiser, seed, layer.name, layer.size))
    return sha.hexdigest()


def _whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
