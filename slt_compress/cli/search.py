"""`slt-compress search`: find a ticket and write it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes
from slt_compress.cli.options import MethodName, RecipeName
from slt_compress.cli.source import names_code, user_code
from slt_compress.errors import SltError, UsageError

if TYPE_CHECKING:
    from slt_compress.cli.console import Printer
    from slt_compress.config import SearchConfig
    from slt_compress.pipeline.find import SearchResult, UnmeasuredError

EXAMPLES = (
    "Examples:\n\n"
    "slt-compress search lenet-300-100 --dataset digits\n\n"
    "slt-compress search resnet18 --dataset cifar10 --sparsity 0.95 --output resnet18.safetensors\n\n"
    "slt-compress search conv4 --dataset imagefolder --data-dir images --max-steps 200 --json"
)

CodecName = Literal["auto", "raw", "rice"]
StatisticsName = Literal["auto", "fp32", "fp16"]


def search(
    model: shared.OwnModel,
    *,
    dataset: shared.Dataset = "digits",
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    input_size: shared.InputSize = None,
    method: Annotated[MethodName, typer.Option(help="How the mask is found.", rich_help_panel="Gates")] = ("crbg"),
    recipe: Annotated[
        RecipeName, typer.Option(help="Our settings, or those the method was published with.", rich_help_panel="Gates")
    ] = "default",
    sparsity: Annotated[
        float, typer.Option(help="Share of gated weights that is zero, in [0, 1).", rich_help_panel="Gates")
    ] = 0.9,
    freeze_ratio: shared.FreezeRatio = 0.0,
    lock_ratio: shared.LockRatio = 0.0,
    init: shared.Init = None,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**64 - 1, help="Of weights, gates and data order.", rich_help_panel="Gates"),
    ] = 0,
    epochs: shared.Epochs = None,
    max_steps: shared.MaxSteps = None,
    batch_size: shared.BatchSize = 256,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate of the gates. \\[default: the method's]", rich_help_panel="Training"),
    ] = None,
    augment: shared.Augment = "none",
    precision: shared.Precision = "auto",
    device: shared.Device = "auto",
    codec: Annotated[CodecName, typer.Option(help="Code of the masks; auto takes the shorter.")] = "auto",
    statistics: Annotated[
        StatisticsName,
        typer.Option(help="Form of the BatchNorm statistics; auto takes fp16 if it changes no held-out prediction."),
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(help="Ticket to write. \\[default: MODEL-DATASET-SPARSITY-SEED.safetensors]"),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="STEPS",
            help="Save the state of the search after every so many steps, in OUTPUT.ckpt/ until the search ends.",
            rich_help_panel="Long runs",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue from the checkpoint of the same search, if there is one.",
            rich_help_panel="Long runs",
        ),
    ] = False,
    log: shared.Log = None,
    tensorboard: shared.TensorBoard = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    options: dict[str, Any],
) -> None:
    """Find a ticket: a sparse part of a random network that classifies well without any weight being trained."""
    output = output or Path(f"{_stem(model)}-{_stem(dataset)}-{sparsity:g}-{seed}.safetensors")
    folder = Path(f"{output}.ckpt")
    with exit_codes(lambda: _how_to_resume(folder, bool(checkpoint_every or resume))):
        config = shared.search_config(
            dataset=dataset,
            data_dir=data_dir,
            workers=workers,
            skip_unreadable=skip_unreadable,
            input_size=input_size,
            method=method,
            recipe=recipe,
            options=options,
            sparsity=sparsity,
            freeze_ratio=freeze_ratio,
            lock_ratio=lock_ratio,
            initialiser=init,
            seed=seed,
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            learning_rate=lr,
            augment=augment,
            precision=precision,
            device=device,
            codec=codec,
            statistics=statistics,
        )
        from slt_compress import files

        if log and log.resolve() == output.resolve():
            raise UsageError(f"`log` and `output` are the same file, {output}")
        files.check_writable(output)
        files.check_folder(folder)
        from slt_compress.pipeline.find import UnmeasuredError, find_ticket
        from slt_compress.training import distributed
        from slt_compress.training.checkpoint import Checkpoints

        checkpoints = Checkpoints(folder, checkpoint_every, resume)
        with user_code(model if names_code(model) else None) as (own, results), distributed.join() as context:
            network = own or model
            if not context.is_main_process:
                find_ticket(network, config, checkpoints=checkpoints, context=context)
                return
            with shared.printer(
                output.stem, json=json, quiet=quiet, log=log, tensorboard=tensorboard, results=results
            ) as printer:
                try:
                    result = find_ticket(network, config, printer, checkpoints=checkpoints, context=context)
                except UnmeasuredError as failure:
                    failure.ticket.save(output)
                    raise SltError(_how_to_measure(failure, model, config, output)) from failure
            result.ticket.save(output)
            if checkpoint_every or resume:  # another search's stays
                checkpoints.remove()
            _render(printer, model, config, result, output)


def _render(printer: "Printer", model: str, config: "SearchConfig", result: "SearchResult", output: Path) -> None:
    from slt_compress.cli.console import size

    ticket, test, validation = result.ticket, result.test, result.validation
    written, dense = output.stat().st_size, result.dense_bytes
    empty = [layer.name for layer in ticket.layers if layer.kept <= 1]
    if empty:
        printer.note(f"at most one weight is kept in {', '.join(empty[:3])}: the network may be cut there")
    printer.result(
        {
            "artifact": str(output),
            "model": model,
            "dataset": config.dataset,
            "method": config.method,
            "seed": config.seed,
            "sparsity": ticket.sparsity,
            test.metric_name: test.metric,
            f"validation_{test.metric_name}": validation.metric,
            "loss": test.finite_loss,
            "bytes": written,
            "mask_bytes": ticket.mask_bytes,
            "mask_bound_bytes": ticket.mask_bound_bytes,
            "dense_bytes": dense,
            "epochs": result.epochs,
            "seconds": result.seconds,
            "images_per_second": result.images_per_second,
        },
        [
            (
                test.metric_name,
                f"{test.metric:.2%} of {test.samples:,} test images ({validation.metric:.2%} of the held-out ones)",
            ),
            ("sparsity", f"{ticket.sparsity:.2%}: {ticket.kept:,} of {ticket.weight_count:,} weights kept"),
            ("size", f"{size(written)} against {size(dense)} dense, {dense / written:.0f}× smaller"),
            ("time", f"{result.seconds:.1f} s, {result.images_per_second:,.0f} images/s"),
            ("ticket", str(output)),
        ],
        advice=f"next: slt-compress export {output}" + (f" --source {model}" if names_code(model) else ""),
    )


def _stem(name: str) -> str:
    """Return a name of a model or a data set as a part of a file's name: of a path, its last part."""
    if name.startswith("hf:"):
        folder, _, _ = name.removeprefix("hf:").partition("#")
        return f"hf-{Path(folder).name}"
    return Path(name).name.replace(".py:", "-") if names_code(name) else name.replace("/", "-")


def _how_to_measure(failure: "UnmeasuredError", model: str, config: "SearchConfig", output: Path) -> str:
    from slt_compress.data.images import DamagedImagesError

    words = ["slt-compress", "evaluate", str(output), "--dataset", config.dataset]
    words += ["--data-dir", str(config.data_dir)] if config.data_dir else []
    words += ["--source", model] if names_code(model) else []
    words += ["--skip-unreadable"] if isinstance(failure.__cause__, DamagedImagesError) else []
    return (
        f"the ticket was found, and is saved as {output}, but measuring it has failed: {failure.reason}; later measure "
        f"it with: {shlex.join(words)}"
    )


def _how_to_resume(folder: Path, checkpoints: bool) -> str:
    if checkpoints and any(folder.glob("*.safetensors")):
        return f"interrupted; the same command with --resume continues from the checkpoint in {folder}"
    return "interrupted; nothing was written (--checkpoint-every STEPS would have kept the search)"
