"""Write a ticket's network as one HTML page, once it is shown that it computes what the network does.

The network becomes C as in `c_export`. Where Node.js is installed, the WebAssembly module that is compiled of it is run
and compared with torch; else the same C is, compiled for this machine, if there is a C compiler. In every browser, the
page itself compares two outputs before it answers.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from slt_compress.c_export import export as c_export
from slt_compress.c_export import proof
from slt_compress.c_export.export import NO_EXAMPLES, CExportConfig, Examples
from slt_compress.errors import MissingPackageError
from slt_compress.files import check_writable, unused, write_atomically
from slt_compress.html_export import page, wasm
from slt_compress.onnx_export.left import Left
from slt_compress.onnx_export.parity import Agreement
from slt_compress.ticket.record import PIXELS, NetworkRecord
from slt_compress.ticket.ticket import Ticket

_NAME = "network"  # of the C file that nobody sees


@dataclass(frozen=True)
class HtmlExportConfig:
    """What kind of page to write.

    Attributes:
        layout, arithmetic, keep_structure, max_accuracy_drop: of the code, as in `CExportConfig`.
        title: of the page; None stands for the names of the network and its data.
        replace: as in `ExportConfig`.
    """

    layout: str = "rice"
    arithmetic: str = "float"
    keep_structure: bool = False
    max_accuracy_drop: float | None = None
    title: str | None = None
    replace: bool = True

    @property
    def exact(self) -> bool:
        """Whether all predictions must be those of torch."""
        return self.code.exact

    @property
    def code(self) -> CExportConfig:
        """What kind of C code the page contains."""
        return CExportConfig(
            self.layout,
            arithmetic=self.arithmetic,
            keep_structure=self.keep_structure,
            max_accuracy_drop=self.max_accuracy_drop,
        )


@dataclass(frozen=True)
class HtmlExportResult:
    """What was written, and how it compares.

    Attributes:
        file: what was written.
        bytes: its size.
        module_bytes: size of the WebAssembly module in it, which the page holds compressed.
        compiler: that the module was compiled with.
        proven_with: path of what the code was run with: Node.js, or a C compiler; None if there is neither.
        module_run: whether it was the module itself that was run, by Node.js, and not the same C code.
        max_abs_difference: largest difference of an output from torch's on the inputs of the self-test; None if nothing
            was run.
        agreement: what torch and the code make of a test split, None where there was none, or nothing was run.
        calibration_images: how many examples the ranges of values come from.
        left: what the code has of the network.
    """

    file: Path
    bytes: int
    module_bytes: int
    compiler: str
    proven_with: str | None
    module_run: bool
    max_abs_difference: float | None
    agreement: Agreement | None
    calibration_images: int
    left: Left


def check(ticket: Ticket, config: HtmlExportConfig) -> None:
    """Check, before any long work, whether a ticket may become a page with these settings.

    Raises UsageError for settings out of range, UnreachableError for a network that does not tell the class of a grey
    or colour image or whose weights cannot be regenerated so, and MissingPackageError without a compiler.
    """
    c_export.check_network(ticket, config.code, "html")
    page.check(NetworkRecord.of(ticket), config.title, "html")
    wasm.toolchain()
    if not (config.exact or wasm.node() or proof.compiler()):
        raise MissingPackageError(
            f"`arithmetic=fixed` needs Node.js or a C compiler ({', '.join(proof.COMPILERS)}), to measure what is "
            "lost; use `arithmetic=float`"
        )


def export(
    module: nn.Module,
    ticket: Ticket,
    path: Path,
    config: HtmlExportConfig = HtmlExportConfig(),
    examples: Examples = NO_EXAMPLES,
) -> HtmlExportResult:
    """Write the module restored from a ticket as an HTML page.

    `examples` are what it is compared with torch on, as in `c_export`.

    Raises what `check` raises, UsageError if images are missing, UnreachableError for a layer that has no form in C,
    OutputError if the file cannot be written, and VerificationError if the code does not compile, does not compute what
    torch does, or loses more than `max_accuracy_drop`.
    """
    check(ticket, config)
    check_writable(path)
    node, compiler = wasm.node(), proof.compiler()
    build = wasm.runnable if node else proof.compiled if compiler else None
    made = c_export.make(module, ticket, _NAME, config.code, build, examples)
    with proof.work_folder() as folder:
        compiled = wasm.module(made.code, _NAME, made.content.network.outputs, Path(folder))
    record = NetworkRecord.of(ticket, PIXELS)
    if not record.classes:
        record = replace(record, classes=[str(index) for index in range(made.content.network.outputs)])
    title = config.title or page.default_title(record)
    content = page.write(compiled, record, title, page.about(ticket)).encode()
    file = path if config.replace else unused(path, content)
    write_atomically(file, content)
    return HtmlExportResult(
        file=file,
        bytes=len(content),
        module_bytes=len(compiled),
        compiler=wasm.toolchain().name,
        proven_with=node or compiler,
        module_run=node is not None,
        max_abs_difference=made.max_abs_difference,
        agreement=made.agreement,
        calibration_images=made.calibration_images,
        left=made.left,
    )
