"""The forms that a ticket's weights can have in an ONNX file.

    compact  nodes that regenerate the weights from the seed and the coded masks, see `weight_functions`, or put stored
             ones where the masks keep them, see `stored_functions`
    dense    fp32 constants
    int2     2-bit constants with one scale for each layer
    ternary8 8-bit constants, likewise: for runtimes that read neither functions nor 2-bit types
    int8     nodes that do the same with int8 weights, in a graph that computes in 8 bits, see `quantise`

Each form starts from the traced graph, in which the generated tensors are inputs, and puts something in their place.
Its plain form is the same graph with the resulting weights as constants. onnxruntime folds constants while it loads a
file. So it runs the same kernels on the same numbers for both, and the results must be equal bit for bit.

A new form is one class here and one entry in `FORMS`. Checking and writing are left to `export`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from slt_compress import prng
from slt_compress.data.batches import Feed
from slt_compress.data.splits import IndexedSplit
from slt_compress.errors import MissingPackageError, UnreachableError, UsageError
from slt_compress.masking.parameters import EMBEDDING_SCALE
from slt_compress.onnx_export import portable, quantise, shrink, weight_functions
from slt_compress.onnx_export.sliced_functions import Kept, Slices
from slt_compress.onnx_export.stored_functions import StoredLayer, int8_numbers
from slt_compress.onnx_export.trace import OPSETS, generated_names
from slt_compress.onnx_export.weight_functions import Part
from slt_compress.ticket.schema import Layer
from slt_compress.ticket.ticket import Ticket

INT2_OPSET = 25  # the first that has 2-bit types
INT2_RUNTIME = (1, 24)  # the first onnxruntime that reads them
_CALIBRATION_BATCH = 32  # images


@dataclass(frozen=True)
class Source:
    """What a form is built from.

    Attributes:
        ticket: the ticket.
        module: its network; what is left of it, where dead neurons are removed.
        traced: the graph of the network, with the gated weights and embeddings as inputs.
        feed: turns the inputs of a split into the graph's.
        calibration: training examples, for forms that are not exact.
        generated: names of the gated weights and of the embeddings that the graph has; all of the module's if empty.
        kept: the indices that are left of those that are cut, by name and axis.
    """

    ticket: Ticket
    module: nn.Module
    traced: onnx.ModelProto
    feed: Feed
    calibration: IndexedSplit | None = None
    generated: tuple[str, ...] = ()
    kept: Mapping[str, Kept] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the gated weights and of the embeddings that the graph has."""
        return self.generated or generated_names(self.module)

    @property
    def layers(self) -> list[Layer]:
        """The layers of the ticket that the graph has."""
        return [layer for layer in self.ticket.layers if layer.name in self.names]

    @cached_property
    def dense(self) -> onnx.ModelProto:
        """The graph with fp32 constants for these inputs."""
        parts: dict[str, Part] = {name: _stored(self.module, name) for name in self.names}
        model = assemble(self.traced, parts)
        shrink.drop_defaults(model)  # such as allowzero, which some readers refuse
        return model


@dataclass(frozen=True)
class Built:
    """A graph in a form.

    Attributes:
        model: what is to be written.
        plain: the same graph with its weights as constants.
        calibration_images: how many images the ranges of activations come from.
    """

    model: onnx.ModelProto
    plain: onnx.ModelProto
    calibration_images: int = 0


class Form(ABC):
    """A way to store the weights.

    Attributes:
        name: value of the argument `weights`.
        default_opset: ONNX operator set; the lowest in forms that are for any runtime.
        exact: whether the graph computes what torch does up to rounding, so that all predictions must be the same. A
            form that is not exact needs images, to calibrate it and to measure the accuracy that it loses.
    """

    name: ClassVar[str]
    default_opset: ClassVar[int] = 20
    exact: ClassVar[bool] = True

    def opset(self, requested: int | None) -> int:
        """Return the opset to export with. Raises UsageError if the form does not exist in the requested one."""
        if requested is not None and requested not in OPSETS:
            raise UsageError(f"`opset` must be from {OPSETS[0]} to {OPSETS[-1]}, got {requested}")
        return requested or self.default_opset

    @abstractmethod
    def check(self, ticket: Ticket) -> None:
        """Raise UnreachableError if the weights of this ticket cannot have this form."""

    @abstractmethod
    def build(self, source: Source) -> Built:
        """Return the graph in this form."""


