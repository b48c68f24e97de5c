"""The cut of the package: who may import what, and what must stay off the start-up path."""

import ast
import subprocess
import sys

import pytest

import slt_compress
from tests.support.import_graph import PACKAGE, Import, circles, edges, folder_of, imports, modules, reachable

ROOT = PACKAGE.parent
MODULES = modules()
SUBPACKAGES = {folder_of(name) for name in MODULES if "." in name}

LAYERS = {  # folder or module at the top -> what of the package it may import, besides itself
    "__init__": {"errors", "version"},
    "__main__": {"cli"},
    "errors": set(),
    "version": set(),
    "progress": set(),
    "prng": set(),
    "files": {"errors"},
    "hub": {"errors", "version"},
    "machine": set(),
    "plotting": set(),
    "masking": {"errors", "prng"},
    "structure": {"errors", "masking", "models"},
    "tasks": {"errors"},
    "data": {"errors", "files", "hub", "prng", "progress", "tasks"},
    "models": {"errors", "masking", "version"},
    "ticket": {"data", "errors", "files", "hub", "masking", "models", "prng", "structure", "tasks", "version"},
    "methods": {"errors", "masking", "prng"},
    "config": {"errors", "methods", "models", "prng"},
    "training": {"config", "data", "errors", "files", "masking", "methods", "prng", "progress", "tasks"},
    "prediction": {"data", "errors", "evaluation", "files", "models", "tasks", "ticket"},
    "evaluation": {"data", "errors", "hub", "models", "progress", "tasks", "ticket", "training"},
    "monitoring": {
        *("config", "data", "errors", "evaluation", "files", "models", "plotting", "prediction", "progress"),
        "ticket",
    },
    "onnx_export": {
        *("data", "errors", "evaluation", "files", "masking", "models", "prng", "progress", "structure"),
        *("tasks", "ticket", "version"),
    },
    "c_export": {
        *("data", "errors", "evaluation", "files", "onnx_export", "prng", "progress", "tasks", "ticket"),
    },
    "html_export": {"c_export", "errors", "files", "onnx_export", "ticket"},
    "web_export": {
        *("c_export", "data", "errors", "evaluation", "files", "html_export", "onnx_export", "ticket"),
    },
    "formats": {
        *("c_export", "config", "errors", "html_export", "onnx_export", "progress", "ticket", "web_export"),
    },
    "pipeline": {
        *(
            "config",
            "data",
            "errors",
            "evaluation",
            "files",
            "hub",
            "masking",
            "methods",
            "models",
            "monitoring",
            "prng",
            "progress",
        ),
        *("structure", "tasks", "ticket", "training", "version"),
    },
    "benchmark": {"errors", "evaluation", "hub", "machine", "models", "onnx_export", "progress", "ticket", "version"},
    "pruning": {
        *("config", "data", "errors", "evaluation", "masking", "methods", "models", "pipeline", "prng", "progress"),
        *("tasks", "ticket", "training"),
    },
    "comparison": {
        *("config", "data", "errors", "evaluation", "files", "machine", "masking", "methods", "models", "pipeline"),
        *("plotting", "prng", "progress", "pruning", "tasks", "ticket", "training", "version"),
    },
    "assessment": {
        *("comparison", "config", "data", "errors", "evaluation", "machine", "masking", "methods", "models"),
        *("onnx_export", "pipeline", "prng", "progress", "structure", "tasks", "ticket", "training", "version"),
    },
    "api": {
        *("assessment", "benchmark", "c_export", "comparison", "config", "data", "errors", "evaluation"),
        *("files", "formats", "html_export", "models"),
        *("onnx_export", "web_export"),
        *("pipeline", "prediction", "progress", "tasks", "ticket", "training"),
    },
    "diagnosis": {
        *(
            "api",
            "c_export",
            "comparison",
            "data",
            "errors",
            "files",
            "hub",
            "machine",
            "models",
            "pipeline",
            "progress",
        ),
        *("ticket", "training", "version"),
    },
    "cli": {
        "api",
        "diagnosis",
        "hub",
        *(
            "assessment",
            "benchmark",
            "c_export",
            "comparison",
            "config",
            "data",
            "errors",
            "evaluation",
            "files",
            "formats",
            "html_export",
            "methods",
            "models",
            "monitoring",
        ),
        *(
            "onnx_export",
            "pipeline",
            "plotting",
            "prediction",
            "prng",
            "progress",
            "pruning",
            "tasks",
            "ticket",
            "training",
            "version",
            "web_export",
        ),
    },
}

