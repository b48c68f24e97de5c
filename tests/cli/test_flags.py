"""Messages name arguments as Python knows them; the command line shows its flags, and all of them are there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import slt_compress
from slt_compress.cli.flags import as_flags
from tests.support.commands import commands, options

PACKAGE = Path(slt_compress.__file__).parent
# Where dashes are not ours: style sheets, commands for people, and flags of a compiler.
PAGES = {"assessment/page.py", "ticket/card.py", "html_export/wasm.py"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`sparsity` must be below 1", "--sparsity must be below 1"),
        ("`lock_ratio` must be from 0 to `freeze_ratio`, 0", "--lock-ratio must be from 0 to --freeze-ratio, 0"),
        ("use `device=cpu`", "use --device cpu"),
        ("`min_accuracy=0.95`", "--min-accuracy 0.95"),
        ("give `test` and `metric`", "give test= in Python and metric= in Python"),
        ("`init`, `weights=int8`; `method=edge-popup`.", "--init, --weights int8; --method edge-popup."),
        ("`init_from=a folder/t.safetensors` is `x=1`", "--init-from a folder/t.safetensors is --x 1"),
        ("`learning_rate` must be positive", "--lr must be positive"),
        ("`learning_rate=0.1` and `initialiser=uniform`", "--lr 0.1 and --init uniform"),
        ("a file_name, sparsity=0.9 and --flag", "a file_name, sparsity=0.9 and --flag"),
        ("", ""),
        ("`Ticket`, `not a name`, ``, `a.b`, `2x`, `x=`", "`Ticket`, `not a name`, ``, `a.b`, `2x`, `x=`"),
    ],
)
def test_names_between_backticks_become_flags(text: str, shown: str) -> None:
    assert as_flags(text) == shown


def literals(tree: ast.AST) -> Iterator[str]:
    """Yield every string of a module that is no docstring; what an f-string puts in is VALUE."""
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts |= {id(part) for part in node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            yield node.value


def library() -> Iterator[tuple[str, str]]:
    """Yield the file and the text of every literal outside the command line."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("cli/") and name not in PAGES:
            for text in literals(ast.parse(path.read_text())):
                yield name, text


def test_only_the_command_line_speaks_of_itself() -> None:
    spoken = re.compile(rf"--[a-z]|slt-compress ({'|'.join(commands())})\b")
    assert {(name, text) for name, text in library() if spoken.search(text)} == set()
    assert spoken.search("use --sparsity")
    assert spoken.search("run slt-compress export")


def test_the_flags_that_messages_produce_exist() -> None:
    known = {flag for name in commands() for flag in options(name)}
    made = {(name, flag) for name, text in library() for flag in re.findall(r"--[a-z][a-z-]*", as_flags(text))}
    assert {(name, flag) for name, flag in made if flag not in known} == set()
    assert {"--sparsity", "--freeze-ratio", "--lr", "--device", "--data-dir", "--resume"} <= {flag for _, flag in made}