class Compact(Form):
    name = "compact"

    def check(self, ticket: Ticket) -> None:
        _check_coats(self.name, ticket)
        if ticket.initialiser == "kaiming-normal" and _has_generated(ticket):
            raise UnreachableError(
                "the normal values of kaiming-normal are not regenerated in a graph; use `weights=dense`"
            )

    def build(self, source: Source) -> Built:
        parts = _regenerated(source)
        return Built(_compacted(source.traced, parts | _ungated(source)), source.dense)


class Portable(Compact):
    """Compact without functions, for more runtimes than onnxruntime: see `portable`."""

    default_opset = OPSETS[0]

    def check(self, ticket: Ticket) -> None:
        _check_coats(self.name, ticket)
        if ticket.initialiser != "signed-constant" and _has_generated(ticket):
            raise UnreachableError(
                f"`portable` needs weights of one magnitude, those of this ticket are {ticket.initialiser}; leave it "
                "out, or use `weights=dense`"
            )

    def build(self, source: Source) -> Built:
        ticket = source.ticket
        layers = {
            layer.name: portable.Signed(ticket.mask(layer.name), layer.scale, source.kept.get(layer.name, {}))
            for layer in source.layers
            if not layer.values
        }
        trained = {layer.name: one for layer in source.layers if (one := _stored_layer(source, layer))}
        stored = {name: _stored(source.module, name) for name in _ungated_names(source, generated=False)}
        shapes = {
            name: tuple(source.module.get_parameter(name).shape) for name in _ungated_names(source, generated=True)
        }
        generated = portable.Generated(ticket.seed, layers, shapes, EMBEDDING_SCALE, trained)
        return Built(portable.portable(assemble(source.traced, stored), generated), source.dense)


class Dense(Form):
    name = "dense"
    default_opset = OPSETS[0]

    def check(self, ticket: Ticket) -> None:
        """Do nothing: any weights can be stored as fp32."""

    def build(self, source: Source) -> Built:
        return Built(source.dense, source.dense)


class Int2(Form):
    name = "int2"

    def opset(self, requested: int | None) -> int:
        if requested not in (None, INT2_OPSET):
            raise UsageError(f"`weights=int2` needs `opset={INT2_OPSET}`, the first with 2-bit types, got {requested}")
        return INT2_OPSET

    def check(self, ticket: Ticket) -> None:
        _check_ternary(self.name, ticket)
        found = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
        if found < INT2_RUNTIME or not hasattr(TensorProto, "INT2"):
            raise MissingPackageError(
                f"`weights=int2` needs onnxruntime {'.'.join(map(str, INT2_RUNTIME))} and onnx 1.20 or newer, found "
                f"{onnxruntime.__version__} and {onnx.__version__}; use `weights=compact`"
            )

    def build(self, source: Source) -> Built:
        parts = {layer.name: _ternary(source, layer, ml_dtypes.int2) for layer in source.layers}
        return Built(_compacted(source.traced, parts | _ungated(source)), source.dense)


class Ternary8(Form):
    name = "ternary8"
    default_opset = OPSETS[0]

    def check(self, ticket: Ticket) -> None:
        _check_ternary(self.name, ticket)

    def build(self, source: Source) -> Built:
        parts = {layer.name: _ternary(source, layer, np.int8) for layer in source.layers}
        ungated = {name: _stored(source.module, name) for name in _ungated(source)}
        model = assemble(source.traced, parts | ungated)
        shrink.share_constants(model)
        shrink.drop_defaults(model)
        return Built(model, source.dense)


