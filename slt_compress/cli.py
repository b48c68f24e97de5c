"""The command line: parse, call, render. Nothing heavy is imported before a command runs."""

import contextlib
import math
import shlex
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slt_compress.errors import SltError, UsageError, VerificationError

if TYPE_CHECKING:
    from slt_compress.ticket import Freeze

app = typer.Typer(
    name="slt-compress",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


class MethodName(StrEnum):
    CRBG = "crbg"
    EDGE_POPUP = "edge-popup"
    CONTINUOUS_SPARSIFICATION = "continuous-sparsification"
    RANDOM = "random"


class ScopeName(StrEnum):
    LAYER = "layer"
    GLOBAL = "global"


class RecipeName(StrEnum):
    DEFAULT = "default"
    PAPER = "paper"


class InitialiserName(StrEnum):
    SIGNED_CONSTANT = "signed-constant"
    KAIMING_UNIFORM = "kaiming-uniform"
    UNIFORM = "uniform"
    KAIMING_NORMAL = "kaiming-normal"


class CodecName(StrEnum):
    AUTO = "auto"
    RAW = "raw"
    RICE = "rice"


class StatisticsName(StrEnum):
    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"


class AugmentName(StrEnum):
    NONE = "none"
    CROP = "crop"
    CROP_FLIP = "crop-flip"


class PrecisionName(StrEnum):
    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class DeviceName(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Backend(StrEnum):
    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"


class Weights(StrEnum):
    COMPACT = "compact"
    DENSE = "dense"
    INT2 = "int2"
    INT8 = "int8"


_DATASETS = "digits, mnist, fashion-mnist, cifar10, cifar100, svhn or imagefolder"

DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the pictures; imagefolder: with train/ and test/ (or val/), each a folder per class."),
]
Device = Annotated[DeviceName, typer.Option(help="Where to compute; auto takes a GPU if there is one.")]
Augment = Annotated[
    AugmentName,
    typer.Option(
        help="Random changes of training pictures: moved by up to an eighth, mirrored. Costs accuracy in few epochs.",
        rich_help_panel="Training",
    ),
]
Precision = Annotated[
    PrecisionName,
    typer.Option(help="Arithmetic of the search; auto takes bf16 on a GPU that has it.", rich_help_panel="Training"),
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
FreezeRatio = Annotated[
    float, typer.Option(help="Share of gated weights that the seed keeps or drops.", rich_help_panel="Gates")
]
LockRatio = Annotated[float, typer.Option(help="Share of gated weights that the seed keeps.", rich_help_panel="Gates")]
Init = Annotated[
    InitialiserName | None,
    typer.Option(
        help="Distribution of the frozen weights. [default: signed-constant; uniform for crbg --recipe paper]",
        rich_help_panel="Gates",
    ),
]
TicketFile = Annotated[Path, typer.Argument(help="A ticket (.safetensors).", show_default=False)]


def _version(asked: bool) -> None:
    if asked:
        from slt_compress import __version__

        typer.echo(f"slt-compress {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Find strong lottery tickets and ship them as a seed plus at most one mask bit per weight."""


@app.command(
    epilog="Examples:\n\n"
    "slt-compress search lenet-300-100 --dataset digits\n\n"
    "slt-compress search resnet18 --dataset cifar10 --sparsity 0.95 --output resnet18.safetensors\n\n"
    "slt-compress search conv4 --dataset imagefolder --data-dir pictures --max-steps 200 --json"
)
def search(
    model: Annotated[
        str,
        typer.Argument(help="resnet20, vit_tiny_patch16_224, … See: slt-compress models.", show_default=False),
    ],
    dataset: Annotated[str, typer.Option(help=f"Pictures: {_DATASETS}.", rich_help_panel="Model")] = "digits",
    data_dir: DataDir = None,
    input_size: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Pictures are resized to this, in px.", rich_help_panel="Model"),
    ] = None,
    method: Annotated[MethodName, typer.Option(help="How the mask is found.", rich_help_panel="Gates")] = (
        MethodName.CRBG
    ),
    scope: Annotated[
        ScopeName | None,
        typer.Option(
            help="Where edge-popup ranks its scores. [default: global; layer for --recipe paper]",
            rich_help_panel="Gates",
        ),
    ] = None,
    recipe: Annotated[
        RecipeName, typer.Option(help="Our settings, or those the method was published with.", rich_help_panel="Gates")
    ] = RecipeName.DEFAULT,
    sparsity: Annotated[
        float, typer.Option(help="Share of gated weights that is zero, in [0, 1).", rich_help_panel="Gates")
    ] = 0.9,
    freeze_ratio: FreezeRatio = 0.0,
    lock_ratio: LockRatio = 0.0,
    init: Init = None,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**64 - 1, help="Of weights, gates and data order.", rich_help_panel="Gates"),
    ] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training pictures. [default: 12, or more for 1,000 steps]",
            rich_help_panel="Training",
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            help="Optimiser steps instead of epochs; every schedule is scaled to them.",
            rich_help_panel="Training",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Pictures a step.", rich_help_panel="Training")] = 256,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate of the gates. [default: the method's]", rich_help_panel="Training"),
    ] = None,
    augment: Augment = AugmentName.NONE,
    precision: Precision = PrecisionName.AUTO,
    device: Device = DeviceName.AUTO,
    codec: Annotated[CodecName, typer.Option(help="Code of the masks; auto takes the shorter.")] = CodecName.AUTO,
    statistics: Annotated[
        StatisticsName,
        typer.Option(help="Form of the BatchNorm statistics; auto takes fp16 if it changes not one prediction."),
    ] = StatisticsName.AUTO,
    output: Annotated[
        Path | None,
        typer.Option(help="Ticket to write. [default: MODEL-DATASET-SPARSITY-SEED.safetensors]"),
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
            help="Go on from the checkpoint of the same search, if there is one.",
            rich_help_panel="Long runs",
        ),
    ] = False,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Find a ticket: a sparse part of a random network that classifies well without any weight being trained."""
    output = output or Path(f"{model.replace('/', '-')}-{dataset}-{sparsity:g}-{seed}.safetensors")
    folder = Path(f"{output}.ckpt")
    with _exit_codes(lambda: _how_to_go_on(folder, bool(checkpoint_every or resume))):
        if not 0 <= sparsity < 1:
            raise UsageError(f"--sparsity must be at least 0 and below 1, got {sparsity:g}")
        freeze = _freeze(freeze_ratio, lock_ratio)
        _check_budget(epochs, max_steps)
        if lr is not None and not (lr > 0 and math.isfinite(lr)):
            raise UsageError(f"--lr must be a positive number, got {lr:g}")
        from slt_compress import data, files, methods, parallel

        data.check_name(dataset)
        methods.check(method, scope, recipe, lr)
        files.check_writable(output)
        files.check_folder(folder)
        from slt_compress.checkpoint import Checkpoints
        from slt_compress.console import Printer, size
        from slt_compress.jobs import Request, find_ticket

        request = Request(
            model=model,
            dataset=dataset,
            density=1 - sparsity,
            method=method.value,
            scope=scope and scope.value,
            recipe=recipe.value,
            freeze=freeze,
            initialiser=init and init.value,
            codec=codec.value,
            statistics=statistics.value,
            seed=seed,
            data_dir=data_dir,
            input_size=input_size,
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            learning_rate=lr,
            augment=augment.value,
            precision=precision.value,
            device=device.value,
        )
        checkpoints = Checkpoints(folder, checkpoint_every, resume)
        with parallel.join() as team:
            printer = Printer(json=json, quiet=quiet or not team.leads)
            outcome = find_ticket(request, printer, checkpoints=checkpoints, team=team)
        if not team.leads:
            return
        ticket, found, test = outcome.ticket, outcome.found, outcome.test
        ticket.save(output)
        if checkpoint_every or resume:  # another search's stays
            checkpoints.remove()
        written = output.stat().st_size
        dense = outcome.dense_bytes
        empty = [layer.name for layer in ticket.layers if layer.kept <= 1]
        if empty:
            printer.note(f"at most one weight is kept in {', '.join(empty[:3])}: the network may be cut there")
        printer.result(
            {
                "artifact": str(output),
                "model": model,
                "dataset": dataset,
                "method": method.value,
                "seed": seed,
                "sparsity": ticket.sparsity,
                "accuracy": test.accuracy,
                "validation_accuracy": outcome.validation.accuracy,
                "loss": test.finite_loss,
                "bytes": written,
                "mask_bytes": ticket.mask_bytes,
                "mask_bound_bytes": ticket.mask_bound_bytes,
                "dense_bytes": dense,
                "epochs": outcome.epochs,
                "seconds": found.seconds,
                "images_per_second": found.images_per_second,
            },
            [
                (
                    "accuracy",
                    f"{test.accuracy:.2%} of {test.samples:,} test pictures "
                    f"({outcome.validation.accuracy:.2%} of the held-out ones)",
                ),
                ("sparsity", f"{ticket.sparsity:.2%}: {ticket.kept:,} of {ticket.weights:,} weights kept"),
                ("size", f"{size(written)} against {size(dense)} dense, {dense / written:.0f}× smaller"),
                ("time", f"{found.seconds:.1f} s, {found.images_per_second:,.0f} images/s"),
                ("ticket", str(output)),
            ],
            advice=f"next: slt-compress export {output}",
        )


@app.command(
    epilog="Examples:\n\nslt-compress evaluate ticket.safetensors\n\n"
    "slt-compress evaluate ticket.onnx --min-accuracy 0.95 --json"
)
def evaluate(
    file: Annotated[Path, typer.Argument(metavar="TICKET_OR_ONNX", help="A ticket, or an exported .onnx.")],
    dataset: Annotated[
        str | None, typer.Option(help=f"Pictures: {_DATASETS}. [default: what the file records]")
    ] = None,
    data_dir: DataDir = None,
    backend: Annotated[
        Backend | None,
        typer.Option(help="torch for a ticket, onnxruntime for an .onnx. [default: what fits]"),
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 3 if the accuracy is below this.")
    ] = None,
    device: Device = DeviceName.AUTO,
    json: Json = False,
) -> None:
    """Measure a ticket or an exported network on the test pictures."""
    with _exit_codes():
        is_onnx = file.suffix.lower() == ".onnx"
        if backend is Backend.TORCH and is_onnx:
            raise UsageError(f"{file} runs under onnxruntime; torch evaluates the ticket it was exported from")
        if backend is Backend.ONNXRUNTIME and not is_onnx:
            raise UsageError(f"onnxruntime needs an exported file; first run: slt-compress export {file}")
        _require_file(file)
        from slt_compress import jobs
        from slt_compress.console import Printer
        from slt_compress.evaluate import OnnxClassifier, torch_classifier
        from slt_compress.evaluate import evaluate as measure
        from slt_compress.ticket import Ticket

        printer = Printer(json=json)
        target = jobs.choose_device("cpu" if is_onnx else device.value)
        if is_onnx:
            classifier: Any = OnnxClassifier(file)
            origin = classifier.metadata
        else:
            ticket = Ticket.load(file)
            classifier = torch_classifier(ticket.restore(), target)
            origin = jobs.recorded(ticket)
        name = dataset or origin["dataset"]
        split, preprocessing = jobs.pictures_for(origin, name, data_dir, printer)
        feed = classifier.preprocessing if is_onnx else preprocessing
        with printer.counter("evaluating") as report:
            result = measure(classifier, split.to(target), feed, report)
        used = "onnxruntime" if is_onnx else "torch"
        printer.result(
            {
                "accuracy": result.accuracy,
                "loss": result.finite_loss,
                "samples": result.samples,
                "seconds": result.seconds,
                "backend": used,
                "sparsity": origin["sparsity"],
                "bytes": file.stat().st_size,
            },
            [
                ("accuracy", f"{result.accuracy:.2%} of {result.samples:,} test pictures of {name}"),
                ("loss", f"{result.loss:.4f}"),
                ("sparsity", f"{origin['sparsity']:.2%}"),
                ("time", f"{result.seconds:.2f} s with {used}"),
            ],
        )
        if min_accuracy is not None and result.accuracy < min_accuracy:
            raise VerificationError(f"accuracy {result.accuracy:.4f} is below --min-accuracy {min_accuracy:g}")


@app.command(
    epilog="Examples:\n\n"
    "slt-compress export ticket.safetensors --output ticket.onnx\n\n"
    "slt-compress export ticket.safetensors --weights int8 --include-preprocessing --data-dir pictures"
)
def export(
    ticket_file: Annotated[Path, typer.Argument(metavar="TICKET", help="A ticket (.safetensors).")],
    output: Annotated[
        Path | None, typer.Option(help="ONNX file to write. [default: the ticket's name with .onnx]")
    ] = None,
    weights: Annotated[
        Weights,
        typer.Option(
            help="compact: seed and masks, regenerated while onnxruntime loads the file; dense: fp32, for any runtime; "
            "int2: 2-bit constants; int8: seed and masks, computed in 8 bits, calibrated on training pictures."
        ),
    ] = Weights.COMPACT,
    opset: Annotated[int | None, typer.Option(help="ONNX operator set. [default: 20, for int2 25]")] = None,
    include_preprocessing: Annotated[
        bool,
        typer.Option(
            "--include-preprocessing", help="Let the graph take raw pixels, uint8 (batch, height, width, channels)."
        ),
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(help="Pictures to prove the file on and to calibrate int8. [default: what the ticket records]"),
    ] = None,
    data_dir: DataDir = None,
    max_accuracy_drop: Annotated[
        float,
        typer.Option(min=0, max=1, help="int8: exit with 3 if the test accuracy falls by more than this fraction."),
    ] = 0.01,
    json: Json = False,
) -> None:
    """Write a ticket as ONNX and prove that onnxruntime computes what torch does."""
    with _exit_codes():
        from slt_compress import files
        from slt_compress.console import Printer, size
        from slt_compress.ticket import Ticket

        output = output or ticket_file.with_suffix(".onnx")
        _require_file(ticket_file)
        files.check_writable(output)
        ticket = Ticket.load(ticket_file)
        module = ticket.restore()
        from slt_compress import jobs
        from slt_compress.export import CALIBRATION_PICTURES, EXACT_PICTURES, PICTURES, check
        from slt_compress.export import export as write_onnx

        check(ticket, weights.value, opset)

        printer = Printer(json=json)
        origin = jobs.recorded(ticket)
        pictures = calibration = None
        name = dataset or origin["dataset"]
        if dataset or data_dir or name == "digits":  # else they might have to be downloaded
            lossy = weights is Weights.INT8
            most = PICTURES if lossy else EXACT_PICTURES
            pictures, _ = jobs.pictures_for(origin, name, data_dir, printer, most=most)
            if lossy:
                calibration, _ = jobs.pictures_for(
                    origin, name, data_dir, printer, part="train", most=CALIBRATION_PICTURES
                )
        else:
            printer.note(f"no pictures of {origin['dataset']} to prove the file on; name their folder with --data-dir")
        printer.note(f"exporting {ticket_file} with {weights.value} weights")
        exported = write_onnx(
            module,
            ticket,
            output,
            origin,
            weights=weights.value,
            opset=opset,
            include_preprocessing=include_preprocessing,
            pictures=pictures,
            calibration=calibration,
            max_accuracy_drop=max_accuracy_drop,
            counter=printer.counter,
        )
        agreement = exported.agreement
        parity = f"logits within {exported.max_abs_difference:.1e} of torch's"
        if exported.bit_identical_to_dense:
            parity += ", identical to the dense graph's"
        if agreement:
            parity += f", the same class for {agreement.equal:,} of {agreement.pictures:,} test pictures"
        printer.result(
            {
                "onnx": str(output),
                "bytes": exported.bytes,
                "weights": weights.value,
                "opset": exported.opset,
                "max_abs_difference": exported.max_abs_difference,
                "bit_identical_to_dense": exported.bit_identical_to_dense,
                "bit_identical_to_plain": exported.bit_identical_to_plain,
                "pictures": agreement.pictures if agreement else 0,
                "predictions_equal": agreement.equal if agreement else None,
                "accuracy_before": agreement.accuracy_torch if agreement else None,
                "accuracy_after": agreement.accuracy_onnx if agreement else None,
                "calibration_pictures": exported.calibration_pictures,
            },
            [
                ("onnx", f"{output}, {size(exported.bytes)}, opset {exported.opset}"),
                ("parity", parity),
                *(
                    [("accuracy", f"{agreement.accuracy_torch:.2%} before, {agreement.accuracy_onnx:.2%} after")]
                    if agreement and weights is Weights.INT8
                    else []
                ),
            ],
            advice=f"next: slt-compress evaluate {output}",
        )


@app.command(epilog="Example:\n\nslt-compress inspect ticket.safetensors --json")
def inspect(ticket_file: TicketFile, json: Json = False) -> None:
    """Show what a ticket holds: layers, densities, bytes against the Shannon bound, and where it comes from."""
    with _exit_codes():
        from slt_compress.console import Printer, size
        from slt_compress.ticket import Ticket, few

        _require_file(ticket_file)
        ticket = Ticket.load(ticket_file)
        printer = Printer(json=json)
        total = ticket_file.stat().st_size
        origin = ticket.provenance
        printer.table(
            ("layer", "shape", "weights", "kept", "density", "codec", "bytes", "bound"),
            [
                (
                    layer.name,
                    "×".join(map(str, layer.shape)),
                    f"{layer.size:,}",
                    f"{layer.kept:,}",
                    f"{layer.kept / layer.size:.4f}",
                    layer.codec,
                    f"{layer.bytes:,}",
                    f"{ticket.bound(layer):,}",
                )
                for layer in ticket.layers
            ],
        )
        other = total - ticket.mask_bytes - ticket.statistics_bytes
        printer.result(
            {
                "bytes": total,
                "mask_bytes": ticket.mask_bytes,
                "mask_bound_bytes": ticket.mask_bound_bytes,
                "statistics_bytes": ticket.statistics_bytes,
                "sparsity": ticket.sparsity,
                "seed": ticket.seed,
                "initialiser": ticket.initialiser,
                "freeze_ratio": ticket.freeze.ratio,
                "lock_ratio": ticket.freeze.lock,
                "granularity": ticket.granularity,
                "digest": ticket.digest,
                "tool": ticket.tool,
                **vars(origin),
                "layers": [
                    {
                        "name": layer.name,
                        "shape": list(layer.shape),
                        "weights": layer.size,
                        "kept": layer.kept,
                        "scale": layer.scale,
                        "codec": layer.codec,
                        "bytes": layer.bytes,
                        "bound_bytes": ticket.bound(layer),
                    }
                    for layer in ticket.layers
                ],
            },
            [
                ("sparsity", f"{ticket.sparsity:.2%}: {ticket.kept:,} of {ticket.weights:,} weights kept"),
                (
                    "bytes",
                    f"{total:,}: masks {ticket.mask_bytes:,} (Shannon bound {ticket.mask_bound_bytes:,}), "
                    f"statistics {ticket.statistics_bytes:,}, header {other:,}",
                ),
                ("model", f"{origin.model['name']}, built by {origin.library}"),
                (
                    "trained on",
                    f"{origin.dataset}, {len(origin.classes)} classes: {few(origin.classes)}",
                ),
                ("method", f"{origin.method['name']}, seed {ticket.seed}"),
                *([("frozen", _frozen(ticket.freeze))] if ticket.freeze.ratio else []),
                (
                    "accuracy",
                    f"{origin.metrics['accuracy']:.2%} test, as reported" if origin.metrics else "not recorded",
                ),
                ("size", f"{size(total)}, SHA-256 {ticket.digest}"),
            ],
            advice=f"next: slt-compress evaluate {ticket_file}",
        )


@app.command(epilog="Example:\n\nslt-compress verify ticket.safetensors")
def verify(ticket_file: TicketFile, json: Json = False) -> None:
    """Recompute every digest of a ticket, decode every mask and rebuild the network; exit with 3 on any mismatch."""
    with _exit_codes():
        from slt_compress.console import Printer
        from slt_compress.ticket import Ticket

        _require_file(ticket_file)
        ticket = Ticket.load(ticket_file)
        ticket.check()
        ticket.restore()
        Printer(json=json).result(
            {
                "ticket": str(ticket_file),
                "verified": True,
                "digest": ticket.digest,
                "weights_digest": ticket.weights_digest,
                "architecture": ticket.provenance.architecture,
                "layers": len(ticket.layers),
                "weights": ticket.weights,
                "kept": ticket.kept,
            },
            [
                ("file", f"SHA-256 {ticket.digest}"),
                ("weights", f"SHA-256 {ticket.weights_digest}, generated from seed {ticket.seed}"),
                ("masks", f"{len(ticket.layers)} decoded, {ticket.kept:,} of {ticket.weights:,} weights kept"),
                ("network", f"{ticket.provenance.model['name']}, architecture {ticket.provenance.architecture}"),
            ],
        )


@app.command(
    epilog="Examples:\n\n"
    "slt-compress compare lenet-300-100 --dataset digits --sparsities 0.9,0.98 --output digits\n\n"
    "slt-compress compare conv4 --dataset cifar10 --methods crbg,random --seeds 5 --epochs 20 --output conv4"
)
def compare(
    model: Annotated[
        str,
        typer.Argument(help="A network; slt-compress models lists them.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="Folder for tickets, tables and plots; with finished cells of the same settings, goes on from there.",
            show_default=False,
        ),
    ],
    dataset: Annotated[str, typer.Option(help=f"Pictures: {_DATASETS}.", rich_help_panel="Model")] = "digits",
    data_dir: DataDir = None,
    input_size: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Pictures are resized to this, in px.", rich_help_panel="Model"),
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            help=f"Of {', '.join(MethodName)}, with commas between; options of a method follow it as NAME:OPTION.",
            rich_help_panel="Grid",
        ),
    ] = ",".join(MethodName),
    sparsities: Annotated[
        str, typer.Option(help="Shares of zero weights in [0, 1), with commas between.", rich_help_panel="Grid")
    ] = "0.5,0.8,0.9,0.95,0.98",
    seeds: Annotated[
        int, typer.Option(help="Runs of each method at each sparsity, with seeds from 0.", rich_help_panel="Grid")
    ] = 3,
    dense: Annotated[
        bool,
        typer.Option("--dense/--no-dense", help="Also train all weights, as a yardstick.", rich_help_panel="Grid"),
    ] = True,
    freeze_ratio: FreezeRatio = 0.0,
    lock_ratio: LockRatio = 0.0,
    init: Init = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training pictures. [default: 12, or more for 1,000 steps]",
            rich_help_panel="Training",
        ),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Optimiser steps instead of epochs.", rich_help_panel="Training")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Pictures a step.", rich_help_panel="Training")] = 256,
    augment: Augment = AugmentName.NONE,
    precision: Precision = PrecisionName.AUTO,
    device: Device = DeviceName.AUTO,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Compare methods over sparsities and seeds: tickets, tables of mean ± std, plots. Goes on where it stopped."""
    with _exit_codes(lambda: f"interrupted; finished cells stay in {output}, run the same command again to go on"):
        _check_budget(epochs, max_steps)
        from slt_compress import data, parallel

        data.check_name(dataset)
        if parallel.started_by_torchrun():
            raise UsageError("compare runs in one process; torchrun is for search")
        from slt_compress.compare import compare as run
        from slt_compress.console import Printer
        from slt_compress.grid import Plan
        from slt_compress.jobs import Request
        from slt_compress.results import accuracy_table, read_summaries

        request = Request(
            model=model,
            dataset=dataset,
            density=1.0,
            initialiser=init.value if init else None,
            freeze=_freeze(freeze_ratio, lock_ratio),
            data_dir=data_dir,
            input_size=input_size,
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            augment=augment.value,
            precision=precision.value,
            device=device.value,
        )
        plan = Plan.parse(request, methods, sparsities, seeds, dense)
        printer = Printer(json=json, quiet=quiet)
        document = run(plan, output, shlex.join(["slt-compress", *sys.argv[1:]]), printer)
        printer.table(*accuracy_table(read_summaries(document)))
        printer.result(
            document,
            [
                ("accuracy", f"test, in per cent, {'mean ± std' if seeds > 1 else 'one seed'}"),
                ("table", f"{output / 'results.csv'}, {output / 'results.json'}, {output / 'results.md'}"),
                ("plots", f"{output / 'accuracy-sparsity.png'}, {output / 'accuracy-bytes.png'}"),
                ("tickets", str(output / "tickets")),
            ],
        )


