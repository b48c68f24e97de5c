"""The records of a ticket: what its file says, whichever version it has. docs/ticket-format-2.md explains the terms."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.models.spec import ModelSpec, PythonModel
from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.tasks.record import TaskRecord, TensorRecord
from slt_compress.ticket.held_out import Reference
from slt_compress.ticket.stored import StoredTensor, StoredWeights

IMAGE_TASK = TaskRecord()  # that of version 1


@dataclass(frozen=True)
class CodedMask:
    """Gates as bytes.

    Attributes:
        gates: number of gates that are coded.
        open: number of open ones among them.
        codec: a key of `masking.codecs.CODECS`.
        code: their bytes.
    """

    gates: int
    open: int
    codec: str
    code: bytes


@dataclass(frozen=True)
class Use:
    """What a mask decides in a coat. One `CodedMask` that several uses hold is stored once.

    Attributes:
        mask: the gates.
        axis: whose indices they keep or drop, None where each belongs to one weight.
        repeat: how many neighbouring indices a gate of an axis is for.
        fixed: whether the seed fixes some of the gates, which are not coded: those of weights in a first coat, and in
            version 1 those of neurons.
    """

    mask: CodedMask
    axis: int | None = None
    repeat: int = 1
    fixed: bool = False


@dataclass(frozen=True)
class Coat:
    """A mask of a layer, of the gates of all its uses together.

    Attributes:
        scale: what the generated values are multiplied with where this coat keeps them.
        uses: those of axes first, then at most one of weights.
    """

    scale: float
    uses: tuple[Use, ...]


@dataclass(frozen=True)
class Layer:
    """A gated tensor.

    Attributes:
        name: of the parameter.
        shape: of the parameter.
        coats: one or more; their scales add up where several keep a weight.
        kept: number of weights that at least one coat keeps.
        values: the kept weights, where they are stored and not generated.
    """

    name: str
    shape: tuple[int, ...]
    coats: tuple[Coat, ...]
    kept: int
    values: StoredWeights | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def scale(self) -> float:
        """Scale of the first coat."""
        return self.coats[0].scale

    @property
    def simple(self) -> bool:
        """Whether each kept weight is its generated value times one scale."""
        return len(self.coats) == 1 and self.values is None

    @property
    def uses(self) -> list[Use]:
        """What masks decide in its coats."""
        return [use for coat in self.coats for use in coat.uses]

    @property
    def masks(self) -> list[CodedMask]:
        """The masks that the layer uses, each once."""
        return unique(self.uses)

    @property
    def codec(self) -> str:
        """Names of the codecs of the masks."""
        return ", ".join(sorted({mask.codec for mask in self.masks}))

    @property
    def code_bytes(self) -> int:
        """Bytes of the masks; one that other layers use too counts in each."""
        return sum(len(mask.code) for mask in self.masks)

    @property
    def values_bytes(self) -> int:
        """Bytes of the stored weights, 0 where they are generated."""
        return len(self.values.data) if self.values else 0


@dataclass(frozen=True)
class SearchRecord:
    """How a mask was found.

    Attributes:
        name: of the method.
        steps: optimiser steps.
        batch_size: examples a step.
        settings: hyper-parameters of the method, and what of the run is not the default.
    """

    name: str
    steps: int
    batch_size: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Histogram:
    """How a quantity was distributed in training, to compare later data with.

    Attributes:
        name: of the quantity.
        edges: n+1 ascending bounds.
        counts: n numbers of values between them.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Provenance:
    """Where a ticket comes from and what its network is for.

    Attributes:
        model: what the network is built from.
        library: name and version of the library that built the network.
        architecture: SHA-256 over the names and shapes of the network's tensors.
        dataset: name of the data set.
        classes: names of the classes, in the order of the logits; empty where there are none.
        preprocessing: of the images, None where the inputs are not images that this package prepares.
        method: how the mask was found.
        metrics: fractions in [0, 1], and losses in nats.
        inputs: of the network; if none are given, the images of `preprocessing`.
        outputs: of the network; if none are given, a logit for each class.
        task: what the network was searched for.
        rewind_steps: step of a training that stored weights were rewound to, 0 if there was none.
        reference: the training data in a few histograms.
        held_out: held-out images as the network sees them, None where nobody asked for it.
    """

    model: ModelSpec | PythonModel
    library: str
    architecture: str
    dataset: str
    classes: list[str]
    preprocessing: Preprocessing | None
    method: SearchRecord
    metrics: dict[str, float]
    inputs: tuple[TensorRecord, ...] = ()
    outputs: tuple[TensorRecord, ...] = ()
    task: TaskRecord = IMAGE_TASK
    rewind_steps: int = 0
    reference: tuple[Histogram, ...] = ()
    held_out: Reference | None = None

    def __post_init__(self) -> None:
        if not self.inputs:
            object.__setattr__(self, "inputs", image_inputs(self.preprocessing))
        if not self.outputs:
            object.__setattr__(self, "outputs", class_outputs(self.classes))

    @property
    def is_classic(self) -> bool:
        """Whether it classifies images by the logits of one output, which is all that version 1 knows."""
        return (
            isinstance(self.model, ModelSpec)
            and not self.model.arguments
            and classifies_images(self)
            and not self.rewind_steps
            and not self.reference
            and self.held_out is None
        )


