"""The two jobs that start from names: search a ticket, and fetch the pictures to measure one on.

Here the parts meet that otherwise do not know one another: data, models, search, ticket and evaluation.
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from slt_compress import __version__, data, heap, methods, models
from slt_compress.checkpoint import Checkpoints
from slt_compress.errors import DataError, OutputError, UnreachableError, UsageError
from slt_compress.evaluate import Evaluation, evaluate, torch_classifier
from slt_compress.network import FlatNetwork
from slt_compress.parallel import ALONE, Team
from slt_compress.pictures import Dataset, Part, Preprocessing, Report, Split, hold_out
from slt_compress.ranking import searched_count
from slt_compress.search import Budget, Found, Progress, search
from slt_compress.ticket import Freeze, Provenance, Ticket, few

DEFAULT_EPOCHS = 12


class Watch(Protocol):
    """Who is told how a job goes; `console.Printer` is one."""

    def note(self, text: str) -> None: ...

    def counter(self, what: str) -> AbstractContextManager[Report | None]: ...

    def search_progress(self) -> AbstractContextManager[Callable[[Progress], None] | None]: ...


@dataclass(frozen=True)
class Request:
    """What a search is asked for; None stands for the default, `density` is the share of gated weights to keep.

    `statistics` is how BatchNorm statistics are stored: "fp32", "fp16", or "auto": as fp16 if that changes not one
    prediction on the held-out and the test pictures.
    """

    model: str
    dataset: str
    density: float
    method: str = "crbg"
    scope: str | None = None
    recipe: str = "default"
    freeze: Freeze = Freeze()
    initialiser: str | None = None
    codec: str = "auto"
    statistics: str = "auto"
    seed: int = 0
    data_dir: Path | None = None
    input_size: int | None = None
    epochs: int | None = None
    max_steps: int | None = None
    batch_size: int = 256
    learning_rate: float | None = None
    augment: str = "none"
    precision: str = "auto"
    device: str = "auto"


@dataclass(frozen=True)
class Outcome:
    """A ticket with its metrics, and what was measured on the way to it."""

    ticket: Ticket
    found: Found
    epochs: float
    test: Evaluation
    validation: Evaluation
    dense_bytes: int


@dataclass(frozen=True)
class Prepared:
    """What all jobs on one model and data set share, whatever their method, density and seed."""

    pictures: Dataset
    spec: models.ModelSpec
    device: torch.device
    precision: str
    train: Split
    validation: Split
    test: Split
    preprocessing: Preprocessing
    budget: Budget


def prepare(request: Request, watch: Watch, team: Team = ALONE) -> Prepared:
    """Read the pictures a request names, sized for its model, and plan its budget."""
    device = team.place(choose_device(request.device))
    precision = choose_precision(request.precision, device)
    if device.type == "cpu":
        heap.keep_freed_memory()
    models.check_name(request.model)
    with team.one_first():
        pictures = data.open_dataset(request.dataset, request.data_dir)
    spec = models.resolve(
        request.model,
        classes=len(pictures.classes),
        channels=pictures.channels,
        input_size=request.input_size or pictures.size or models.default_input_size(request.model),
    )
    models.check_input(models.build(spec), spec)
    with team.one_first(), watch.counter("reading training pictures") as report:
        everything = pictures.read("train", spec.input_size, report)
    train, validation = (part.to(device) for part in hold_out(everything))
    with team.one_first(), watch.counter("reading test pictures") as report:
        test = pictures.read("test", spec.input_size, report).to(device)
    preprocessing = pictures.preprocessing(spec.input_size, train)
    budget = Budget.plan(len(train), request.batch_size, DEFAULT_EPOCHS, request.epochs, request.max_steps)
    if budget.batch_size < 2 * team.size:
        raise UsageError(
            f"{team.size} processes need batches of at least {2 * team.size} pictures, two for each, "
            f"got {budget.batch_size}"
        )
    if min(len(validation), len(test)) < team.size:
        raise UsageError(
            f"{team.size} processes need at least as many held-out and test pictures, found {len(validation)} and "
            f"{len(test)}; lower --nproc-per-node"
        )
    return Prepared(pictures, spec, device, precision, train, validation, test, preprocessing, budget)


def find_ticket(
    request: Request,
    watch: Watch,
    prepared: Prepared | None = None,
    checkpoints: Checkpoints | None = None,
    team: Team = ALONE,
) -> Outcome:
    """Search a ticket and measure it once on the test pictures, through the network that a reader of its file gets.

    `prepared` is what `prepare` returned for a request of the same model, pictures and budget; without it, it is made.
    The last of `checkpoints` stays; delete it when the ticket is saved. All processes of a `team` get the same ticket.
    """
    ready = prepared or prepare(request, watch, team)
    spec, device, budget, preprocessing = ready.spec, ready.device, ready.budget, ready.preprocessing
    initialiser = request.initialiser or methods.initialiser(request.method, request.recipe)
    network = FlatNetwork(models.build(spec), request.seed, request.density, device, initialiser, request.freeze)
    searched_count(network, request.density)  # raises if frozen gates rule the density out
    optimised = request.method != "random"
    watch.note(
        f"{request.model} on {request.dataset}: {network.size:,} gated weights, "
        f"{len(ready.train):,} training pictures, "
        f"{budget.steps if optimised else 0:,} steps of {budget.batch_size} on {device}"
        + (" in bf16" if ready.precision == "bf16" else "")
        + (f", shared by {team.size} processes" if team.size > 1 else "")
    )
    if checkpoints:
        checkpoints = replace(checkpoints, identity=_identity(request, ready, initialiser))
        if checkpoints.every and not checkpoints.resume and checkpoints.file.exists():
            watch.note(f"the checkpoint in {checkpoints.folder} will be replaced; --resume would go on from it")
        checkpoints = replace(checkpoints, resume=checkpoints.resume and _can_resume(checkpoints, watch, team))
    with watch.search_progress() as report_search:
        found = search(
            network,
            ready.train,
            ready.validation,
            preprocessing,
            method=request.method,
            density=request.density,
            seed=request.seed,
            budget=budget,
            learning_rate=request.learning_rate,
            scope=request.scope,
            recipe=request.recipe,
            augment=request.augment,
            precision=ready.precision,
            report=report_search,
            checkpoints=checkpoints,
            team=team,
        )
    method = {"name": request.method, "steps": budget.steps if optimised else 0, "batch_size": budget.batch_size}
    ticket = Ticket.pack(
        {name: mask.numpy() for name, mask in found.masks.items()},
        {slot.name: slot.scale for slot in network.slots},
        {name: values.numpy() for name, values in found.statistics.items()},
        Provenance(
            model=spec.to_json(),
            library=models.library_version(spec),
            architecture=models.architecture_digest(network.module),
            dataset=request.dataset,
            classes=list(ready.pictures.classes),
            preprocessing=vars(preprocessing),
            method={**method, "settings": found.settings},
            metrics={},
        ),
        seed=request.seed,
        initialiser=initialiser,
        freeze=request.freeze,
        codec=request.codec,
    )

    def measure(candidate: Ticket) -> list[Evaluation]:
        """Evaluate the network that a reader of the ticket's file gets."""
        classifier = torch_classifier(Ticket.from_bytes(candidate.to_bytes()).restore(), device)
        evaluations = []
        for name, split in (("held-out", ready.validation), ("test", ready.test)):
            with watch.counter(f"evaluating on {name} pictures") as report:
                evaluations.append(evaluate(classifier, split, preprocessing, report, team))
        return evaluations

    if request.statistics == "fp16":
        ticket = ticket.with_half_statistics()
    evaluations = measure(ticket)
    if request.statistics == "auto" and ticket.statistics:
        with contextlib.suppress(UnreachableError):  # too large for fp16
            half = ticket.with_half_statistics()
            shorter = measure(half)
            if all(torch.equal(a.predictions, b.predictions) for a, b in zip(evaluations, shorter, strict=True)):
                ticket, evaluations = half, shorter
    held_out, test = evaluations
    ticket = ticket.with_metrics(accuracy=test.accuracy, loss=test.loss, validation_accuracy=held_out.accuracy)
    dense_bytes = sum(tensor.nbytes for tensor in network.module.state_dict().values())
    return Outcome(ticket, found, budget.epochs if optimised else 0, test, held_out, dense_bytes)


