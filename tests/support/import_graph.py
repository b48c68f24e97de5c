"""The import graph of the package, read from its source without running it.

    python -m tests.support.import_graph [FOLDER]

prints for each folder its modules, lines and what it imports, and every circle. FOLDER is another copy of the package.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import slt_compress

PACKAGE = Path(slt_compress.__file__).parent


@dataclass(frozen=True)
class Import:
    """One import statement's target.

    Attributes:
        target: dotted name of the imported module; of the package's own, without the package's name.
        top_level: whether it runs when the importing module is imported.
        typing_only: whether it stands under TYPE_CHECKING, and so never runs.
    """

    target: str
    top_level: bool
    typing_only: bool


@cache
def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Return the files of all modules by dotted name without the package's; a folder's own is the folder's name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


@cache
def imports(path: Path, package: Path = PACKAGE) -> set[Import]:
    """Return what a module imports: of the package's own modules, and of libraries by their full names."""
    own = modules(package)
    found = set()

    def visit(node: ast.AST, *, top_level: bool, typing_only: bool) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for inner in node.body:
                visit(inner, top_level=top_level, typing_only=True)
            for inner in node.orelse:
                visit(inner, top_level=top_level, typing_only=typing_only)
            return
        for name in _names(node):
            found.add(Import(_target(name, own, package.name), top_level, typing_only))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, top_level=top_level and not inside, typing_only=typing_only)

    visit(ast.parse(path.read_text()), top_level=True, typing_only=False)
    return found


@cache
def edges(package: Path = PACKAGE, *, lazy: bool = True) -> dict[str, set[str]]:
    """Return for each of the package's modules those that it imports at run time; without `lazy`, at its import."""
    own = modules(package)
    graph = {}
    for name, path in own.items():
        chosen = {one.target for one in imports(path, package) if not one.typing_only and (lazy or one.top_level)}
        graph[name] = {target for target in chosen if target in own} - {name}
    return graph


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return what is imported, directly or not, once `start` is."""
    seen, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += graph[name] | ({name.rpartition(".")[0]} & graph.keys())  # a module imports its folder first
    return seen


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules of which each imports, directly or not, every other."""
    reached = {name: set().union(*(reachable(graph, target) for target in targets)) for name, targets in graph.items()}
    found: list[set[str]] = []
    for name in graph:
        group = {other for other in reached[name] if name in reached[other]} if name in reached[name] else set()
        if group and group not in found:
            found.append(group)
    return found


def folder_of(name: str) -> str:
    """Return the folder that a module lies in; modules at the top are their own."""
    return name.partition(".")[0]


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _target(name: str, own: dict[str, Path], package: str) -> str:
    """Return the module that an imported name lies in."""
    if name.partition(".")[0] != package:
        return name
    inner = name.partition(".")[2]
    while inner and inner not in own:
        inner = inner.rpartition(".")[0]
    return inner or "__init__"


def main(package: Path) -> None:
    own, graph = modules(package), edges(package)
    folders: dict[str, list[str]] = {}
    for name in own:
        folders.setdefault(folder_of(name), []).append(name)
    print(f"{'folder or module':16} modules  lines  largest  imports")
    for folder, names in folders.items():
        lines = [len(own[name].read_text().splitlines()) for name in names]
        targets = sorted({folder_of(target) for name in names for target in graph[name]} - {folder})
        print(f"{folder:16} {len(names):7} {sum(lines):6} {max(lines):8}  {', '.join(targets)}")
    lines = [len(path.read_text().splitlines()) for path in own.values()]
    print(f"{'all':16} {len(own):7} {sum(lines):6} {max(lines):8}")
    for circle in circles(graph):
        print(f"circle: {', '.join(sorted(circle))}")
    at_import = circles(edges(package, lazy=False))
    print(f"circles: {len(circles(graph))}, {len(at_import)} of them when modules are imported")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