class Int8(Form):
    name = "int8"
    exact = False

    def check(self, ticket: Ticket) -> None:
        _check_coats(self.name, ticket)
        _check_one_magnitude(self.name, ticket)

    def build(self, source: Source) -> Built:
        assert source.calibration
        batches = (source.feed(inputs) for inputs, _ in source.calibration.batches(_CALIBRATION_BATCH))
        names = [layer.name for layer in source.layers]
        stored = {layer.name: one for layer in source.layers if (one := _stored_layer(source, layer))}
        scales = {name: one.scales for name, one in stored.items() if one.scales is not None}
        plain, places = quantise.quantised(source.dense, names, batches, scales)
        parts = _regenerated(source, places) | _rounded(source, plain, places)
        model = _compacted(plain, parts | _ungated(source))
        return Built(model, plain, len(source.calibration) if quantise.is_static(source.dense) else 0)


FORMS: dict[str, Form] = {form.name: form for form in (Compact(), Dense(), Int2(), Ternary8(), Int8())}
PORTABLE: dict[str, Form] = {form.name: form for form in (Portable(),)}


def assemble(traced: onnx.ModelProto, parts: Mapping[str, Part]) -> onnx.ModelProto:
    """Return the graph with these parts in place of the inputs and initializers of their names."""
    model = onnx.ModelProto()
    model.CopyFrom(traced)
    graph = model.graph
    inputs = [value for value in traced.graph.input if value.name not in parts]
    del graph.input[:], graph.node[:], graph.initializer[:]
    graph.input.extend(inputs)
    for nodes, initializers in parts.values():
        graph.node.extend(nodes)
        graph.initializer.extend(initializers)
    graph.initializer.extend(tensor for tensor in traced.graph.initializer if tensor.name not in parts)
    graph.node.extend(traced.graph.node)
    shrink.drop_unused(model)
    return model


def _stored(module: nn.Module, name: str) -> Part:
    """Return a parameter as an fp32 constant."""
    return [], [numpy_helper.from_array(module.get_parameter(name).detach().numpy(), name)]


def _compacted(graph: onnx.ModelProto, parts: Mapping[str, Part]) -> onnx.ModelProto:
    return shrink.compact(assemble(graph, parts))


def _has_generated(ticket: Ticket) -> bool:
    return not all(layer.values for layer in ticket.layers)


def _check_coats(name: str, ticket: Ticket) -> None:
    wrong = [layer.name for layer in ticket.layers if len(layer.coats) > 1]
    if wrong:
        raise UnreachableError(
            f"`weights={name}` regenerates weights of one scale, those of {wrong[0]} have several coats; use "
            "`weights=dense`"
        )


def _check_ternary(name: str, ticket: Ticket) -> None:
    """Raise UnreachableError unless every weight is 0 or ± one number."""
    _check_coats(name, ticket)
    stored = [layer.name for layer in ticket.layers if layer.values]
    if stored:
        raise UnreachableError(
            f"`weights={name}` is for weights that follow from the seed, those of {stored[0]} are trained and stored; "
            "use `weights=compact`, or `weights=dense`"
        )
    _check_one_magnitude(name, ticket)


def _check_one_magnitude(name: str, ticket: Ticket) -> None:
    if ticket.initialiser != "signed-constant" and _has_generated(ticket):
        raise UnreachableError(
            f"`weights={name}` needs weights of one magnitude, those of this ticket are {ticket.initialiser}; use "
            "`weights=dense`"
        )