@dataclass(frozen=True, eq=False)
class Contents:
    """All that the file of a ticket holds.

    Attributes:
        seed: u64 from which every weight is generated.
        initialiser: name of the distribution of the weights, a key of `prng.INITIALISERS`.
        freeze: the part of the mask that the seed fixes, and for which no bit is stored.
        layers: the gated tensors, in module order.
        stored_statistics: what training observed, by buffer name.
        parameters: trained values, by parameter name.
        constants: what other parameters are filled with, by name, where the rule would give another value.
        provenance: where the ticket comes from.
        weights_digest: SHA-256 over what the generator makes of the seed.
        tool: name and version of what wrote the ticket.
        half_statistics: whether the statistics are float16, even if there are none.
    """

    seed: int
    initialiser: str
    freeze: Freeze
    layers: tuple[Layer, ...]
    stored_statistics: dict[str, StoredTensor]
    parameters: dict[str, StoredTensor]
    constants: dict[str, float]
    provenance: Provenance
    weights_digest: str
    tool: str
    half_statistics: bool

    @property
    def origin(self) -> SeedRecipe:
        """What is generated instead of being stored."""
        return SeedRecipe(self.seed, self.initialiser, self.freeze)

    @property
    def uses(self) -> list[Use]:
        """What masks decide, in the order of layers and coats."""
        return [use for layer in self.layers for use in layer.uses]

    @property
    def masks(self) -> list[CodedMask]:
        """The masks of all layers in the order of their first use, each once."""
        return unique(self.uses)


def image_inputs(preprocessing: Preprocessing | None) -> tuple[TensorRecord, ...]:
    """Return the input of a network of prepared images. Raises ValueError if there is no preprocessing."""
    if preprocessing is None:
        raise ValueError("without preprocessing, `inputs` must be given")
    return (TensorRecord((preprocessing.channels, preprocessing.size, preprocessing.size)),)


def class_outputs(classes: Sequence[str]) -> tuple[TensorRecord, ...]:
    """Return the output of a classifier: a logit for each class."""
    return (TensorRecord((len(classes),)),)


class Described(Protocol):
    """What says what a network is for; its attributes are those of `Provenance`."""

    @property
    def preprocessing(self) -> Preprocessing | None: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def inputs(self) -> tuple[TensorRecord, ...]: ...
    @property
    def outputs(self) -> tuple[TensorRecord, ...]: ...
    @property
    def task(self) -> TaskRecord: ...


def classifies_images(network: Described) -> bool:
    """Return whether a network classifies prepared images by one logit a class: what is meant where nothing is said."""
    return (
        network.preprocessing is not None
        and network.inputs == image_inputs(network.preprocessing)
        and network.outputs == class_outputs(network.classes)
        and network.task == IMAGE_TASK
    )


def unique(uses: Iterable[Use]) -> list[CodedMask]:
    """Return the masks of uses in order, each object once."""
    return list({id(use.mask): use.mask for use in uses}.values())
