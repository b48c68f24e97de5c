"""What an assessment finds, and its JSON document."""

from dataclasses import asdict, dataclass
from typing import Any

from slt_compress.assessment.extrapolation import Forecast
from slt_compress.assessment.facts import Facts
from slt_compress.assessment.fleet import Fleet, YearOfFile, arithmetic_joules
from slt_compress.assessment.pilot import Trial
from slt_compress.assessment.speed import Duration, Speed


@dataclass(frozen=True)
class Choice:
    """The best kind of search at a sparsity, as the pilot sees it.

    Attributes:
        sparsity: the target.
        kind: label of the kind of search.
        method, granularity: of it.
        forecast: after the default number of steps.
        asked: after the number that was asked for; the same where none was.
        ticket_bytes: estimated, of the finished search.
        onnx_bytes: likewise of its compact export; None where the network cannot be exported.
    """

    sparsity: float
    kind: str
    method: str
    granularity: str
    forecast: Forecast
    asked: Forecast
    ticket_bytes: int
    onnx_bytes: int | None


@dataclass(frozen=True)
class Recommendation:
    """What to do.

    Attributes:
        choice: what to search, None if the pilot could not tell.
        reasons: why, in sentences.
        warnings: what speaks against it.
        improvements: what would make the result better.
    """

    choice: Choice | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    improvements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assessment:
    """What a network costs, what a pilot promises, and what to do.

    Attributes:
        model, dataset: names.
        metric_name: what the network is measured by.
        examples: numbers of training, held-out and test examples.
        machine: what it was measured on.
        facts: of the network.
        speeds: of a search, on each device; the first is the one that is used.
        default, asked: how long a search takes, with the default number of steps and with that asked for.
        trials: all runs of the pilot.
        choices: the best kind at each sparsity that the pilot had time for, by sparsity.
        dense: forecasts of the dense network after the default and the asked number of steps, None without its runs.
        onnx_overhead: bytes that the compact export has beyond the ticket, None where it could not be made.
        recommendation: what to do.
        fleet: the devices, None where they were not told.
        years: what they take in a year.
        notes: what could not be done.
    """

    model: str
    dataset: str
    metric_name: str
    examples: dict[str, int]
    machine: str
    facts: Facts
    speeds: tuple[Speed, ...]
    default: Duration
    asked: Duration
    trials: tuple[Trial, ...]
    choices: tuple[Choice, ...]
    dense: tuple[Forecast, Forecast] | None
    onnx_overhead: int | None
    recommendation: Recommendation
    fleet: Fleet | None = None
    years: tuple[YearOfFile, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the document that the command line prints."""
        facts = asdict(self.facts)
        facts["ticket_bytes"] = {f"{sparsity:g}": size for sparsity, size in self.facts.ticket_bytes.items()}
        dense = self.dense and dict(zip(("default", "asked"), map(asdict, self.dense), strict=True))
        return {
            "model": self.model,
            "dataset": self.dataset,
            "metric": self.metric_name,
            "examples": self.examples,
            "machine": self.machine,
            "facts": {**facts, "gated_weights": self.facts.gated_weights, "other_weights": self.facts.other_weights},
            "arithmetic_joules": arithmetic_joules(self.facts.macs),
            "speeds": [asdict(speed) for speed in self.speeds],
            "peak_bytes": self.speeds[0].peak_bytes,
            "search_seconds": {"default": asdict(self.default), "asked": asdict(self.asked)},
            "pilot": [
                {
                    ("bytes" if name == "size" else name): value
                    for name, value in vars(trial).items()
                    if name != "content"
                }
                for trial in self.trials
            ],
            "choices": [asdict(choice) for choice in self.choices],
            "dense": dense,
            "onnx_overhead": self.onnx_overhead,
            "recommendation": asdict(self.recommendation),
            "fleet": self.fleet and {**asdict(self.fleet), "years": [asdict(one) for one in self.years]},
            "notes": list(self.notes),
        }
