"""`slt-compress train`: train the kept weights of a ticket, or of a mask of another tool."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slt_compress.cli import options as shared
from slt_compress.cli import trained
from slt_compress.cli.failures import exit_codes, local_file
from slt_compress.cli.output import default_name
from slt_compress.cli.source import names_code
from slt_compress.cli.trained import Writing, render
from slt_compress.errors import UsageError
from slt_compress.hub.address import is_address, path_in

EXAMPLES = (
    "Examples:\n\n"
    "slt-compress train ticket.safetensors --controls --output trained.safetensors\n\n"
    "slt-compress train lenet-300-100 --mask mask.safetensors --seed 3 --values int8 --output trained.safetensors"
)


def train(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TICKET|MODEL|FILE.py:FUNCTION",
            help="A ticket (.safetensors), here or as hf://OWNER/NAME on the hub; with --mask a network.",
            show_default=False,
        ),
    ],
    *,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="0 and 1 for each gated weight, by tensor name, .safetensors or what torch has saved.",
            rich_help_panel="Model",
        ),
    ] = None,
    source: shared.Source = None,
    dataset: Annotated[
        str | None,
        typer.Option(help=f"Images: {shared.DATASETS}. \\[default: the ticket's; digits]", rich_help_panel="Model"),
    ] = None,
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    input_size: shared.InputSize = None,
    model_arg: shared.ModelArg = None,
    init: trained.Init = "kaiming-normal",
    seed: trained.Seed = 0,
    epochs: shared.Epochs = None,
    max_steps: shared.MaxSteps = None,
    batch_size: shared.BatchSize = 256,
    lr: trained.Lr = None,
    teacher: shared.Teacher = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Train a random mask of the same densities, and other weights, likewise: three times the time.",
            rich_help_panel="Training",
        ),
    ] = False,
    augment: shared.Augment = "none",
    precision: shared.Precision = "auto",
    device: shared.Device = "auto",
    values: trained.Values = "fp16",
    codec: trained.Codec = "auto",
    statistics: trained.Statistics = "auto",
    reference: trained.Reference = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Ticket to write. \\[default: the ticket's name, -trained.safetensors; "
            "MODEL-DATASET-trained-VALUES-SEED.safetensors]",
            rich_help_panel="Output",
        ),
    ] = None,
    checkpoint_every: trained.CheckpointEvery = None,
    log: shared.Log = None,
    tensorboard: shared.TensorBoard = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Train the kept weights of a ticket, or of a mask, while the mask stays as it is."""
    writing: Writing | None = None
    with exit_codes(lambda: writing.interrupted() if writing else "interrupted; nothing was written", output):
        from slt_compress.pruning.config import TrainConfig

        if mask is None and names_code(what):
            raise UsageError(f"{what} needs a `mask`; for a ticket of it: slt-compress train TICKET --source {what}")
        if mask is None and not is_address(what) and not Path(what).suffix and not Path(what).is_file():
            raise UsageError(f"{what!r} is no ticket; to train a network by name, give its `mask`, a file")
        if mask is not None and Path(what).suffix == ".safetensors":
            raise UsageError(f"{what} is a ticket, which has its mask; `mask` is for a network")
        if mask is not None and source is not None:
            raise UsageError("`source` is for a ticket; with a `mask` give FILE.py:FUNCTION in its place")
        path = None if mask is not None else local_file(what)
        run = shared.search_config(
            dataset=dataset or "digits",
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
            reference=reference,
        )
        config = TrainConfig(run=run, learning_rate=lr, values=values, controls=controls)
        name = f"{path_in(what).stem}-trained.safetensors"
        if path is None:
            name = default_name([what, *(model_arg or ())], run.dataset, f"trained-{values}", seed)
        code = what if path is None else source or ""
        writing = Writing(code, run, output or Path(name), output is not None, checkpoint_every)
        read = {"the ticket": path, "`mask`": mask, "`teacher`": teacher}
        writing.check({"`log`": log, "`tensorboard`": tensorboard}, read)
        from slt_compress.pruning import front
        from slt_compress.ticket.ticket import Ticket

        with writing.opened(json=json, quiet=quiet, log=log, tensorboard=tensorboard) as (printer, own):
            common: dict[str, Any] = {"config": config, "teacher": teacher, "reporter": printer}
            if path is None:
                result = writing.save(
                    lambda kept: front.train(own or what, dataset, mask=mask, **common, checkpoints=kept), printer
                )
                title = what
            else:
                ticket = Ticket.load(path)
                title = ticket.provenance.model.title
                if dataset is None:
                    writing.config = shared.search_config(dataset=ticket.provenance.dataset, data_dir=data_dir)
                result = writing.save(
                    lambda kept: front.train(ticket, dataset, source=own, **common, checkpoints=kept), printer
                )
            render(printer, writing, result, "train", title)
