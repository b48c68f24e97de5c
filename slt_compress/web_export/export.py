"""Write a ticket's network as a folder to serve, once it is shown that it computes what the network does.

The network becomes an ONNX graph that takes pixels, proven as every export is. Where Node.js is installed, the files of
onnxruntime-web that go into the folder run that graph too, and are compared with torch. In every browser, the page
itself compares two outputs before it answers. The folder appears last, and all at once.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch
from torch import nn

from slt_compress.c_export import proof
from slt_compress.c_export.export import NO_EXAMPLES, Examples
from slt_compress.data.batches import join, length
from slt_compress.data.preprocessing import Preprocessing, as_pixels
from slt_compress.data.splits import Split, TensorSplit
from slt_compress.errors import VerificationError
from slt_compress.evaluation.accuracy import BATCH_SIZE, evaluate, torch_classifier
from slt_compress.evaluation.onnxruntime_backend import METADATA_KEY
from slt_compress.html_export import page as parts
from slt_compress.html_export import wasm
from slt_compress.onnx_export import export as onnx_export
from slt_compress.onnx_export.export import ExportConfig, ExportResult
from slt_compress.onnx_export.parity import TOLERANCE, Agreement, image_probes
from slt_compress.ticket.probes import Probes
from slt_compress.ticket.record import PIXELS, NetworkRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.web_export import folder, node, page, runtime

NAMES = frozenset((folder.PAGE, page.MODEL, runtime.SCRIPT, runtime.BINARY))  # of all files that a folder has
_MOST = 500  # test images that Node.js runs, one by one on one thread


@dataclass(frozen=True)
class WebExportConfig:
    """What kind of folder to write.

    Attributes:
        weights, opset, portable, keep_structure, max_accuracy_drop: of the graph, as in `ExportConfig`.
        title: of the page; None stands for the names of the network and its data.
        runtime: folder `dist` of the package onnxruntime-web; None stands for the one that npm makes in the current
            folder.
        replace: whether an earlier export of the same name is replaced; else the folder gets the first free name with a
            number, such as ticket-2.web.
    """

    weights: str = "compact"
    opset: int | None = None
    portable: bool = False
    keep_structure: bool = False
    max_accuracy_drop: float | None = None
    title: str | None = None
    runtime: str | Path | None = None
    replace: bool = True

    @property
    def exact(self) -> bool:
        """Whether all predictions must be those of torch."""
        return self.graph.exact

    @property
    def graph(self) -> ExportConfig:
        """What kind of graph the folder contains."""
        return ExportConfig(self.weights, self.opset, True, self.portable, self.keep_structure, self.max_accuracy_drop)


@dataclass(frozen=True)
class WebRun:
    """What onnxruntime-web makes of a graph under Node.js.

    Attributes:
        node: path of Node.js.
        session_milliseconds: that making a session takes, without the start of the runtime.
        heap_bytes: size of the runtime's memory after that.
        max_abs_difference: largest difference of an output from torch's on random images.
        agreement: what torch and onnxruntime-web make of at most 500 test images, None where there are none.
    """

    node: str
    session_milliseconds: float
    heap_bytes: int
    max_abs_difference: float
    agreement: Agreement | None


@dataclass(frozen=True)
class WebExportResult:
    """What was written, and how it compares.

    Attributes:
        file: the folder.
        files: sizes of its files in bytes, by their names.
        gzip_bytes: what they take together, each compressed by gzip, as a server may send them.
        runtime_version: of onnxruntime-web.
        graph: what is known of the graph in it; its `file` is gone.
        run: what onnxruntime-web makes of it, None without Node.js.
    """

    file: Path
    files: Mapping[str, int]
    gzip_bytes: int
    runtime_version: str
    graph: ExportResult
    run: WebRun | None

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(self.files.values())

    @property
    def max_abs_difference(self) -> float:
        """Largest difference of an output from torch's, under onnxruntime and onnxruntime-web."""
        return max(self.graph.max_abs_difference, self.run.max_abs_difference if self.run else 0.0)

    @property
    def agreement(self) -> Agreement | None:
        """What torch and onnxruntime make of a test split, None where there was none."""
        return self.graph.agreement


def check(ticket: Ticket, path: Path, config: WebExportConfig) -> None:
    """Check, before any long work, whether a ticket may become a folder with these settings.

    Raises UsageError for settings out of range, UnreachableError for a network that does not tell the class of a grey
    or colour image or whose weights cannot have this form, MissingPackageError without onnxruntime-web, and OutputError
    if the folder cannot be written.
    """
    parts.check(NetworkRecord.of(ticket), config.title, "web")
    onnx_export.check(ticket, config.graph)
    runtime.find(config.runtime)
    folder.check(path if config.replace else folder.unused(path, {}), NAMES)