@app.command(
    epilog="Examples:\n\nslt-compress models\n\nslt-compress models wide_resnet\n\n"
    "slt-compress models 'torchvision/*' --input-size 224 --classes 1000 --json"
)
def models(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILTER]",
            help="Part of a name, or a pattern with *. [default: a selection]",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, max=100_000, help="Logits of the network.")] = 10,
    channels: Annotated[int, typer.Option(min=1, max=64, help="Planes of the pictures: 3 for colour.")] = 3,
    input_size: Annotated[int, typer.Option(min=1, max=4096, help="Size of the pictures, in px.")] = 32,
    json: Json = False,
) -> None:
    """List networks with their gated weights and the size of a ticket at 90 % sparsity."""
    with _exit_codes():
        from slt_compress import catalogue
        from slt_compress.console import Printer, size

        printer = Printer(json=json)
        names = catalogue.matching(pattern)
        with printer.counter("building") as report:
            entries = list(
                catalogue.entries(names, classes=classes, channels=channels, input_size=input_size, report=report)
            )
        printer.table(
            ("model", "gated weights", "ticket", "dense"),
            [
                (entry.name, f"{entry.gated_weights:,}", size(entry.ticket_bytes), size(entry.dense_bytes))
                for entry in entries
                if entry.gated_weights and entry.ticket_bytes and entry.dense_bytes
            ],
        )
        for entry in entries:
            if entry.problem:
                printer.note(entry.problem)
        printer.result(
            {
                "classes": classes,
                "channels": channels,
                "input_size": input_size,
                "sparsity": 1 - catalogue.DENSITY,
                "models": [vars(entry) for entry in entries],
            },
            [
                (
                    "models",
                    f"{len(entries)}, for {classes} classes and pictures of {channels}×{input_size}×{input_size}; "
                    "ticket: estimated, at 90 % sparsity",
                )
            ],
            advice="next: slt-compress search MODEL" if pattern else "more: slt-compress models FILTER",
        )


