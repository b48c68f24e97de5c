"""Write a ticket's network as an ONNX file, once it is shown that the file computes what the network does.

The network is traced once. A form from `forms` builds the graph, with the weights stored as `weights` asks. onnxruntime
then runs the graph, and `parity` compares it with torch and with its plain form. The file is written last, so a graph
that fails a check leaves nothing behind.

Left out: reading data. The caller passes it; without it, only a few random inputs are compared.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from torch import nn

from slt_compress.data.batches import Feed, as_given
from slt_compress.data.preprocessing import as_pixels
from slt_compress.data.splits import IndexedSplit, Split
from slt_compress.errors import UsageError
from slt_compress.evaluation.onnxruntime_backend import METADATA_KEY
from slt_compress.files import check_writable, unused, write_atomically
from slt_compress.onnx_export import parity
from slt_compress.onnx_export.forms import FORMS, PORTABLE, Built, Form, Source
from slt_compress.onnx_export.left import Left, left_of, whole
from slt_compress.onnx_export.trace import prepend_preprocessing, trace
from slt_compress.progress import SILENT, Counter
from slt_compress.tasks.task import CLASSIFY, Task
from slt_compress.ticket.probes import Probes
from slt_compress.ticket.record import NORMALISED, PIXELS, NetworkRecord
from slt_compress.ticket.ticket import Ticket

MULTIPLE = 8  # of channels: onnxruntime's convolutions work on blocks of so many


@dataclass(frozen=True)
class ExportConfig:
    """What kind of file to write.

    Attributes:
        weights: how the weights are stored, a key of `forms.FORMS`.
        opset: ONNX operator set, None for the form's default.
        include_preprocessing: whether the graph takes pixels and normalises them itself.
        portable: whether a compact file is written for more runtimes than onnxruntime: without functions, from
            operators that others compute right.
        keep_structure: whether dead neurons stay in the graph, see `structure.removal`.
        max_accuracy_drop: how much of the accuracy a form that is not exact may lose, as a fraction; None stands for
            `parity.MAX_ACCURACY_DROP`.
        replace: whether another file of the same name is replaced; else the file gets the first free name with a
            number, such as ticket-2.onnx.
    """

    weights: str = "compact"
    opset: int | None = None
    include_preprocessing: bool = False
    portable: bool = False
    keep_structure: bool = False
    max_accuracy_drop: float | None = None
    replace: bool = True

    @property
    def exact(self) -> bool:
        """Whether all predictions must be those of torch."""
        return FORMS[self.weights].exact


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how it compares.

    Attributes:
        file: where it lies.
        bytes: its size.
        opset: ONNX operator set.
        max_abs_difference: largest difference of an output from torch's, on a few examples.
        bit_identical_to_dense: whether these outputs equal those of the dense graph bit for bit.
        bit_identical_to_plain: whether they equal those of the same graph with its weights as constants. Always true:
            no other file is written.
        agreement: what torch and onnxruntime make of a test split, None where there was none.
        calibration_images: how many examples the ranges of activations come from.
        left: what the graph has of the network.
    """

    file: Path
    bytes: int
    opset: int
    max_abs_difference: float
    bit_identical_to_dense: bool
    bit_identical_to_plain: bool
    agreement: parity.Agreement | None
    calibration_images: int
    left: Left


def check(ticket: Ticket, config: ExportConfig) -> int:
    """Return the opset of an export, before any long work.

    Raises UsageError for an unknown form, an opset out of range, preprocessing where there is none, or a limit of what
    a form may lose that loses nothing; UnreachableError if the ticket's weights cannot have this form.
    """
    if config.weights not in FORMS:
        raise UsageError(f"`weights` must be one of {', '.join(FORMS)}, got {config.weights!r}")
    if config.portable and config.weights not in PORTABLE:
        raise UsageError(
            f"`portable` is for `weights={'` or `weights='.join(PORTABLE)}`, got {config.weights!r}; files of "
            "`weights=ternary8` or `weights=dense` are for other runtimes as they are"
        )
    form = _form(config)
    if config.include_preprocessing and ticket.provenance.preprocessing is None:
        raise UsageError("`include_preprocessing` is for networks for images of a named data set")
    if form.exact and config.max_accuracy_drop is not None:
        raise UsageError(f"`max_accuracy_drop` has no meaning for `weights={form.name}`, which loses nothing")
    form.check(ticket)
    return form.opset(config.opset)


