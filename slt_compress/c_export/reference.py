"""The steps of a network in torch, plainly: what C code must compute, and what ranges its values have."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from slt_compress.c_export.network import (
    Activation,
    Affine,
    Layer,
    Network,
    Place,
    Pool,
    Pooling,
    Prepare,
    Shape,
    Step,
    Sum,
    Window,
)

Tensors = dict[str, torch.Tensor]
Store = Callable[[str, torch.Tensor], torch.Tensor]  # name and values of a tensor -> what is kept of them

POOLED = "pooled by "  # before the name of a tensor: what a layer pools to make it


def run(network: Network, values: Mapping[str, torch.Tensor], inputs: torch.Tensor, store: Store) -> torch.Tensor:
    """Return the outputs (n, outputs) for normalised inputs (n, …); every tensor on the way goes through `store`.

    `values` holds for each gated tensor its generated values where they are kept, without scale, and 0 elsewhere.
    """
    found: Tensors = {network.source: inputs.reshape(-1, *network.shape)}
    for step in network.steps:
        read = [found[network.root(name)] for name in step.inputs]
        found[step.output] = store(step.output, _step(step, read, values, store).reshape(-1, *step.result))
    return found[network.root(network.target)].flatten(1)


def _step(step: Step, read: list[torch.Tensor], values: Mapping[str, torch.Tensor], store: Store) -> torch.Tensor:
    match step:
        case Prepare():
            return read[0]
        case Layer():
            source = read[0].reshape(-1, *step.source)
            weight = values[step.weight].reshape(step.sums[0], -1, *step.window.kernel)
            extended = _extended(source, step.window, step.sums, 0.0)
            sums = F.conv2d(
                extended, weight, stride=step.window.stride, dilation=step.window.dilation, groups=step.groups
            )
            y = _affine(sums, step) + (read[1].reshape(-1, *step.sums) if len(read) > 1 else 0)
            y = _active(y, step.activation)
            if step.pooling:
                y = _pooled(store(POOLED + step.output, y), step.pooling)
            return y
        case Affine():
            return _active(_affine(read[0].reshape(-1, *step.result), step), step.activation)
        case Sum():
            return _active(read[0].reshape(-1, *step.result) + read[1].reshape(-1, *step.result), step.activation)
        case Pool():
            return _pooled(read[0].reshape(-1, *step.pooling.source), step.pooling)
        case Place():
            return _placed(read[0].reshape(-1, *step.source), step)
    raise AssertionError(step)


def _affine(x: torch.Tensor, step: Layer | Affine) -> torch.Tensor:
    factor, offset = (torch.from_numpy(vector).view(-1, 1, 1) for vector in (step.factor, step.offset))
    return x * factor + offset


def _active(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    return torch.where(x < 0, x * activation.slope, x).clamp(activation.low, activation.high)


def _extended(x: torch.Tensor, window: Window, result: Shape, value: float) -> torch.Tensor:
    """Return images with the padding that a window needs on all sides; what it does not reach is cut off."""
    amounts: list[int] = []
    for axis in (1, 0):
        reach = (result[axis + 1] - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
        amounts += [window.before[axis], reach - x.shape[axis + 2] - window.before[axis]]
    return F.pad(x, amounts, value=value)


def _pooled(x: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    window = pooling.window
    if pooling.kind == "max":
        return F.max_pool2d(_extended(x, window, pooling.result, -torch.inf), window.kernel, window.stride)
    counted = torch.ones_like(x[:1, :1])
    sums, counts = (
        F.avg_pool2d(_extended(one, window, pooling.result, 0.0), window.kernel, window.stride, divisor_override=1)
        for one in (x, counted)
    )
    return sums / (window.taps if pooling.whole else counts)


def _placed(x: torch.Tensor, step: Place) -> torch.Tensor:
    y = x.new_zeros(len(x), *step.result)
    source, target = (
        tuple(slice(a, a + (n - 1) * e + 1, e) for a, n, e in zip(start, step.grid, every, strict=True))
        for start, every in ((step.start, step.every), (step.before, (1, 1, 1)))
    )
    y[(slice(None), *target)] = x[(slice(None), *source)]
    return y