LIBRARIES = {  # library -> the only modules that may import it
    "timm": {"models.external"},
    "torchvision": {"data.datasets", "models.external"},
    "sklearn": set(),  # data.digits reads a file of it
    "PIL": {"data.decoding", "diagnosis.features"},
    "datasets": {"data.hub", "diagnosis.features"},
    "huggingface_hub": {"diagnosis.system", "hub.client", "hub.download"},
    "onnx": {
        "benchmark.graph",
        "c_export.graph",
        "web_export.export",
        *(name for name in MODULES if name.startswith("onnx_export.")),
    },
    "onnx_ir": {name for name in MODULES if name.startswith("onnx_export.")},
    "onnxscript": {"onnx_export.trace"},
    "onnxruntime": {
        *("evaluation.onnxruntime_backend", "onnx_export.forms", "onnx_export.parity", "onnx_export.quantise"),
        *("benchmark.graph", "benchmark.run", "benchmark.worker"),
    },
    "matplotlib": {"comparison.plots", "plotting.figures"},
    "typer": {name for name in MODULES if name.startswith("cli.")},
    "rich": {"cli.console"},
    "filelock": {"comparison.cells"},
    "tensorboard": set(),  # torch's own writer imports it, in training.logs
    "safetensors": {"pipeline.weights_file", "training.checkpoint", "ticket.container"},
}

NEEDS_NO_TORCH = {
    *(
        "config",
        "errors",
        "files",
        "formats.registry",
        "prng",
        "progress",
        "version",
        "ticket.ticket",
        "ticket.record",
        "models.spec",
    ),
    *("masking.codecs", "methods.registry", "data.preprocessing", "comparison.results", "comparison.plots"),
    *("data.csv_file", "data.places", "data.reference"),
    *("comparison.grid", "cli.console", "cli.options", "cli.source", "training.logs", "tasks.record"),
    *("monitoring.drift", "monitoring.judge", "monitoring.plots", "monitoring.reference_file", "ticket.held_out"),
    *("benchmark.config", "benchmark.worker", "pruning.config"),
    *("hub.address", "hub.client", "hub.download", "hub.upload", "ticket.card", "ticket.pretrained"),
    *("diagnosis.diagnose", "diagnosis.features", "diagnosis.packages", "diagnosis.report", "diagnosis.system"),
    *(
        "assessment.config",
        "benchmark.config",
        "benchmark.worker",
        "prediction.log",
        "plotting.confusion",
        "plotting.figures",
    ),
}
NEEDS_NOTHING_HEAVY = {"cli.main", "methods.registry", "errors", "progress", "pruning.names", "version"}
HEAVY = {"torch", "numpy", "onnx", "onnxruntime", "timm", "torchvision", "matplotlib", "sklearn"}

MOST_LINES = 400
MOST_AT_THE_TOP = 10
MOST_PARAMETERS = 8
FRONT_DOORS = {"api", "pruning.front"}
FUNCTIONS_TO_COME = {"search", "evaluate", "bench", "export", "compare", "prune", "train", "predict", "monitor"}


def libraries(found: set[Import], *, at_import: bool = False) -> set[str]:
    """Return the libraries among imports that run."""
    own = {"slt_compress", *(folder_of(name) for name in MODULES)}
    chosen = {one.target.partition(".")[0] for one in found if not one.typing_only and (one.top_level or not at_import)}
    return chosen - own


@pytest.mark.parametrize("name", sorted(MODULES))
def test_layers(name: str) -> None:
    others = {folder_of(target) for target in edges()[name]} - {folder_of(name)}
    assert others <= LAYERS[folder_of(name)]


