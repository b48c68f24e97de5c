"""What a user of a network must know about it. Exported files carry it, tickets contain it."""

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Any

from slt_compress.data.preprocessing import GEOMETRY, Preprocessing
from slt_compress.errors import TicketError
from slt_compress.models.spec import MAX_CHANNELS, MAX_INPUT_SIZE
from slt_compress.prng import MAX_SEED
from slt_compress.tasks.record import TaskRecord, TensorRecord
from slt_compress.ticket.fields import whole
from slt_compress.ticket.held_out import Reference, group_count
from slt_compress.ticket.probes import Probes
from slt_compress.ticket.purpose import read_task, read_tensors, task_json, tensors_json
from slt_compress.ticket.schema import IMAGE_TASK, class_outputs, classifies_images, image_inputs
from slt_compress.ticket.ticket import Ticket

NORMALISED, PIXELS = "normalised", "pixels"


@dataclass(frozen=True)
class NetworkRecord:
    """What is known of a network.

    Attributes:
        dataset: name of the data set that it was found on.
        classes: names of the classes, in the order of the logits.
        preprocessing: what its images are prepared with, None where its inputs are not images of this package's.
        model: name of the architecture.
        seed: of its weights.
        sparsity: share of gated weights that are zero.
        ticket: digest of the ticket.
        input: "normalised", or "pixels" where the network itself prepares its images.
        inputs: of the network; if none are given, the images of `preprocessing`.
        outputs: of the network; if none are given, a logit for each class.
        task: what it was searched for.
        held_out: held-out images as the network sees them, None where nobody asked for it.
    """

    dataset: str
    classes: list[str]
    preprocessing: Preprocessing | None
    model: str
    seed: int
    sparsity: float
    ticket: str
    input: str = NORMALISED
    inputs: tuple[TensorRecord, ...] = ()
    outputs: tuple[TensorRecord, ...] = ()
    task: TaskRecord = IMAGE_TASK
    held_out: Reference | None = None

    def __post_init__(self) -> None:
        if not self.inputs:
            object.__setattr__(self, "inputs", image_inputs(self.preprocessing))
        if not self.outputs:
            object.__setattr__(self, "outputs", class_outputs(self.classes))

    @classmethod
    def of(cls, ticket: Ticket, input: str = NORMALISED) -> "NetworkRecord":  # noqa: A002, as it is stored
        origin = ticket.provenance
        return cls(
            dataset=origin.dataset,
            classes=origin.classes,
            preprocessing=origin.preprocessing,
            model=origin.model.title,
            seed=ticket.seed,
            sparsity=ticket.sparsity,
            ticket=ticket.digest,
            input=input,
            inputs=origin.inputs,
            outputs=origin.outputs,
            task=origin.task,
            held_out=origin.held_out,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields; those of inputs, outputs and task only where this is no classifier of images, how images
        become squares only where it takes images, and the reference, in base64, only where there is one.
        """
        fields = {
            **vars(self),
            "preprocessing": self.preprocessing and self.preprocessing.to_json(),
            "inputs": tensors_json(self.inputs),
            "outputs": tensors_json(self.outputs),
            "task": task_json(self.task),
            **({"geometry": GEOMETRY} if self.preprocessing else {}),
            "held_out": self.held_out and base64.b64encode(self.held_out.to_bytes()).decode(),
        }
        understood = {"inputs", "outputs", "task"} if classifies_images(self) else set[str]()
        understood |= set[str]() if self.held_out else {"held_out"}
        return {name: value for name, value in fields.items() if name not in understood}

    @classmethod
    def from_json(cls, fields: Any) -> "NetworkRecord":
        """Read what `to_json` wrote, now or before it recorded the geometry; files have `Probes` beside it.

        Raises TicketError, naming it, for a field that is missing, for another one, and for other values.
        """
        _check_fields(fields)
        fields = dict(fields)
        if "probes" in fields:
            Probes.from_json(fields.pop("probes"))
        preprocessing = fields["preprocessing"]
        geometry = GEOMETRY if preprocessing is None else fields.pop("geometry", GEOMETRY)
        if geometry != GEOMETRY:
            raise TicketError(f"its images become squares by the rule {geometry!r}, only {GEOMETRY!r} is known")
        read: dict[str, Any] = {"preprocessing": None if preprocessing is None else _read_preprocessing(preprocessing)}
        if preprocessing is None or "task" in fields:
            read |= {
                "inputs": read_tensors(fields["inputs"], "inputs"),
                "outputs": read_tensors(fields["outputs"], "outputs"),
                "task": read_task(fields["task"]),
            }
        if "held_out" in fields:
            read["held_out"] = _read_held_out(fields["held_out"], len(fields["classes"]))
        record = cls(**{**fields, **read})
        record._check()
        return record

    def _check(self) -> None:
        """Raise TicketError, with the field, for a value that `of` never has."""
        images = self.preprocessing
        texts = {"dataset": self.dataset, "model": self.model, "ticket": self.ticket}
        wrong = [name for name, value in texts.items() if not isinstance(value, str)]
        if not whole(self.seed, 0, MAX_SEED):
            wrong.append("seed")
        if type(self.sparsity) not in (int, float) or not 0 <= self.sparsity <= 1:
            wrong.append("sparsity")
        if self.input not in (NORMALISED, PIXELS):
            wrong.append("input")
        if images and not (whole(images.size, 1, MAX_INPUT_SIZE) and whole(images.channels, 1, MAX_CHANNELS)):
            wrong.append("preprocessing")
        elif images:
            values = (*images.mean, *images.std)
            finite = all(type(value) in (int, float) and math.isfinite(value) for value in values)
            if not finite or {len(images.mean), len(images.std)} != {images.channels} or 0 in images.std:
                wrong.append("preprocessing")
        if wrong:
            raise TicketError(f"it should not have {getattr(self, wrong[0])!r} as {wrong[0]!r}")


def _check_fields(fields: Any) -> None:
    """Raise TicketError unless the fields are those that `to_json` writes, and the classes are names.

    `input`, `geometry`, `held_out` and `probes` may be missing.
    """
    if not isinstance(fields, dict):
        raise TicketError(f"it should be an object, found {str(fields)[:40]!r}")
    images = fields.get("preprocessing", {}) is not None
    further = {"inputs", "outputs", "task"}
    needed = ["dataset", "classes", "preprocessing", "model", "seed", "sparsity", "ticket"]
    needed += sorted(further) if not images or further & set(fields) else []
    if missing := [name for name in needed if name not in fields]:
        raise TicketError(f"it lacks {missing[0]!r}")
    optional = {"input", "held_out", "probes", *(["geometry"] if images else [])}
    if unknown := sorted(set(fields) - {*needed, *optional}):
        raise TicketError(f"it should not have {unknown[0]!r}")
    classes = fields["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise TicketError(f"it should not have {classes!r} as 'classes'")


def _read_held_out(text: Any, classes: int) -> Reference:
    try:
        found = Reference.from_bytes(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, binascii.Error) as error:
        raise TicketError(f"its 'held_out' is not base64: {str(text)[:40]!r}") from error
    if len(found.classes) != group_count(classes):
        raise TicketError(f"its reference has {len(found.classes)} groups of classes, the network {classes} classes")
    return found


def _read_preprocessing(fields: Any) -> Preprocessing:
    try:
        return Preprocessing.from_json(fields)
    except TypeError as error:
        raise TicketError(f"its preprocessing should be size, channels, mean and std, found {fields!r}") from error
