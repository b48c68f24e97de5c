"""`slt-compress find-ticket`: search masks on early weights that train well, with rewinding."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slt_compress.cli import options as shared
from slt_compress.cli import trained
from slt_compress.cli.config_file import COMMAS
from slt_compress.cli.failures import exit_codes
from slt_compress.cli.output import default_name, figures, save
from slt_compress.cli.trained import Writing
from slt_compress.comparison.results import exact
from slt_compress.files import check_writable

if TYPE_CHECKING:
    from slt_compress.cli.console import Printer
    from slt_compress.pruning.results import FindResult
    from slt_compress.ticket.ticket import Ticket

EXAMPLES = (
    "Examples:\n\n"
    "slt-compress find-ticket lenet-300-100 --dataset digits --rewind-steps 20 --sparsity 0.8,0.9\n\n"
    "slt-compress find-ticket resnet20 --dataset cifar10 --method magnitude --rounds 8 --output found.safetensors"
)


def find_ticket(
    model: shared.OwnModel,
    *,
    dataset: shared.Dataset = "digits",
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    input_size: shared.InputSize = None,
    model_arg: shared.ModelArg = None,
    init: trained.Init = "kaiming-normal",
    seed: trained.Seed = 0,
    method: Annotated[
        trained.FindMethod, typer.Option(help="How it is decided which weights stay.", rich_help_panel="Gates")
    ] = "continuous-sparsification",
    recipe: trained.Recipe = "default",
    sparsity: Annotated[
        str,
        typer.Option(
            help="Share of gated weights that is zero, in [0, 1), or several with commas between: a ticket each.",
            rich_help_panel="Gates",
        ),
        COMMAS,
    ] = "0.9",
    rewind_steps: Annotated[
        int,
        typer.Option(
            help="Step of dense training whose weights the ticket starts from; 0: those of the seed.",
            rich_help_panel="Gates",
        ),
    ] = 0,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="How many times the network is trained from these weights. \\[default: 3; magnitude 5]",
            rich_help_panel="Gates",
        ),
    ] = None,
    scope: trained.Scope = "global",
    epochs: shared.Epochs = None,
    max_steps: shared.MaxSteps = None,
    batch_size: shared.BatchSize = 256,
    lr: trained.Lr = None,
    augment: shared.Augment = "none",
    precision: shared.Precision = "auto",
    device: shared.Device = "auto",
    store_weights: Annotated[
        bool,
        typer.Option(
            "--store-weights",
            help="Store the kept weights of the rewound step as fp16: another machine may train to others.",
            rich_help_panel="Output",
        ),
    ] = False,
    codec: trained.Codec = "auto",
    statistics: trained.Statistics = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            help="Ticket to write; of several the sparsity is added to the name. \\[default: "
            "MODEL-DATASET-found-METHOD-SPARSITY-SEED.safetensors]",
            rich_help_panel="Output",
        ),
    ] = None,
    checkpoint_every: trained.CheckpointEvery = None,
    log: shared.Log = None,
    tensorboard: shared.TensorBoard = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Find tickets that train well: a mask on the weights of the seed, or of an early step of training."""
    files: dict[float, Writing] = {}

    def interrupted() -> str:
        """Save what was found before an interrupt, if there is something, and say so."""
        told = [one.interrupted().removeprefix("interrupted; ") for one in files.values() if one.found]
        if told:
            return f"interrupted; {'; '.join(told)}"
        return next(iter(files.values())).interrupted() if files else "interrupted; nothing was written"

    def file_of(ticket: "Ticket") -> Writing:
        """Return where a ticket is to be written."""
        return files[min(files, key=lambda one: abs(one - ticket.sparsity))]

    with exit_codes(interrupted, output):
        from slt_compress.pruning.config import FindConfig

        run = shared.search_config(
            dataset=dataset,
            data_dir=data_dir,
            workers=workers,
            skip_unreadable=skip_unreadable,
            input_size=input_size,
            model_arg=model_arg,
            initialiser=init,
            seed=seed,
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            augment=augment,
            precision=precision,
            device=device,
            codec=codec,
            statistics=statistics,
        )
        config = FindConfig(
            run=run,
            method=method,
            recipe=recipe,
            sparsity=trained.numbers("sparsity", sparsity, "0.8,0.9"),
            rewind_steps=rewind_steps,
            rounds=rounds,
            learning_rate=lr,
            scope=scope,
            store_weights=store_weights,
        )

        def written(one: float) -> Writing:
            words = f"found-{method}-{exact(one)}" + (f"-from-{rewind_steps}" if rewind_steps else "")
            path = output or Path(default_name([model, *(model_arg or ())], dataset, words, seed))
            if output and len(config.sparsities) > 1:
                path = output.with_name(f"{output.name.removesuffix('.safetensors')}-{exact(one)}.safetensors")
            return Writing(model, run, path, named=output is not None)

        if output and len(config.sparsities) > 1:  # which is no file itself, but what files are named after
            check_writable(output)
        files.update({one: written(one) for one in config.sparsities})
        first = files[config.sparsities[0]]
        first.checkpoint_every = checkpoint_every
        first.folder = Path(f"{output or first.output}.ckpt")
        for writing in files.values():
            writing.check({"`log`": log, "`tensorboard`": tensorboard}, {})
        from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt
        from slt_compress.pruning import front

        with first.opened(json=json, quiet=quiet, log=log, tensorboard=tensorboard) as (printer, own):
            checkpoints = first.checkpoints(printer)
            try:
                result = front.find_ticket(own or model, config=config, reporter=printer, checkpoints=checkpoints)
            except (UnmeasuredError, UnmeasuredInterrupt) as failure:
                for ticket in failure.others:
                    file_of(ticket).found.append((ticket, run))
                if isinstance(failure, UnmeasuredError):
                    for ticket in failure.others:
                        place = save(ticket, file_of(ticket).output, printer, named=file_of(ticket).named)
                        printer.warn(f"{place} is saved too" + ("" if ticket.provenance.metrics else ", not measured"))
                file_of(failure.ticket).keep(failure, printer)
            for found in result.tickets:
                files[found.sparsity].found.append((found.ticket, run))
            for found in result.tickets:
                writing = files[found.sparsity]
                writing.output = save(found.ticket, writing.output, printer, named=writing.named)
            if checkpoints:
                checkpoints.remove()
            _render(printer, result, files, model, method)


def _render(printer: "Printer", result: "FindResult", files: dict[float, Writing], model: str, method: str) -> None:
    from slt_compress.cli.console import size

    lines, documents = [], []
    for found in result.tickets:
        ticket, writing = found.ticket, files[found.sparsity]
        written, name = writing.output.stat().st_size, found.test.metric_name
        document = figures(writing.output, (model, writing.config.dataset, method), found, result)
        document["rewind_steps"] = ticket.provenance.rewind_steps
        documents.append(document)
        lines += [
            ("ticket", f"{writing.output}, {size(written)} against {size(result.dense_bytes)} dense"),
            ("sparsity", f"{ticket.sparsity:.2%}: {ticket.kept:,} of {ticket.weight_count:,} weights kept"),
            (name, f"{found.test.metric:.2%} of {found.test.samples:,} test images before it is trained"),
        ]
    lines.append(("time", f"{result.seconds:.1f} s, {result.images_per_second:,.0f} images/s"))
    shown = documents[0] if len(documents) == 1 else {"tickets": documents}
    printer.result(shown, lines, advice=files[result.tickets[-1].sparsity].advice("train", "--controls"))