def test_layers_are_an_order() -> None:
    assert set(LAYERS) == {folder_of(name) for name in MODULES}
    assert not circles(LAYERS)


def test_no_module_imports_itself_through_others() -> None:
    assert not circles(edges())


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_has_its_place(library: str) -> None:
    users = {name for name, path in MODULES.items() if library in libraries(imports(path))}
    assert users <= LIBRARIES[library]


@pytest.mark.parametrize("name", sorted(NEEDS_NO_TORCH))
def test_light_modules_need_no_torch(name: str) -> None:
    assert "torch" not in _libraries_at_import(name)


@pytest.mark.parametrize("name", sorted(NEEDS_NOTHING_HEAVY))
def test_the_command_line_needs_nothing_heavy(name: str) -> None:
    assert not _libraries_at_import(name) & HEAVY


def _libraries_at_import(name: str) -> set[str]:
    """Return all libraries that are loaded, through whichever modules of the package, when a module is imported."""
    loaded = reachable(edges(lazy=False), name) | {"__init__"}
    return set().union(*(libraries(imports(MODULES[module]), at_import=True) for module in loaded))


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, slt_compress.cli.main\nprint(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_little_is_imported_before_interrupts_are_taken_care_of() -> None:
    """Until then Ctrl-C ends the process by the signal. What Python itself imports at its start is left out."""
    code = (
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nbefore = set(sys.modules)\nimport slt_compress.__main__\n"
        "print(*set(sys.modules) - before - set(sys.builtin_module_names))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] != "slt_compress"}
    assert loaded == set()


def test_the_top_is_small_and_its_names_are_free() -> None:
    at_the_top = {name for name in MODULES if "." not in name and name not in SUBPACKAGES}
    assert len(at_the_top) <= MOST_AT_THE_TOP
    assert not FUNCTIONS_TO_COME & (at_the_top | SUBPACKAGES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_is_short_and_says_what_it_is(name: str) -> None:
    text = MODULES[name].read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert ast.get_docstring(ast.parse(text))


def test_every_module_has_a_test_file() -> None:
    for name in MODULES:
        if name in SUBPACKAGES or name in ("__init__", "__main__", "errors", "version"):
            continue
        folder, _, module = name.rpartition(".")
        assert (ROOT / "tests" / folder / f"test_{module}.py").exists(), name


def test_subpackages_say_what_they_may_import() -> None:
    for folder in SUBPACKAGES:
        assert "May import" in (PACKAGE / folder / "__init__.py").read_text(), folder


def test_no_public_function_takes_many_parameters() -> None:
    for name, path in MODULES.items():
        commands = {name.rpartition(".")[2]} if name.startswith("cli.") else set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name not in commands and name not in FRONT_DOORS:
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                counted = [argument for argument in arguments if argument.arg not in ("self", "cls")]
                assert len(counted) <= MOST_PARAMETERS, f"{name}.{node.name}"


def test_only_the_console_prints() -> None:
    printers = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printers == set()


def test_benchmarks_and_tests_stand_alone() -> None:
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert "tests" not in {one.target.partition(".")[0] for one in imports(path)}, path
    for path in (ROOT / "tests").rglob("*.py"):
        others = {one.target for one in imports(path) if one.target.partition(".")[0] in ("tests", "benchmarks")}
        shared = {target for target in others if target.startswith(("tests.support.", "tests.independent_reader"))}
        assert others == shared, path


def test_the_facade_lists_the_product() -> None:
    public = set(slt_compress.__all__)
    assert public >= {
        "search",
        "evaluate",
        "export",
        "bench",
        "compare",
        "prune",
        "find_ticket",
        "train",
        "Ticket",
        "SltError",
        "SearchConfig",
        "SearchResult",
    }
    assert slt_compress.Ticket.__module__ == "slt_compress.ticket.ticket"
    with pytest.raises(AttributeError, match="has no attribute 'Tocket'"):
        slt_compress.Tocket  # noqa: B018


def test_the_contributing_page_names_every_room() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for name in {folder_of(name) for name in MODULES} - {"__init__", "__main__"}:
        assert f"`{name}" in page, name
