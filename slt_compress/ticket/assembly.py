"""What a ticket is assembled from: layers with their masks as arrays, values as arrays, and how they are coded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from slt_compress import prng
from slt_compress.prng import SeedRecipe
from slt_compress.ticket.masks import Mask, along_axis, code_gates
from slt_compress.ticket.schema import Coat, CodedMask, Layer, Use
from slt_compress.ticket.stored import StoredTensor, StoredWeights

Values = npt.ArrayLike | StoredTensor  # numbers are stored as fp32


@dataclass(frozen=True, eq=False)
class AxisGates:
    """Gates for whole slices of a tensor, such as channels or heads.

    Attributes:
        open: bool (n,). The same array object in several places, also of other layers, is stored once.
        axis: of the tensor.
        repeat: how many neighbouring indices of the axis each gate is for.
    """

    open: Mask
    axis: int = 0
    repeat: int = 1


@dataclass(frozen=True, eq=False)
class CoatParts:
    """A mask of a layer. It keeps a weight if all gates for it are open.

    Attributes:
        mask: a gate for each weight, bool in the layer's shape, or None. It counts only where all slices are open.
        slices: gates for whole slices; at most four, or three beside a mask.
        scale: what the generated values are multiplied with where this coat keeps them.
    """

    mask: Mask | None = None
    slices: Sequence[AxisGates] = ()
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class LayerParts:
    """A gated tensor.

    Attributes:
        name: of the parameter.
        shape: of the parameter.
        coats: one or more; their scales add up where several keep a weight.
        values: float32 in the shape, whose kept weights are stored; None where they are generated.
        type: how they are stored: "fp32", "fp16", "int8" or "int4".
    """

    name: str
    shape: tuple[int, ...]
    coats: Sequence[CoatParts]
    values: npt.NDArray[np.float32] | None = None
    type: str = "fp32"


def code_layers(layers: Sequence[LayerParts], origin: SeedRecipe, codec: str) -> list[Layer]:
    """Code layers, each array of gates for slices once.

    Raises ValueError for masks that do not fit their layer, or contradict the gates that the seed fixes.
    """
    known: dict[int, CodedMask] = {}
    return [_code_layer(layer, origin, codec, known) for layer in layers]


def weight_layer(name: str, mask: Mask, scale: float, origin: SeedRecipe, codec: str) -> Layer:
    """Code a layer with a gate for each weight. Raises ValueError if it contradicts the gates that the seed fixes."""
    return _single(name, mask, scale, _searched(name, mask.ravel(), None, origin, codec))


def neuron_layer(name: str, mask: Mask, scale: float, origin: SeedRecipe, codec: str) -> Layer:
    """Code a layer with a gate for each output. Raises ValueError if the mask keeps a part of one, or contradicts the
    gates that the seed fixes.
    """
    rows = mask.reshape(len(mask), -1)
    if (rows != rows[:, :1]).any():
        raise ValueError(f"the mask of {name} keeps a part of a neuron")
    return _single(name, mask, scale, replace(_searched(name, rows[:, 0], None, origin, codec), axis=0))


def scaled(layer: Layer, factor: float) -> Layer:
    """Return a layer of generated weights whose scales, float32, are multiplied by a factor."""
    coats = (replace(coat, scale=float(np.float32(coat.scale * factor))) for coat in layer.coats)
    return replace(layer, coats=tuple(coats))


def as_stored(tensors: Mapping[str, Values]) -> dict[str, StoredTensor]:
    """Return the tensors, numbers as fp32."""
    return {
        name: tensor if isinstance(tensor, StoredTensor) else StoredTensor.of(tensor)
        for name, tensor in tensors.items()
    }


def _single(name: str, mask: Mask, scale: float, use: Use) -> Layer:
    """Return a layer with one mask."""
    return Layer(name, mask.shape, (Coat(scale, (use,)),), int(np.count_nonzero(mask)))


def _searched(name: str, gates: Mask, free: Mask | None, origin: SeedRecipe, codec: str) -> Use:
    """Code the gates (n,) that the seed does not fix, and that are free."""
    fixed = prng.fixed_gates(origin.seed, name, gates.size, origin.freeze) if origin.freeze.ratio else None
    return Use(code_gates(gates, codec, name, fixed, free), fixed=fixed is not None)


def _code_layer(parts: LayerParts, origin: SeedRecipe, codec: str, known: dict[int, CodedMask]) -> Layer:
    kept = np.zeros(parts.shape, np.bool_)
    coats = []
    for index, coat in enumerate(parts.coats):
        uses, opened = _code_coat(parts, coat, origin if index == 0 else SeedRecipe(origin.seed), codec, known)
        coats.append(Coat(float(np.float32(coat.scale)), uses))
        kept |= opened
    values = None if parts.values is None else StoredWeights.of(parts.values, kept, parts.type)
    return Layer(parts.name, parts.shape, tuple(coats), int(np.count_nonzero(kept)), values)


def _code_coat(
    parts: LayerParts, coat: CoatParts, origin: SeedRecipe, codec: str, known: dict[int, CodedMask]
) -> tuple[tuple[Use, ...], Mask]:
    """Return the uses of a coat, and which weights it keeps, bool in the layer's shape."""
    uses = []
    kept = np.ones(parts.shape, np.bool_)
    for one in coat.slices:
        if not 0 <= one.axis < len(parts.shape) or one.open.size * one.repeat != parts.shape[one.axis]:
            raise ValueError(
                f"{one.open.size} gates, each for {one.repeat}, do not fit axis {one.axis} of {parts.name}"
            )
        mask = known.setdefault(id(one.open), code_gates(one.open, codec))
        uses.append(Use(mask, one.axis, one.repeat))
        kept &= along_axis(uses[-1], parts.shape, one.open)
    if coat.mask is not None:
        if coat.mask.shape != parts.shape:
            raise ValueError(f"the mask of {parts.name} has the shape {coat.mask.shape}, not {parts.shape}")
        uses.append(_searched(parts.name, coat.mask.ravel(), kept.ravel() if coat.slices else None, origin, codec))
        kept &= coat.mask
    return tuple(uses), kept
