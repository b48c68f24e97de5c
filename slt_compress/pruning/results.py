"""What comes of pruning, of a ticket search with rewinding, and of training under a mask."""

from dataclasses import dataclass

from slt_compress.evaluation.accuracy import Evaluation
from slt_compress.pipeline.find import SearchResult
from slt_compress.ticket.ticket import Ticket


@dataclass(frozen=True)
class TrainedResult(SearchResult):
    """A ticket with stored weights, and what was measured of it.

    Attributes:
        unrounded: of the network before its weights were rounded to the values of the file, on held-out examples.
        controls: what the same training makes of a random mask of the same densities, and of other weights, by name.
    """

    unrounded: Evaluation | None = None
    controls: tuple["Control", ...] = ()

    @property
    def learning_rate(self) -> float:
        """With which the weights were trained."""
        rate: float = self.ticket.provenance.method.settings["weights"]["learning_rate"]
        return rate

    @property
    def rounding_drop(self) -> float:
        """What rounding to the values of the file has cost of the metric on held-out examples."""
        assert self.unrounded
        return self.unrounded.metric - self.validation.metric


@dataclass(frozen=True)
class Control:
    """A network that was trained as a ticket was, to compare it with.

    Attributes:
        name: "random-mask" or "other-weights".
        test, validation: of it.
    """

    name: str
    test: Evaluation
    validation: Evaluation


@dataclass(frozen=True)
class FoundTicket:
    """A ticket of a search with rewinding.

    Attributes:
        ticket: seed and mask, with its metrics in its provenance.
        sparsity: that was asked for.
        test, validation: of the network that a reader of the file gets, which is not yet trained.
    """

    ticket: Ticket
    sparsity: float
    test: Evaluation
    validation: Evaluation


@dataclass(frozen=True)
class FindResult:
    """All tickets of a search with rewinding.

    Attributes:
        tickets: one for each sparsity, in the order asked for.
        dense_bytes: size of the network's state dict in fp32.
        epochs: passes over the training examples, None where their number is not known.
        seconds: time of the optimiser steps.
        images_per_second: training examples, over all steps.
    """

    tickets: tuple[FoundTicket, ...]
    dense_bytes: int
    epochs: float | None
    seconds: float
    images_per_second: float