def main() -> None:
    """Run the command line."""
    app()


def _check_budget(epochs: int | None, max_steps: int | None) -> None:
    for option, value in (("--epochs", epochs), ("--max-steps", max_steps)):
        if value is not None and value < 1:
            raise UsageError(f"{option} must be at least 1, got {value}")
    if epochs is not None and max_steps is not None:
        raise UsageError("give --epochs or --max-steps, not both")


@contextlib.contextmanager
def _exit_codes(interrupted: Callable[[], str] = lambda: "interrupted; nothing was written") -> Iterator[None]:
    """Turn an expected failure into one message and its exit code; a bug keeps its traceback."""
    from slt_compress import console

    try:
        yield
    except SltError as failure:
        console.error(str(failure))
        raise typer.Exit(failure.exit_code) from failure
    except KeyboardInterrupt as interrupt:
        console.error(interrupted())
        raise typer.Exit(130) from interrupt


def _how_to_go_on(folder: Path, checkpoints: bool) -> str:
    if checkpoints and any(folder.glob("*.safetensors")):
        return f"interrupted; the same command with --resume goes on from the checkpoint in {folder}"
    return "interrupted; nothing was written (--checkpoint-every STEPS would have kept the search)"


def _freeze(ratio: float, lock: float) -> "Freeze":
    from slt_compress.ticket import Freeze

    if not 0 <= ratio < 1:
        raise UsageError(f"--freeze-ratio must be at least 0 and below 1, got {ratio:g}")
    if not 0 <= lock <= ratio:
        raise UsageError(f"--lock-ratio must be from 0 to --freeze-ratio, {ratio:g}, got {lock:g}")
    return Freeze(ratio, lock)


def _frozen(freeze: "Freeze") -> str:
    return (
        f"about {freeze.ratio:.1%} of the mask by the seed: {freeze.lock:.1%} kept, "
        f"{freeze.ratio - freeze.lock:.1%} dropped"
    )


def _require_file(path: Path) -> None:
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path} {kind}, expected a file; make one with: slt-compress search MODEL --dataset NAME")