def _identity(request: Request, ready: Prepared, initialiser: str) -> dict[str, Any]:
    """Return all that decides about the course of a search: only between equal ones may a checkpoint pass."""
    return {
        "version": __version__,
        "model": ready.spec.to_json(),
        "data set": request.dataset,
        "classes": list(ready.pictures.classes),
        "number of training pictures": len(ready.train),
        "preprocessing": vars(ready.preprocessing),
        "method": request.method,
        "scope": request.scope,
        "recipe": request.recipe,
        "learning rate": request.learning_rate,
        "augmentation": request.augment,
        "precision": ready.precision,
        "density": request.density,
        "freezing": vars(request.freeze),
        "initialiser": initialiser,
        "seed": request.seed,
        "number of steps": ready.budget.steps,
        "batch size": ready.budget.batch_size,
        "device": ready.device.type,
    }


def _can_resume(checkpoints: Checkpoints, watch: Watch, team: Team) -> bool:
    """Return whether there is a checkpoint to go on from, and say so.

    Raises OutputError if this process of the team finds another one than the leader, or none.
    """
    step = checkpoints.find()
    reached = step or 0
    if team.follow(reached) != reached:
        raise OutputError(f"the leader's checkpoint is not in {checkpoints.folder} here: share the folder")
    if step is None:
        watch.note(f"no checkpoint in {checkpoints.folder}: the search starts afresh")
    else:
        watch.note(f"going on from the checkpoint of step {step:,}")
    return step is not None


