"""Write a ticket's network as a C file and its header, once it is shown that it computes what the network does.

The network is traced as for ONNX. `graph` makes steps of it, `text` a file of the steps, and `proof` compiles and runs
it where there is a C compiler. The files are written last, so that one that fails a check leaves nothing behind.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from slt_compress.c_export import fixed, graph, proof, text
from slt_compress.c_export.network import Layer, Network, Prepare, prepared
from slt_compress.c_export.values import Weights, stored_type
from slt_compress.data.batches import Feed, as_given
from slt_compress.data.preprocessing import as_pixels
from slt_compress.data.splits import IndexedSplit, Split
from slt_compress.errors import MissingPackageError, UnreachableError, UsageError, VerificationError
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.files import check_writable, is_free, numbered, write_atomically
from slt_compress.onnx_export.left import Left, left_of, whole
from slt_compress.onnx_export.parity import Agreement, needs_data
from slt_compress.onnx_export.trace import trace
from slt_compress.progress import SILENT, Counter
from slt_compress.tasks.task import CLASSIFY, Task
from slt_compress.ticket.record import PIXELS, NetworkRecord
from slt_compress.ticket.ticket import Ticket

LAYOUTS = ("rice", "gap", "signs")
ARITHMETICS = ("float", "fixed")
_OPSET = 20
_CALIBRATION_BATCH = 32  # examples


@dataclass(frozen=True)
class CExportConfig:
    """What kind of C file to write.

    Attributes:
        arithmetic: "float", or "fixed": values in 8 bits and sums in 32, which loses some accuracy and needs a compiler
            and images.
        layout: how masks are coded: "rice" takes the fewest bytes; "gap", a byte for each gap, is faster; "signs", a
            byte for each kept weight with its sign, is the fastest.
        main: whether the file has a program that reads one input from standard input.
        keep_structure: whether dead neurons stay, see `structure.removal`.
        max_accuracy_drop: how much of the accuracy "fixed" may lose, as a fraction; None stands for
            `parity.MAX_ACCURACY_DROP`.
        replace: as in `ExportConfig`, of the C file and its header.
    """

    layout: str = "rice"
    main: bool = False
    arithmetic: str = "float"
    keep_structure: bool = False
    max_accuracy_drop: float | None = None
    replace: bool = True

    @property
    def exact(self) -> bool:
        """Whether all predictions must be those of torch."""
        return self.arithmetic == "float"


@dataclass(frozen=True)
class CExportResult:
    """What was written, and how it compares.

    Attributes:
        file, header: what was written.
        bytes: size of the C file, which is text.
        table_bytes: constants of the compiled code: codes, factors and tables.
        arena_bytes: static memory that the compiled code writes to.
        bound_bytes: the most of it that has to be kept at once.
        max_abs_difference: largest difference of an output from torch's on the inputs of the self-test; None if there
            was no compiler.
        agreement: what torch and the compiled code make of a test split, None where there was none, or no compiler.
        compiler: that the file was proven with, None where there is none.
        calibration_images: how many examples the ranges of values come from.
        left: what the code has of the network.
    """

    file: Path
    header: Path
    bytes: int
    table_bytes: int
    arena_bytes: int
    bound_bytes: int
    max_abs_difference: float | None
    agreement: Agreement | None
    compiler: str | None
    calibration_images: int
    left: Left


def check(ticket: Ticket, output: Path, config: CExportConfig) -> Path:
    """Return the file of the header, before any long work.

    Raises UsageError for a name that a C file cannot have, and what `check_network` raises.
    """
    if not output.name.isprintable() or set(output.name) & set('"\\') or output.suffix in ("", ".h"):
        raise UsageError(f"`output` must be a name such as ticket.c, got {output.name!r}")
    check_network(ticket, config, "c")
    if not config.exact and not proof.compiler():
        raise MissingPackageError(
            f"`arithmetic=fixed` needs a C compiler ({', '.join(proof.COMPILERS)}), to measure what is lost; use "
            "`arithmetic=float`"
        )
    return output.with_suffix(".h")


def check_network(ticket: Ticket, config: CExportConfig, format_name: str) -> None:
    """Check, before any long work, whether a ticket's network may become C code with these settings.

    Raises UsageError for an unknown layout or arithmetic, UnreachableError if the weights cannot be regenerated so.
    `format_name` is what messages call the format.
    """
    if config.layout not in LAYOUTS:
        raise UsageError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {config.layout!r}")
    if config.arithmetic not in ARITHMETICS:
        raise UsageError(f"`arithmetic` must be one of {', '.join(ARITHMETICS)}, got {config.arithmetic!r}")
    if config.exact and config.max_accuracy_drop is not None:
        raise UsageError("`max_accuracy_drop` has no meaning for `arithmetic=float`, which loses nothing")
    wrong = [layer.name for layer in ticket.layers if len(layer.coats) > 1]
    if wrong:
        raise UnreachableError(
            f"`format={format_name}` regenerates weights of one scale, those of {wrong[0]} have several coats; use "
            "`format=onnx` with `weights=dense`"
        )
    kind = stored_type(ticket, format_name)
    for wish, other in (("layout=signs", "layout=gap"), ("arithmetic=fixed", "arithmetic=float")):
        if kind and wish in (f"layout={config.layout}", f"arithmetic={config.arithmetic}"):
            raise UnreachableError(
                f"`{wish}` needs weights of one magnitude, those of this ticket are trained and stored; use `{other}`"
            )
    if config.layout == "signs" and ticket.initialiser != "signed-constant":
        raise UnreachableError(
            f"`layout=signs` needs weights of one magnitude, those of this ticket are {ticket.initialiser}; use "
            "`layout=gap`"
        )
    if not config.exact and ticket.initialiser != "signed-constant":
        raise UnreachableError(
            f"`arithmetic=fixed` needs weights of one magnitude, those of this ticket are {ticket.initialiser}; use "
            "`arithmetic=float`"
        )
    inputs = ticket.provenance.inputs
    if len(inputs) != 1 or inputs[0].dtype != "float32":
        described = ", ".join(f"{one.dtype} {one.shape}" for one in inputs)
        raise UnreachableError(
            f"`format={format_name}` is for networks with one input of float32, this one takes {described}"
        )


@dataclass(frozen=True)
class Examples:
    """What a network is measured on, and how.

    Attributes:
        test: examples on which all predictions are compared with torch's.
        calibration: examples that the network was trained on, which set the ranges of 8-bit values.
        task: what predictions are judged by.
        counter: what is told how far the comparison is.
    """

    test: Split | None = None
    calibration: IndexedSplit | None = None
    task: Task = CLASSIFY
    counter: Counter = SILENT.counter


NO_EXAMPLES = Examples()


@dataclass(frozen=True)
class Made:
    """A network as C that has not been written yet.

    Attributes:
        content: what the text is made of.
        code: the text.
        max_abs_difference, agreement, calibration_images, left: as in `CExportResult`.
    """

    content: text.Content
    code: text.Code
    max_abs_difference: float | None
    agreement: Agreement | None
    calibration_images: int
    left: Left


def export(
    module: nn.Module,
    ticket: Ticket,
    path: Path,
    config: CExportConfig = CExportConfig(),
    *,
    test: Split | None = None,
    calibration: IndexedSplit | None = None,
    task: Task = CLASSIFY,
    counter: Counter = SILENT.counter,
) -> CExportResult:
    """Write the module restored from a ticket as a C file, and its header beside it.

    The header says how to call it. A network for images takes pixels, uint8 (size, size, channels), others float32
    numbers; the outputs are float32. Where there is a C compiler, the outputs for the self-test are compared with
    torch's, and on `test` all predictions.

    `calibration`, examples that the network was trained on, sets the ranges of 8-bit values; "fixed" needs it and
    `test`.

    Raises what `check` raises, UsageError if images are missing, UnreachableError for a layer that has no form in C,
    OutputError if a file cannot be written, and VerificationError if the code does not compile, does not compute what
    torch does, or loses more than `max_accuracy_drop`.
    """
    header = check(ticket, path, config)
    for file in (path, header):
        check_writable(file)
    found = proof.compiler()
    examples = Examples(test, calibration, task, counter)
    made = make(module, ticket, path.stem, config, proof.compiled if found else None, examples)
    file, code = (path, made.code) if config.replace else _free(path, made.content, made.code)
    write_atomically(file.with_suffix(header.suffix), code.header.encode())
    write_atomically(file, code.source.encode())
    return CExportResult(
        file=file,
        header=file.with_suffix(header.suffix),
        bytes=len(code.source.encode()),
        table_bytes=code.table_bytes,
        arena_bytes=code.arena_bytes,
        bound_bytes=code.bound_bytes,
        max_abs_difference=made.max_abs_difference,
        agreement=made.agreement,
        compiler=found,
        calibration_images=made.calibration_images,
        left=made.left,
    )


def make(
    module: nn.Module, ticket: Ticket, name: str, config: CExportConfig, build: proof.Build | None, examples: Examples
) -> Made:
    """Return the module restored from a ticket as the text of a C file that will be called `name`.

    `build` makes of the text what can be run; with it, the code is run and compared with torch. Raises what `export`
    raises of the network and of the code.
    """
    if not (config.exact or (examples.test and examples.calibration)):
        raise needs_data("`arithmetic=fixed`", ticket)
    module = module.cpu().eval()
    record = NetworkRecord.of(ticket, PIXELS)
    left, network = _left(module, ticket, record, config)
    weights, grids = Weights(ticket, left.kept), None
    if not config.exact:
        assert examples.calibration
        network = prepared(network) if not isinstance(network.steps[0], Prepare) else network
        grids = fixed.grids(network, _unscaled(left.module, network), _batches(examples.calibration, record))
    inputs = text.probes(ticket, record)
    expected = _torch_outputs(module, record, inputs)
    content = text.Content(network, weights, record, config.layout, config.main, name, expected, grids)
    code = text.write(content)
    worst = agreement = None
    if build:
        kind = "uint8_t" if record.preprocessing else "float"
        with proof.work_folder() as folder:
            program = build(code, name, kind, network.outputs, Path(folder))
            outputs = program.run(inputs)
            worst = float(np.abs(outputs - expected).max(initial=0.0))
            if not config.exact:  # its own outputs are what it has to compute elsewhere
                content = replace(content, expected=outputs)
                code = text.write(content)
                program = build(code, name, kind, network.outputs, Path(folder))
            elif not worst <= text.TOLERANCE * (largest := max(1.0, float(np.abs(expected).max(initial=0.0)))):
                raise VerificationError(
                    f"the C code differs from torch by {worst:.2g} on outputs up to {largest:.2g}: nothing was written"
                )
            program.selftest()
            if examples.test:
                agreement = _compare(module, program, record, examples)
                if config.exact:
                    agreement.check_exact("the C code")
                else:
                    agreement.check_drop(config.max_accuracy_drop, "`arithmetic=fixed`", "`arithmetic=float`")
    calibrated = len(examples.calibration) if examples.calibration and grids else 0
    return Made(content, code, worst, agreement, calibrated, left)


def _free(path: Path, content: text.Content, code: text.Code) -> tuple[Path, text.Code]:
    """Return `path` if neither it nor its header holds anything else, otherwise the first such name with a number, and
    the code under that name.
    """
    for file in numbered(path):
        code = code if file == path else text.write(replace(content, name=file.stem))
        header = file.with_suffix(".h")
        if is_free(file, code.source.encode()) and is_free(header, code.header.encode()):
            break
    return file, code


def _left(module: nn.Module, ticket: Ticket, record: NetworkRecord, config: CExportConfig) -> tuple[Left, Network]:
    """Return what the code has of a network, and its steps: without dead neurons if C code has a form for that."""
    left = whole(module, ticket) if config.keep_structure else left_of(module, ticket)
    if left.removed_neurons:
        with contextlib.suppress(UnreachableError):
            return left, _network(left, ticket, record)
        left = whole(module, ticket)
    return left, _network(left, ticket, record)


def _network(left: Left, ticket: Ticket, record: NetworkRecord) -> Network:
    """Return the steps of a network; its pixels are normalised as they are read if only layers read them."""
    traced = trace(left.module, record, _OPSET, left.generated)
    network = graph.read(traced, Weights(ticket, left.kept).units)
    source = network.source
    readers = [step for step in network.steps if source in map(network.root, step.inputs)]
    direct = all(isinstance(step, Layer) and source not in map(network.root, step.inputs[1:]) for step in readers)
    return network if direct or not record.preprocessing else prepared(network)


def _unscaled(module: nn.Module, network: Network) -> dict[str, torch.Tensor]:
    """Return the generated values of each gated tensor where they are kept: ±1, and 0 elsewhere."""
    return {layer.weight: module.get_parameter(layer.weight).detach().sign() for layer in network.layers}


def _batches(calibration: IndexedSplit, record: NetworkRecord) -> Iterator[torch.Tensor]:
    """Yield the examples as the network takes them."""
    feed: Feed = record.preprocessing or as_given
    for inputs, _ in calibration.batches(_CALIBRATION_BATCH):
        yield feed(inputs)


@torch.no_grad()
def _torch_outputs(module: nn.Module, record: NetworkRecord, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return what torch computes for the inputs of the self-test, float32 (n, outputs)."""
    given = torch.from_numpy(inputs)
    if record.preprocessing:
        given = record.preprocessing(given.permute(0, 3, 1, 2))
    outputs: npt.NDArray[np.float32] = module(given).reshape(len(inputs), -1).numpy()
    return outputs


def _compare(module: nn.Module, program: proof.Program, record: NetworkRecord, examples: Examples) -> Agreement:
    """Measure a test split with torch and with the compiled code."""
    pixels, task, test = record.preprocessing, examples.task, examples.test
    assert test
    feed: Feed = pixels or as_given
    shape = record.outputs[0].shape
    with examples.counter("running the test split with torch") as report:
        expected = evaluate(torch_classifier(module, torch.device("cpu")), test, feed, report, task=task)
    with examples.counter("running the test split with the C code") as report:
        found = evaluate(
            lambda inputs: program(inputs).reshape(-1, *shape),
            test,
            as_pixels if pixels else as_given,
            report,
            task=task,
        )
    return Agreement.of(expected, found)
