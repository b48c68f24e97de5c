"""Tickets that a command writes: their names, saving them, and what an interrupt must not lose."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_compress import files
from slt_compress.cli.source import names_code
from slt_compress.cli.streams import shell
from slt_compress.errors import OutputError

if TYPE_CHECKING:
    from slt_compress.cli.console import Printer
    from slt_compress.config import SearchConfig
    from slt_compress.pipeline.find import SearchResult
    from slt_compress.pruning.results import FindResult, FoundTicket
    from slt_compress.ticket.ticket import Ticket


def default_name(model: Sequence[str], dataset: str, words: str, seed: int) -> str:
    """Return the name of a ticket that was given none: of network and data, how it was made, and the seed."""
    return "-".join([*map(stem, model), stem(dataset), words, str(seed)]) + ".safetensors"


def stem(name: str) -> str:
    """Return a name of a model or a data set as a part of a file's name: of a path, its last part."""
    if name.startswith("hf:"):
        folder, _, _ = name.removeprefix("hf:").partition("#")
        return f"hf-{Path(folder).name}"
    return Path(name).name.replace(".py:", "-") if names_code(name) else name.replace("/", "-")


def save(ticket: "Ticket", output: Path, printer: "Printer", *, named: bool) -> Path:
    """Save a ticket, and return where: a name of our own choice is not taken from another result."""
    if not named and (free := files.unused(output, ticket.to_bytes())) != output:
        printer.warn(f"{output} holds another result and stays as it is")
        output = free
    files.write_or_rescue(output, ticket.to_bytes())
    return output


def rescued(found: list[tuple["Ticket", "SearchConfig"]], model: str, output: Path, *, named: bool) -> str:
    """Save what was found before an interrupt, if there is something, and say so."""
    from slt_compress.cli.console import Printer

    for ticket, config in found:
        try:
            output = save(ticket, output, Printer(), named=named)
        except OutputError as failure:
            return f"interrupted; {failure}"
        measured = "" if ticket.provenance.metrics else f", not yet measured; {how_to_measure(model, config, output)}"
        return f"interrupted; the ticket was found, and is saved as {output}{measured}"
    return ""


def is_kept(folder: Path) -> bool:
    """Return whether there is a checkpoint in this folder."""
    return any(folder.glob("*.safetensors"))


def how_to_resume(folder: Path | None, option: str = "") -> str:
    """Return what an interrupt has left of a run whose checkpoints are in this folder, None if it keeps none.

    `option` is what has to be added to the command.
    """
    if folder is None:
        return "interrupted; nothing was written (--checkpoint-every STEPS would have kept the state)"
    if is_kept(folder):
        return f"interrupted; the same command {option}continues from the checkpoint in {folder}"
    return "interrupted; nothing was written, as no checkpoint was due yet"


def how_to_measure(model: str, config: "SearchConfig", output: Path, cause: BaseException | None = None) -> str:
    """Return how to measure a ticket that was found, after what has kept it from being measured."""
    from slt_compress.data.images import DamagedImagesError

    words: list[str | Path] = ["slt-compress", "evaluate", output, "--dataset", config.dataset]
    words += ["--data-dir", config.data_dir] if config.data_dir else []
    words += ["--source", model] if names_code(model) else []
    words += ["--skip-unreadable"] if isinstance(cause, DamagedImagesError) or config.skip_unreadable else []
    return f"later measure it with: {shell(*words)}"


def figures(
    output: Path, names: tuple[str, str, str], found: "SearchResult | FoundTicket", run: "SearchResult | FindResult"
) -> dict[str, Any]:
    """Return what the JSON document of a command says of the ticket that it has written.

    `names` are of the model, the data set and the method, `run` is what the ticket was found in.
    """
    model, dataset, method = names
    ticket, test = found.ticket, found.test
    return {
        "artifact": str(output),
        "model": model,
        "dataset": dataset,
        "method": method,
        "seed": ticket.seed,
        "sparsity": ticket.sparsity,
        "neuron_sparsity": getattr(run, "neuron_sparsity", None),
        test.metric_name: test.metric,
        f"validation_{test.metric_name}": found.validation.metric,
        "loss": test.finite_loss,
        "bytes": output.stat().st_size,
        "mask_bytes": ticket.mask_bytes,
        "mask_bound_bytes": ticket.mask_bound_bytes,
        "dense_bytes": run.dense_bytes,
        "epochs": run.epochs,
        "seconds": run.seconds,
        "images_per_second": run.images_per_second,
    }
