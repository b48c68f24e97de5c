"""Strong lottery tickets: a seed plus at most one mask bit per weight.

>>> import slt_compress
>>> result = slt_compress.search("lenet-300-100", "digits", sparsity=0.95)
>>> result.ticket.save("ticket.safetensors")
>>> slt_compress.evaluate("ticket.safetensors").accuracy
>>> slt_compress.export("ticket.safetensors", "ticket.onnx")
>>> module = slt_compress.Ticket.load("ticket.safetensors").restore()
"""

from slt_compress.errors import SltError
from slt_compress.version import __version__

TYPE_CHECKING = False  # as in typing, which the command line imports only when it takes care of interrupts
if TYPE_CHECKING:
    from slt_compress.api import assess, bench, evaluate, export, search
    from slt_compress.assessment.config import AssessConfig
    from slt_compress.assessment.fleet import Fleet
    from slt_compress.assessment.results import Assessment
    from slt_compress.benchmark.config import BenchConfig
    from slt_compress.benchmark.results import BenchResult
    from slt_compress.c_export.export import CExportConfig, CExportResult
    from slt_compress.comparison.front import compare
    from slt_compress.comparison.frontier import FrontierResult
    from slt_compress.comparison.results import ComparisonResult
    from slt_compress.config import SearchConfig
    from slt_compress.diagnosis.diagnose import doctor
    from slt_compress.diagnosis.report import Diagnosis
    from slt_compress.evaluation.accuracy import Evaluation
    from slt_compress.html_export.export import HtmlExportConfig, HtmlExportResult
    from slt_compress.monitoring.run import MonitorResult, monitor
    from slt_compress.onnx_export.export import ExportConfig, ExportResult
    from slt_compress.pipeline.find import SearchResult, UnmeasuredError, UnmeasuredInterrupt
    from slt_compress.prediction.log import Prediction
    from slt_compress.prediction.predict import predict
    from slt_compress.prng import Freeze
    from slt_compress.progress import TrainingProgress
    from slt_compress.pruning.config import FindConfig, PruneConfig, TrainConfig
    from slt_compress.pruning.front import find_ticket, prune, train
    from slt_compress.pruning.results import FindResult, FoundTicket, TrainedResult
    from slt_compress.ticket.ticket import Ticket
    from slt_compress.web_export.export import WebExportConfig, WebExportResult

__all__ = [
    "AssessConfig",
    "Assessment",
    "BenchConfig",
    "BenchResult",
    "CExportConfig",
    "CExportResult",
    "ComparisonResult",
    "Diagnosis",
    "Evaluation",
    "ExportConfig",
    "ExportResult",
    "FindConfig",
    "FindResult",
    "Fleet",
    "FoundTicket",
    "Freeze",
    "FrontierResult",
    "HtmlExportConfig",
    "HtmlExportResult",
    "MonitorResult",
    "Prediction",
    "PruneConfig",
    "SearchConfig",
    "SearchResult",
    "SltError",
    "Ticket",
    "TrainConfig",
    "TrainedResult",
    "TrainingProgress",
    "UnmeasuredError",
    "UnmeasuredInterrupt",
    "WebExportConfig",
    "WebExportResult",
    "__version__",
    "assess",
    "bench",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "find_ticket",
    "monitor",
    "predict",
    "prune",
    "search",
    "train",
]

# Name -> module that it lies in. `slt-compress --help` imports this package, so torch, numpy and safetensors wait until
# one of these is used.
_LAZY = {
    "AssessConfig": "slt_compress.assessment.config",
    "Assessment": "slt_compress.assessment.results",
    "BenchConfig": "slt_compress.benchmark.config",
    "BenchResult": "slt_compress.benchmark.results",
    "CExportConfig": "slt_compress.c_export.export",
    "CExportResult": "slt_compress.c_export.export",
    "ComparisonResult": "slt_compress.comparison.results",
    "Diagnosis": "slt_compress.diagnosis.report",
    "Evaluation": "slt_compress.evaluation.accuracy",
    "ExportConfig": "slt_compress.onnx_export.export",
    "ExportResult": "slt_compress.onnx_export.export",
    "FindConfig": "slt_compress.pruning.config",
    "FindResult": "slt_compress.pruning.results",
    "Fleet": "slt_compress.assessment.fleet",
    "FrontierResult": "slt_compress.comparison.frontier",
    "FoundTicket": "slt_compress.pruning.results",
    "Freeze": "slt_compress.prng",
    "HtmlExportConfig": "slt_compress.html_export.export",
    "HtmlExportResult": "slt_compress.html_export.export",
    "MonitorResult": "slt_compress.monitoring.run",
    "Prediction": "slt_compress.prediction.log",
    "PruneConfig": "slt_compress.pruning.config",
    "SearchConfig": "slt_compress.config",
    "SearchResult": "slt_compress.pipeline.find",
    "Ticket": "slt_compress.ticket.ticket",
    "TrainConfig": "slt_compress.pruning.config",
    "TrainedResult": "slt_compress.pruning.results",
    "TrainingProgress": "slt_compress.progress",
    "UnmeasuredError": "slt_compress.pipeline.find",
    "UnmeasuredInterrupt": "slt_compress.pipeline.find",
    "WebExportConfig": "slt_compress.web_export.export",
    "WebExportResult": "slt_compress.web_export.export",
    "assess": "slt_compress.api",
    "bench": "slt_compress.api",
    "compare": "slt_compress.comparison.front",
    "doctor": "slt_compress.diagnosis.diagnose",
    "evaluate": "slt_compress.api",
    "export": "slt_compress.api",
    "find_ticket": "slt_compress.pruning.front",
    "monitor": "slt_compress.monitoring.run",
    "predict": "slt_compress.prediction.predict",
    "prune": "slt_compress.pruning.front",
    "search": "slt_compress.api",
    "train": "slt_compress.pruning.front",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
