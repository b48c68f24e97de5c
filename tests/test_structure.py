"""The cut of the package: who may import what, and what must stay off the start-up path."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import slt_compress

PACKAGE = Path(slt_compress.__file__).parent
MODULES = {path.stem: path for path in PACKAGE.glob("*.py")}

ALLOWED = {  # package -> the only modules that may import it
    "timm": {"libraries"},
    "torchvision": {"data", "libraries"},
    "sklearn": {"data"},
    "PIL": {"folders"},
    "onnx": {"export", "encodings", "graphs", "proof", "quantise", "trace"},
    "onnxscript": {"trace"},
    "onnxruntime": {"evaluate", "export", "proof", "quantise"},
    "matplotlib": {"plots"},
    "typer": {"cli"},
    "rich": {"console"},
    "safetensors": {"checkpoint", "container"},
}
NO_TORCH = {
    *("__init__", "__main__", "errors", "bits", "seeding", "files", "container", "ticket", "results", "plots"),
    *("console", "cli"),
}


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the modules a file imports at run time, imports under TYPE_CHECKING left out."""
    tree = ast.parse(path.read_text())
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    nodes = ast.iter_child_nodes(tree) if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("library", ALLOWED)
def test_each_library_has_its_place(library: str) -> None:
    users = {name for name, path in MODULES.items() if any(found.split(".")[0] == library for found in imports(path))}
    assert users <= ALLOWED[library]


@pytest.mark.parametrize("name", sorted(NO_TORCH))
def test_light_modules_do_not_import_torch_on_import(name: str) -> None:
    assert not {found for found in imports(MODULES[name], top_level_only=True) if found.split(".")[0] == "torch"}


@pytest.mark.parametrize("name", ["search", "evaluate", "export"])
def test_the_three_jobs_do_not_know_each_other(name: str) -> None:
    others = {"search", "evaluate", "export", "cli"} - {name}
    assert not {found for found in imports(MODULES[name]) if found.split(".")[-1] in others}


def test_only_the_console_prints() -> None:
    printers = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printers == set()


def test_every_module_has_a_test_file_and_a_docstring() -> None:
    for name, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text())), name
        if not name.startswith("__") and name != "errors":
            assert (Path(__file__).parent / f"test_{name}.py").exists(), name


def test_help_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom slt_compress.cli import app\n"
        "for words in (['--help'], ['search', '--help'], ['models', '--help'], ['--version']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0\n"
        "print(sorted({'torch', 'numpy', 'timm', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_facade_lists_the_product() -> None:
    assert slt_compress.__all__ == ["Ticket", "__version__"]
    assert slt_compress.Ticket.__module__ == "slt_compress.ticket"
    with pytest.raises(AttributeError, match="has no attribute 'Tocket'"):
        slt_compress.Tocket  # noqa: B018
