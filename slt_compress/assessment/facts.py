"""What a network costs before anything is searched: weights, operations, memory and bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from slt_compress.data.batches import blank, call
from slt_compress.masking.parameters import gated_names, statistic_names
from slt_compress.models.catalogue import ticket_bytes
from slt_compress.structure.macs import count_macs
from slt_compress.tasks.record import TensorRecord

# Of the flat buffer, the gates and both moments of Adam, float32 each, and of a weight that is a sign.
GATE_BYTES = 4 + 4 + 2 * 4 + 1
_BLANKS = 2  # examples in a blank batch


@dataclass(frozen=True)
class LayerFacts:
    """A tensor of a network.

    Attributes:
        name: of the parameter.
        shape: of it.
        weights: its number of values.
        gated: whether each of them has a gate.
    """

    name: str
    shape: tuple[int, ...]
    weights: int
    gated: bool


@dataclass(frozen=True)
class Facts:
    """What a network costs.

    Attributes:
        layers: all parameters.
        macs: multiply-accumulate operations of one example, of convolutions, matrix products and attention.
        activation_bytes: the most that one example needs at a time, the input and output of a layer, in fp32.
        training_bytes: what one example leaves behind for the backward pass, in fp32.
        dense_bytes: of all tensors in a file, by form: "fp32", "fp16", and "int8" with a scale for each row of a
            weight and fp32 for what is not gated.
        held_bytes: what each process of a search holds beside the data and a batch: weights, gates and their optimiser.
        ticket_bytes: estimated bytes of a ticket at each sparsity that was asked for, if every layer had it.
    """

    layers: tuple[LayerFacts, ...]
    macs: int
    activation_bytes: int
    training_bytes: int
    dense_bytes: dict[str, int]
    held_bytes: int
    ticket_bytes: dict[float, int]

    @property
    def gated_weights(self) -> int:
        """Weights that have a gate."""
        return sum(layer.weights for layer in self.layers if layer.gated)

    @property
    def other_weights(self) -> int:
        """Parameters that have none."""
        return sum(layer.weights for layer in self.layers if not layer.gated)


def facts_of(module: nn.Module, inputs: Sequence[TensorRecord], sparsities: Sequence[float]) -> Facts:
    """Return the facts of a module on the CPU, which is left in evaluation mode, for one example of these inputs."""
    gated = gated_names(module)
    layers = tuple(
        LayerFacts(name, tuple(parameter.shape), parameter.numel(), name in gated)
        for name, parameter in module.named_parameters()
    )
    sizes = [module.get_parameter(name).numel() for name in gated]
    statistics = statistic_names(module)
    fp32 = sum(tensor.nbytes for tensor in module.state_dict().values())
    rows = sum(len(module.get_parameter(name)) for name in gated)
    held = sum(parameter.nbytes for parameter in module.parameters()) - 4 * sum(sizes)
    activations, training = _run(module, inputs)
    return Facts(
        layers=layers,
        macs=count_macs(module, blank(inputs)),
        activation_bytes=activations,
        training_bytes=training,
        dense_bytes={"fp32": fp32, "fp16": fp32 // 2, "int8": fp32 - 3 * sum(sizes) + 4 * rows},
        held_bytes=held + GATE_BYTES * sum(sizes),
        ticket_bytes={
            sparsity: ticket_bytes(module, sizes, statistics, density=1 - sparsity) for sparsity in sparsities
        },
    )


def _run(module: nn.Module, inputs: Sequence[TensorRecord]) -> tuple[int, int]:
    """Return the bytes at a time and the bytes left for the backward pass, of one example."""
    batch = blank(inputs)
    given = batch if len(batch) > 1 else batch[0]
    at_once = [0]
    kept: dict[int, int] = {}

    def watch(_: nn.Module, taken: tuple[object, ...], returned: object) -> None:
        values = [one for one in (*taken, *_tensors(returned)) if isinstance(one, torch.Tensor)]
        at_once.append(sum(value.nbytes for value in values))

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_floating_point():
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    hooks = [layer.register_forward_hook(watch) for layer in module.modules() if not list(layer.children())]
    module.eval()
    try:
        with (
            sdpa_kernel(SDPBackend.MATH),  # the others keep less
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            call(module, given)
    finally:
        for hook in hooks:
            hook.remove()
    training = sum(size for pointer, size in kept.items() if pointer not in own)
    return max(at_once) // _BLANKS, training // _BLANKS


def _tensors(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple | list) else (value,)