def _regenerated(source: Source, places: Mapping[str, tuple[str, bool]] = MappingProxyType({})) -> dict[str, Part]:
    """Return the weights of all layers: where `quantise.quantised` has put them, as int8; the others as they are.

    Those that are stored and now int8 are left to `_rounded`.
    """
    ticket = source.ticket
    slices = Slices(ticket.seed)
    parts = {}
    for layer in source.layers:
        name, mask, kept = layer.name, ticket.mask(layer.name), source.kept.get(layer.name, {})
        if stored := _stored_layer(source, layer):
            if name not in places:
                parts[name] = stored.part(name)
            continue
        target, transposed = places.get(name, (name, False))
        straight = f"{target}/straight" if transposed else target
        signed = ticket.initialiser == "signed-constant"
        if signed and any(use.axis is not None for use in layer.uses):
            scale = None if name in places else layer.scale
            nodes, initializers = slices.signs(straight, mask, kept, name, scale)
        else:  # what closed neurons alone would not need a mask for has one for its weights anyway
            whole = f"{straight}/whole" if kept else straight
            if name in places:
                nodes, initializers = weight_functions.int8_signs(whole, mask, ticket.seed, name)
            else:
                values = weight_functions.signs if signed else weight_functions.uniform
                nodes, initializers = values(whole, mask, ticket.seed, name, layer.scale)
            more, bits = slices.taken(whole, straight, kept, layer.shape)
            nodes, initializers = [*nodes, *more], [*initializers, *bits]
        if transposed:
            nodes.append(helper.make_node("Transpose", [straight], [target], perm=[1, 0]))
        parts[target] = nodes, initializers
    return parts


def _stored_layer(source: Source, layer: Layer) -> StoredLayer | None:
    """Return what is left of the stored weights of a layer, None where they are generated."""
    if not layer.values:
        return None
    return StoredLayer.of(layer.values, source.ticket.mask(layer.name), source.kept.get(layer.name, {}))


def _rounded(source: Source, plain: onnx.ModelProto, places: Mapping[str, tuple[str, bool]]) -> dict[str, Part]:
    """Return the stored weights that are int8 in a graph in 8 bits, as `quantise.quantised` has left them."""
    constants = {tensor.name: tensor for tensor in plain.graph.initializer}
    names = [layer.name for layer in source.layers if layer.values and layer.name in places]
    targets = [places[name][0] for name in names]
    return {target: int8_numbers(target, numpy_helper.to_array(constants[target])) for target in targets}


def _ternary(source: Source, layer: Layer, dtype: npt.DTypeLike) -> Part:
    """Return the weights of a layer as -1, 0 and 1 of this type, and nodes that cast and scale them."""
    ticket = source.ticket
    signs = 1 - 2 * np.unpackbits(
        prng.sign_bits(ticket.seed, layer.name, layer.size), count=layer.size, bitorder="little"
    ).astype(np.int8)
    ternary = signs.reshape(layer.shape) * ticket.mask(layer.name)
    for axis, indices in source.kept.get(layer.name, {}).items():
        ternary = ternary.take(indices, axis)
    name = layer.name
    values = numpy_helper.from_array(ternary.astype(dtype), f"{name}/ternary")  # four of int2 to a byte
    scale = numpy_helper.from_array(np.array(layer.scale, np.float32), f"{name}/scale")
    nodes = [
        helper.make_node("Cast", [values.name], [f"{name}/units"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}/units", scale.name], [name]),
    ]
    return nodes, [values, scale]


def _ungated(source: Source) -> dict[str, Part]:
    """Return what else the traced graph takes as inputs: embeddings from the seed, and what the ticket stores."""
    module, seed = source.module, source.ticket.seed
    parts = {name: _stored(module, name) for name in _ungated_names(source, generated=False)}
    for name in _ungated_names(source, generated=True):
        shape = tuple(module.get_parameter(name).shape)
        parts[name] = weight_functions.embedding(name, shape, seed, name, EMBEDDING_SCALE)
    return parts


def _ungated_names(source: Source, *, generated: bool) -> list[str]:
    """Return the names of what else the traced graph takes as inputs, from the seed or as the ticket stores it."""
    ticket = source.ticket
    layers = {layer.name for layer in ticket.layers}
    stored = {*ticket.parameters, *ticket.constants, *source.kept}
    return [name for name in source.names if name not in layers and (name not in stored) == generated]
