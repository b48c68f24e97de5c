"""`slt-compress search`: find a ticket and write it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slt_compress import files
from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, local_file, own_name
from slt_compress.cli.options import CodecName, MethodName, RecipeName, StatisticsName
from slt_compress.cli.output import default_name, figures, how_to_measure, how_to_resume, rescued, save
from slt_compress.cli.source import code_file, names_code, user_code
from slt_compress.cli.streams import shell
from slt_compress.comparison.results import exact, method_label
from slt_compress.errors import SltError, UsageError

if TYPE_CHECKING:
    from slt_compress.cli.console import Printer
    from slt_compress.config import SearchConfig
    from slt_compress.pipeline.find import SearchResult
    from slt_compress.ticket.ticket import Ticket

EXAMPLES = (
    "Examples:\n\n"
    "slt-compress search lenet-300-100 --dataset digits\n\n"
    "slt-compress search resnet18 --dataset cifar10 --sparsity 0.95 --output resnet18.safetensors\n\n"
    "slt-compress search conv4 --dataset imagefolder --data-dir images --max-steps 200 --json"
)


def search(
    model: shared.OwnModel,
    *,
    dataset: shared.Dataset = "digits",
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    input_size: shared.InputSize = None,
    model_arg: shared.ModelArg = None,
    method: Annotated[MethodName, typer.Option(help="How the mask is found.", rich_help_panel="Gates")] = ("crbg"),
    recipe: Annotated[
        RecipeName, typer.Option(help="Our settings, or those the method was published with.", rich_help_panel="Gates")
    ] = "default",
    sparsity: Annotated[
        float | None,
        typer.Option(
            help="Share of gated weights that is zero, or of neurons that is removed, in [0, 1). \\[default: 0.9]",
            rich_help_panel="Gates",
        ),
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Instead of a sparsity, the largest size of the ticket, such as 100KB (100,000 bytes): as many "
            "weights are kept as fit into it.",
            rich_help_panel="Gates",
        ),
    ] = None,
    granularity: shared.Granularity = "weight",
    neuron_sparsity: shared.NeuronSparsity = None,
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
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="TICKET",
            help="Begin with the weights that this ticket of the same network and seed keeps ahead of all others.",
            rich_help_panel="Training",
            show_default=False,
        ),
    ] = None,
    teacher: shared.Teacher = None,
    augment: shared.Augment = "none",
    precision: shared.Precision = "auto",
    device: shared.Device = "auto",
    codec: Annotated[CodecName, typer.Option(help="Code of the masks; auto takes the shorter.")] = "auto",
    statistics: Annotated[
        StatisticsName,
        typer.Option(help="Form of the BatchNorm statistics; auto takes fp16 if it changes no held-out prediction."),
    ] = "auto",
    reference: Annotated[
        bool,
        typer.Option(
            "--reference",
            help="Store how the network sees the held-out images, about 0.5 KB, for slt-compress monitor.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Ticket to write. \\[default: MODEL-DATASET[-METHOD]-SPARSITY-SEED.safetensors]"),
    ] = None,
    checkpoint_every: shared.CheckpointEvery = None,
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
    named = output is not None
    label = method_label(method, recipe, options).replace(":", "-")
    target = [*_gates(granularity, neuron_sparsity), _target_name(sparsity, max_bytes)]
    words = [*([] if label == "crbg" else [label]), *target]
    output = output or Path(default_name([model, *(model_arg or ())], dataset, "-".join(words), seed))
    folder = Path(f"{output}.ckpt")
    keeps = bool(checkpoint_every or resume)
    found: list[tuple[Ticket, SearchConfig]] = []  # what an interrupt must not lose
    to = output

    def interrupted() -> str:
        saved = rescued(found, model, to, named=named)
        return saved or how_to_resume(folder if keeps else None, "with --resume ")

    with exit_codes(interrupted, output):
        from slt_compress.config import DEFAULT_SPARSITY
        from slt_compress.data import places

        if sparsity is not None and max_bytes is not None:
            raise UsageError("give `sparsity` or `max_bytes`, not both")
        config = shared.search_config(
            dataset=dataset,
            data_dir=data_dir,
            workers=workers,
            skip_unreadable=skip_unreadable,
            input_size=input_size,
            model_arg=model_arg,
            method=method,
            recipe=recipe,
            options=options,
            sparsity=DEFAULT_SPARSITY if sparsity is None else sparsity,
            max_bytes=None if max_bytes is None else shared.byte_count(max_bytes, "max_bytes"),
            granularity=granularity,
            neuron_sparsity=neuron_sparsity,
            freeze_ratio=freeze_ratio,
            lock_ratio=lock_ratio,
            initialiser=init,
            seed=seed,
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            learning_rate=lr,
            teacher=teacher,
            augment=augment,
            precision=precision,
            device=device,
            codec=codec,
            statistics=statistics,
            reference=reference,
        )
        start = None if init_from is None else local_file(init_from)
        config = replace(config, init_from=start)
        config.refuse_idle(checkpoint_every=checkpoint_every, resume=resume, log=log, tensorboard=tensorboard)
        outputs = {"the checkpoint": folder if keeps else None, "`log`": log, "`tensorboard`": tensorboard}
        inputs = {
            **places.inputs(dataset, data_dir),
            "the network": code_file(model),
            "`init_from`": start,
            "`teacher`": teacher,
        }
        files.check_apart({**outputs, "`output`": output}, inputs)
        with own_name(output, named):
            files.check_writable(output)
            if keeps:
                files.check_folder(folder)
        from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt, find_ticket
        from slt_compress.training import distributed
        from slt_compress.training.checkpoint import Checkpoints
        from slt_compress.training.keeper import KeptInterrupt

        with user_code(model if names_code(model) else None) as (own, results), distributed.join() as context:
            network = own or model
            checkpoints = Checkpoints(folder, checkpoint_every, resume)
            if not context.is_main_process:
                find_ticket(network, config, checkpoints=checkpoints, context=context)
                return
            run = output.name.removesuffix(".safetensors")
            with shared.printer(
                run, json=json, quiet=quiet, log=log, tensorboard=tensorboard, results=results
            ) as printer:
                checkpoints = replace(checkpoints, warn=printer.warn)
                try:
                    result = find_ticket(network, config, printer, checkpoints=checkpoints, context=context)
                except KeptInterrupt:
                    keeps = True  # without being asked to
                    raise
                except UnmeasuredInterrupt as interrupt:
                    found.append((interrupt.ticket, config))
                    raise
                except UnmeasuredError as failure:
                    found.append((failure.ticket, config))
                    output = save(failure.ticket, output, printer, named=named)
                    raise SltError(
                        f"the ticket was found, and is saved as {output}, but measuring it has failed: "
                        f"{failure.reason}; {how_to_measure(model, config, output, failure.__cause__)}"
                    ) from failure
            found.append((result.ticket, config))
            output = save(result.ticket, output, printer, named=named)
            if keeps:  # another search's stays
                checkpoints.remove()
            _render(printer, model, config, result, output)


def _render(printer: "Printer", model: str, config: "SearchConfig", result: "SearchResult", output: Path) -> None:
    from slt_compress.cli.console import size

    ticket, test, validation = result.ticket, result.test, result.validation
    written, dense = output.stat().st_size, result.dense_bytes
    empty = [layer.name for layer in ticket.layers if layer.kept <= 1]
    recorded = config.dataset.partition(":")[0]  # of hf:NAME, hf
    images = shared.images_of(recorded, config.dataset, config.data_dir, config.skip_unreadable) or []
    source = ["--source", model] if names_code(model) else []
    if empty:
        printer.note(f"at most one weight is kept in {', '.join(empty[:3])}: the network may be cut there")
    printer.result(
        figures(output, (model, config.dataset, config.method), result, result),
        [
            (
                test.metric_name,
                f"{test.metric:.2%} of {test.samples:,} test images ({validation.metric:.2%} of the held-out ones)",
            ),
            ("sparsity", f"{ticket.sparsity:.2%}: {ticket.kept:,} of {ticket.weight_count:,} weights kept"),
            *([("neurons", f"{result.neuron_sparsity:.2%} removed")] if result.neuron_sparsity is not None else []),
            ("size", f"{size(written)} against {size(dense)} dense, {dense / written:.0f}× smaller"),
            ("time", f"{result.seconds:.1f} s, {result.images_per_second:,.0f} images/s"),
            ("ticket", str(output)),
        ],
        advice=f"next: {shell('slt-compress', 'export', output, *images, *source)}",
    )


def _target_name(sparsity: float | None, max_bytes: str | None) -> str:
    """Return what the name of a ticket says of how many weights are kept."""
    from slt_compress.config import DEFAULT_SPARSITY

    if max_bytes is not None:
        return max_bytes.replace(" ", "")
    return exact(DEFAULT_SPARSITY if sparsity is None else sparsity)


def _gates(granularity: str, neuron_sparsity: float | None) -> list[str]:
    """Return what the name of a ticket says of gates that are not the default's."""
    if granularity == "weight":
        return []
    return [granularity.replace(",", "-"), *([] if neuron_sparsity is None else [exact(neuron_sparsity)])]