def export(
    module: nn.Module,
    ticket: Ticket,
    path: Path,
    config: WebExportConfig = WebExportConfig(),
    examples: Examples = NO_EXAMPLES,
) -> WebExportResult:
    """Write the module restored from a ticket as a folder.

    `examples` are what the graph is compared with torch on, and calibrated, as in `onnx_export`.

    Raises what `check` and `onnx_export.export` raise, UsageError if the files of `runtime` are others or too old, and
    VerificationError if onnxruntime-web does not compute what torch does or loses more than `max_accuracy_drop`.
    """
    check(ticket, path, config)
    used = runtime.read(config.runtime)
    with proof.work_folder() as work:
        model = Path(work, page.MODEL)
        graph = onnx_export.export(
            module,
            ticket,
            model,
            config.graph,
            test=examples.test,
            calibration=examples.calibration,
            task=examples.task,
            counter=examples.counter,
        )
        record, probes = NetworkRecord.of(ticket, PIXELS), _probes(model)
        pixels = record.preprocessing
        assert pixels
        random, expected = _expected(module, pixels)
        if not record.classes:
            record = replace(record, classes=[str(index) for index in range(expected.shape[1])])
        title = config.title or parts.default_title(record)
        foot = f"{parts.about(ticket)} It runs in onnxruntime-web {used.version}."
        contents = {
            folder.PAGE: page.write(record, probes, title, foot).encode(),
            page.MODEL: model.read_bytes(),
            **used.files,
        }
        found = wasm.node()
        run = None
        if found:
            with node.session(found, used, model, random[0].numel(), expected.shape[1]) as session:
                worst = _difference(session(as_pixels(random)), expected, config.exact, used.version)
                agreement = _compare(module, session, pixels, config, examples)
                run = WebRun(found, session.milliseconds, session.heap_bytes, worst, agreement)
    place = path if config.replace else folder.unused(path, contents)
    folder.write(place, contents, NAMES)
    return WebExportResult(
        file=place,
        files={name: len(content) for name, content in contents.items()},
        gzip_bytes=sum(len(gzip.compress(content, 6)) for content in contents.values()),
        runtime_version=used.version,
        graph=graph,
        run=run,
    )


def _probes(model: Path) -> Probes | None:
    """Return the probes that a graph records."""
    entries = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    fields = json.loads(entries[METADATA_KEY])
    return Probes.from_json(fields["probes"]) if "probes" in fields else None


@torch.no_grad()
def _expected(module: nn.Module, preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random images, uint8 (n, channels, size, size), and what torch makes of them, float32 (n, classes)."""
    images = torch.cat(image_probes(preprocessing))
    return images, module(preprocessing(images))


def _difference(found: torch.Tensor, expected: torch.Tensor, exact: bool, version: str) -> float:
    """Return the largest difference of two tensors. Raises VerificationError if it is too large for an exact form."""
    worst, largest = float((found - expected).abs().max()), float(expected.abs().max())
    if exact and not worst <= TOLERANCE * max(1.0, largest):
        raise VerificationError(
            f"onnxruntime-web {version} differs from torch by {worst:.2g} on outputs up to {largest:.2g}: nothing was "
            "written"
        )
    return worst


def _compare(
    module: nn.Module, session: node.Session, preprocessing: Preprocessing, config: WebExportConfig, examples: Examples
) -> Agreement | None:
    """Measure the first test images with torch and with onnxruntime-web."""
    if not examples.test:
        return None
    test, task, counter = _first(examples.test, _MOST), examples.task, examples.counter
    classifier = torch_classifier(module, torch.device("cpu"))
    expected = evaluate(classifier, test, preprocessing, task=task)
    with counter("running test images with onnxruntime-web") as report:
        found = evaluate(session, test, as_pixels, report, task=task)
    agreement = Agreement.of(expected, found)
    if config.exact:
        agreement.check_exact(f"onnxruntime-web {session.version}")
    else:
        agreement.check_drop(config.max_accuracy_drop, f"`weights={config.weights}`", "`weights=compact`")
    return agreement


def _first(split: Split, count: int) -> TensorSplit:
    """Return the first examples of a split."""
    inputs, targets, found = [], [], 0
    for images, truth in split.batches(BATCH_SIZE):
        inputs.append(images)
        targets.append(truth)
        found += length(truth)
        if found >= count:
            break
    return TensorSplit(join(inputs), join(targets)).take(torch.arange(min(found, count)))