def recorded(ticket: Ticket) -> dict[str, Any]:
    """Return what an evaluation needs to know of a ticket, and what an exported file records of it."""
    origin = ticket.provenance
    return {
        "dataset": origin.dataset,
        "classes": origin.classes,
        "preprocessing": origin.preprocessing,
        "model": origin.model["name"],
        "seed": ticket.seed,
        "sparsity": ticket.sparsity,
        "ticket": ticket.digest,
    }


def pictures_for(
    origin: dict[str, Any],
    name: str,
    folder: Path | None,
    watch: Watch,
    *,
    part: Part = "test",
    most: int | None = None,
) -> tuple[Split, Preprocessing]:
    """Return a split of a data set as the network that `recorded` describes expects its pictures.

    Of more than `most` pictures, it is a draw that is the same every time.

    Raises DataError if they are of other classes or another number of channels.
    """
    preprocessing = Preprocessing(**origin["preprocessing"])
    pictures = data.open_dataset(name, folder)
    if list(pictures.classes) != origin["classes"]:
        raise DataError(
            f"the network tells apart {len(origin['classes'])} classes ({few(origin['classes'])}), {name} has "
            f"{len(pictures.classes)} ({few(pictures.classes)})"
        )
    if pictures.channels != preprocessing.channels:
        raise DataError(f"the network takes {preprocessing.channels} channels, the pictures have {pictures.channels}")
    with watch.counter(f"reading {'training' if part == 'train' else part} pictures") as report:
        split = pictures.read(part, preprocessing.size, report)
    if most is not None and most < len(split):
        split = split.take(torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:most])
    return split, preprocessing


def choose_device(name: str) -> torch.device:
    """Return the device of this name; "auto" takes a GPU if torch finds one. Raises UsageError if it finds none.

    On an Nvidia GPU convolutions then have the full precision of fp32, and the same result every time.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    if not present[name]:
        raise UsageError(f"--device {name}: torch finds none on this machine; use --device cpu")
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return "fp32" or "bf16", the arithmetic of a search; "auto" takes bf16 on a GPU that has it."""
    if name == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return name
