"""`slt-compress prune`: train a network, prune it, and write what is left as a ticket with values."""

from pathlib import Path
from typing import Annotated

import typer

from slt_compress.cli import options as shared
from slt_compress.cli import trained
from slt_compress.cli.failures import exit_codes
from slt_compress.cli.output import default_name
from slt_compress.cli.trained import Writing, render
from slt_compress.comparison.results import exact

EXAMPLES = (
    "Examples:\n\n"
    "slt-compress prune lenet-300-100 --dataset digits --sparsity 0.95 --values int8\n\n"
    "slt-compress prune resnet18 --dataset cifar10 --weights resnet18.safetensors --epochs 4"
)


def prune(
    model: shared.OwnModel,
    *,
    dataset: shared.Dataset = "digits",
    data_dir: shared.DataDir = None,
    workers: shared.Workers = None,
    skip_unreadable: shared.SkipUnreadable = False,
    input_size: shared.InputSize = None,
    model_arg: shared.ModelArg = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Trained weights to start from: a state dict, .safetensors or what torch has saved.",
            rich_help_panel="Model",
        ),
    ] = None,
    init: trained.Init = "kaiming-normal",
    seed: trained.Seed = 0,
    method: Annotated[
        trained.PruneMethod, typer.Option(help="How it is decided which weights stay.", rich_help_panel="Gates")
    ] = "continuous-sparsification",
    recipe: trained.Recipe = "default",
    sparsity: Annotated[
        float | None,
        typer.Option(
            help="Share of gated weights that is zero, in [0, 1). \\[default: 0.9; with --recipe paper and gates, what "
            "their price leaves]",
            rich_help_panel="Gates",
        ),
    ] = None,
    scope: trained.Scope = "global",
    rounds: Annotated[
        int | None,
        typer.Option(
            help="How often magnitude pruning removes weights. \\[default: 20; with --recipe paper as --round-ratio]",
            rich_help_panel="Gates",
        ),
    ] = None,
    round_ratio: Annotated[
        float | None,
        typer.Option(
            help="Share of the kept weights that each round removes. \\[default: with --recipe paper 0.2]",
            rich_help_panel="Gates",
        ),
    ] = None,
    initial_score: Annotated[
        float | None,
        typer.Option(
            help="Where scores of continuous-sparsification --recipe paper start. \\[default: 0]",
            rich_help_panel="Gates",
        ),
    ] = None,
    penalty: Annotated[
        float | None,
        typer.Option(help="Price of a gate, with --recipe paper. \\[default: the method's]", rich_help_panel="Gates"),
    ] = None,
    finish: Annotated[
        float | None,
        typer.Option(
            help="Share of the steps, the last ones, under the final mask, of methods with gates. \\[default: 0.25; "
            "with --recipe paper 0]",
            rich_help_panel="Gates",
        ),
    ] = None,
    epochs: shared.Epochs = None,
    max_steps: shared.MaxSteps = None,
    batch_size: shared.BatchSize = 256,
    lr: Annotated[
        str | None,
        typer.Option(
            metavar="RATES",
            help="Learning rate of the weights. Several with commas between: each is tried for the whole budget, and "
            "the best on held-out images counts. \\[default: the kind of network's]",
            rich_help_panel="Training",
        ),
    ] = None,
    augment: shared.Augment = "none",
    precision: shared.Precision = "auto",
    device: shared.Device = "auto",
    values: trained.Values = "fp16",
    store_weights: Annotated[
        bool,
        typer.Option(
            "--store-weights",
            help="Store the kept weights, as is always done here: no seed gives trained ones.",
            rich_help_panel="Output",
        ),
    ] = False,
    codec: trained.Codec = "auto",
    statistics: trained.Statistics = "auto",
    reference: trained.Reference = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Ticket to write. \\[default: MODEL-DATASET-METHOD-SPARSITY-VALUES-SEED.safetensors]",
            rich_help_panel="Output",
        ),
    ] = None,
    checkpoint_every: trained.CheckpointEvery = None,
    log: shared.Log = None,
    tensorboard: shared.TensorBoard = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Train a network and prune it: the kept weights are stored beside the mask."""
    del store_weights  # as the help says
    writing: Writing | None = None
    with exit_codes(lambda: writing.interrupted() if writing else "interrupted; nothing was written", output):
        from slt_compress.pruning.config import PruneConfig

        config = PruneConfig(
            run=shared.search_config(
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
                reference=reference,
            ),
            method=method,
            recipe=recipe,
            sparsity=sparsity,
            learning_rate=None if lr is None else trained.numbers("learning_rate", lr, "1e-2,3e-3"),
            scope=scope,
            rounds=rounds,
            round_ratio=round_ratio,
            initial_score=initial_score,
            penalty=penalty,
            finish=finish,
            values=values,
        )
        asked = config.asked_sparsity
        words = ["prune", method, values] if asked is None else ["prune", method, exact(asked), values]
        name = default_name([model, *(model_arg or ())], dataset, "-".join(words), seed)
        writing = Writing(model, config.run, output or Path(name), output is not None, checkpoint_every)
        writing.check({"`log`": log, "`tensorboard`": tensorboard}, {"`weights`": weights})
        from slt_compress.pruning import front

        with writing.opened(json=json, quiet=quiet, log=log, tensorboard=tensorboard) as (printer, own):
            result = writing.save(
                lambda kept: front.prune(
                    own or model, config=config, weights=weights, reporter=printer, checkpoints=kept
                ),
                printer,
            )
            render(printer, writing, result, method, model)
