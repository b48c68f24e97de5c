"""A network as the steps that C code takes: what they read and write, with all shapes fixed and constants folded.

A tensor is of one image, (channels, height, width); a vector is (n, 1, 1). Flattening changes no byte, so a flattened
tensor is the same tensor under another name, see `Network.roots`. Steps run in order. What follows a layer and reads
nothing but its output (an activation, a residual sum, pooling) is part of the layer's step, so that its result needs no
place of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Shape = tuple[int, int, int]  # channels, height, width
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Activation:
    """v -> clip(v if v >= 0 else slope·v, low, high): ReLU, ReLU6, leaky ReLU and hard tanh; by default nothing."""

    low: float = -math.inf
    high: float = math.inf
    slope: float = 1.0

    @property
    def idle(self) -> bool:
        """Whether it changes nothing."""
        return self == Activation()


@dataclass(frozen=True)
class Window:
    """How a kernel slides over a plane.

    Attributes:
        kernel: height and width.
        stride: rows and columns from one place to the next.
        before: rows and columns of padding above and to the left; those behind follow from the shapes.
        dilation: rows and columns from one weight to the next.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def taps(self) -> int:
        """Places under the kernel."""
        return self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class Pooling:
    """The largest value or the mean under a window.

    Attributes:
        kind: "max" or "mean".
        window: how it slides.
        source: shape of what is pooled.
        result: shape of what comes out.
        whole: whether a mean counts the padding, as zeros.
    """

    kind: str
    window: Window
    source: Shape
    result: Shape
    whole: bool = False

    @property
    def apart(self) -> bool:
        """Whether no two windows share a value, so that results can take the place of what has been read."""
        return self.window.kernel == self.window.stride and self.window.before == (0, 0)


@dataclass(frozen=True)
class Step:
    """What computes a tensor, `output`, from others, `inputs`.

    Attributes:
        result: shape of the output.
    """

    output: str
    inputs: tuple[str, ...]
    result: Shape


@dataclass(frozen=True)
class Layer(Step):
    """A convolution, or with a 1×1 plane a linear layer, of masked generated weights; then, for each output channel,
    sum·factor + offset; then the sum with a second input, the activation and the pooling.

    Attributes:
        weight: name of the gated tensor.
        source: shape of the first input.
        window: how the kernel slides.
        groups: of channels, as torch has them.
        factor, offset: float32 (outputs,); the scale of the generated values is in the factor.
        sums: shape of the sums, which the pooling makes smaller.
        activation: after the sum with the second input.
        pooling: after the activation.
    """

    weight: str
    source: Shape
    window: Window
    groups: int
    factor: Vector
    offset: Vector
    sums: Shape
    activation: Activation = Activation()
    pooling: Pooling | None = None

    @property
    def linear(self) -> bool:
        """Whether every weight is used once."""
        return self.sums[1:] == self.source[1:] == (1, 1) and self.window.taps == self.groups == 1

    @property
    def columns(self) -> int:
        """Weights of an output channel."""
        return self.source[0] // self.groups * self.window.taps


@dataclass(frozen=True)
class Affine(Step):
    """x·factor + offset for each channel, then the activation: a BatchNorm that no layer takes up, or an activation."""

    factor: Vector
    offset: Vector
    activation: Activation = Activation()


@dataclass(frozen=True)
class Sum(Step):
    """The sum of two tensors of one shape, then the activation."""

    activation: Activation = Activation()


@dataclass(frozen=True)
class Pool(Step):
    """A pooling by itself."""

    pooling: Pooling


@dataclass(frozen=True)
class Place(Step):
    """A tensor, or every n-th row and column of it, within zeros: the shortcut of ResNets without weights.

    Element (c, y, x) of the input's grid (channels, rows, columns) that starts at `start` with the steps `every` goes
    to `before` + its place in the grid.
    """

    source: Shape
    start: Shape
    every: Shape
    grid: Shape
    before: Shape


@dataclass(frozen=True)
class Prepare(Step):
    """Pixels, normalised and cut into planes: where something else than a layer reads them, or where they are uint8."""


@dataclass(frozen=True)
class Network:
    """Steps in order, from `source` to `target`.

    Attributes:
        source: name and shape of the input.
        target: name of the output.
        outputs: number of outputs.
        steps: in order.
        roots: for each name of a tensor that is another one flattened or cut into another shape, that tensor.
    """

    source: str
    shape: Shape
    target: str
    outputs: int
    steps: tuple[Step, ...]
    roots: dict[str, str] = field(default_factory=dict)

    def root(self, name: str) -> str:
        """Return the tensor that lies where this one lies."""
        while name in self.roots:
            name = self.roots[name]
        return name

    def last_reader(self) -> dict[str, int]:
        """Return for each tensor that is read the index of the last step that reads it."""
        return {self.root(name): index for index, step in enumerate(self.steps) for name in step.inputs}

    @property
    def layers(self) -> list[Layer]:
        """The steps with weights, in order."""
        return [step for step in self.steps if isinstance(step, Layer)]


def prepared(network: Network) -> Network:
    """Return the network with its pixels normalised by a step of their own."""
    name = f"{network.source}/prepared"
    first = Prepare(name, (network.source,), network.shape)
    steps = [
        replace(step, inputs=tuple(name if network.root(one) == network.source else one for one in step.inputs))
        for step in network.steps
    ]
    return replace(network, steps=(first, *steps))


def size(shape: Sequence[int]) -> int:
    """Return the number of elements."""
    return math.prod(shape)
