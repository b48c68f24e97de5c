"""What a user of a network must know about it. Exported files carry it, tickets contain it."""

from dataclasses import dataclass
from typing import Any

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.ticket.ticket import Ticket

NORMALISED, PIXELS = "normalised", "pixels"


@dataclass(frozen=True)
class NetworkRecord:
    """What is known of a network.

    Attributes:
        dataset: name of the data set that it was found on.
        classes: names of the classes, in the order of the logits.
        preprocessing: what its images are prepared with.
        model: name of the architecture.
        seed: of its weights.
        sparsity: share of gated weights that are zero.
        ticket: digest of the ticket.
        input: "normalised", or "pixels" where the network itself prepares its images.
    """

    dataset: str
    classes: list[str]
    preprocessing: Preprocessing
    model: str
    seed: int
    sparsity: float
    ticket: str
    input: str = NORMALISED

    @classmethod
    def of(cls, ticket: Ticket, input: str = NORMALISED) -> "NetworkRecord":  # noqa: A002, as it is stored
        origin = ticket.provenance
        return cls(
            dataset=origin.dataset,
            classes=origin.classes,
            preprocessing=origin.preprocessing,
            model=origin.model.name,
            seed=ticket.seed,
            sparsity=ticket.sparsity,
            ticket=ticket.digest,
            input=input,
        )

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "preprocessing": self.preprocessing.to_json()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "NetworkRecord":
        """Read what `to_json` wrote. Raises KeyError or TypeError for other fields."""
        return cls(**{**fields, "preprocessing": Preprocessing.from_json(fields["preprocessing"])})