def export(
    module: nn.Module,
    ticket: Ticket,
    path: Path,
    config: ExportConfig = ExportConfig(),
    *,
    test: Split | None = None,
    calibration: IndexedSplit | None = None,
    task: Task = CLASSIFY,
    counter: Counter = SILENT.counter,
) -> ExportResult:
    """Write the module restored from a ticket.

    The graph's input is `images`: float32 (batch, channels, size, size), normalised, or with preprocessing included
    uint8 (batch, size, size, channels), as cameras and image libraries have it. Its output is `logits`: float32 (batch,
    classes). For the names of a user's own network see `trace`. The ticket's `NetworkRecord` is stored in the file as
    JSON, with `Probes`, unless the network's outputs on those are not finite.

    On `test`, examples that the network was not trained on, predictions and metric are compared with torch's.
    `calibration`, examples that it was trained on, sets the ranges of 8-bit activations. Forms that are not exact need
    both.

    Raises what `check` raises, UsageError if images are missing, OutputError if `path` cannot be written, and
    VerificationError if the graph does not compute what torch does or loses more than `max_accuracy_drop`.
    """
    opset, form = check(ticket, config), _form(config)
    if not (form.exact or (test and calibration)):
        raise parity.needs_data(f"`weights={form.name}`", ticket)
    check_writable(path)
    module = module.cpu().eval()
    preprocessing = ticket.provenance.preprocessing
    module_feed: Feed = preprocessing or as_given
    feed = as_pixels if config.include_preprocessing else module_feed
    record = NetworkRecord.of(ticket, PIXELS if config.include_preprocessing else NORMALISED)
    left = whole(module, ticket) if config.keep_structure else left_of(module, ticket, MULTIPLE)
    traced = trace(left.module, record, opset, left.generated)
    if config.include_preprocessing and preprocessing:
        prepend_preprocessing(traced, preprocessing)
    if preprocessing:
        probes = parity.image_probes(preprocessing)
    else:
        probes = parity.real_probes(test) if test else parity.random_probes(record.inputs)
    recorded = parity.recorded_probes(module, module_feed, record)
    source = Source(ticket, left.module, traced, feed, calibration, left.generated, left.kept)
    built = form.build(source)
    reference = parity.TorchReference(module, module_feed, feed, [*probes, *recorded], task)
    found, worst, as_dense = _compare_outputs(built, source.dense, reference, exact=form.exact)
    _store(built.model, record, parity.probes_of(found, reference, len(recorded), exact=form.exact))
    content = built.model.SerializeToString()
    agreement = None
    if test:
        agreement = parity.compare(content, reference, test, counter)
        if form.exact:
            agreement.check_exact("onnxruntime")
        else:
            agreement.check_drop(config.max_accuracy_drop, f"`weights={form.name}`", "`weights=compact`")
    file = path if config.replace else unused(path, content)
    write_atomically(file, content)
    return ExportResult(
        file=file,
        bytes=len(content),
        opset=opset,
        max_abs_difference=worst,
        bit_identical_to_dense=as_dense,
        bit_identical_to_plain=True,
        agreement=agreement,
        calibration_images=built.calibration_images,
        left=left,
    )


def _form(config: ExportConfig) -> Form:
    return PORTABLE[config.weights] if config.portable else FORMS[config.weights]


def _store(model: onnx.ModelProto, record: NetworkRecord, probes: Probes | None) -> None:
    fields = record.to_json() | ({} if probes is None else {"probes": probes.to_json()})
    entry = model.metadata_props.add()
    entry.key = METADATA_KEY
    entry.value = json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _compare_outputs(
    built: Built, dense: onnx.ModelProto, reference: parity.TorchReference, *, exact: bool
) -> tuple[parity.ProbeRun, float, bool]:
    """Check a graph on the probes. Return what it gives, the largest difference from torch, and whether it equals the
    dense graph.

    Raises VerificationError if it does not equal its plain form or, where it should be exact, differs from torch.
    """
    content = built.model.SerializeToString()
    parity.check_file(content)
    found = parity.run_probes(content, reference)
    parity.check_same(found, parity.run_probes(built.plain.SerializeToString(), reference))
    worst = parity.difference(found, reference, tolerance=parity.TOLERANCE if exact else np.inf)
    as_dense = built.plain is dense or found.equals(parity.run_probes(dense.SerializeToString(), reference))
    return found, worst, as_dense
