"""What holds for every call of the command line, before and after its command: its streams, and answers in JSON."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from slt_compress.cli import console, streams


class Group(TyperGroup):
    """The commands. With `--json`, a call that fails before its command runs answers with a JSON document too."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **settings: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        streams.prepare()
        console.begin(json="--json" in words)
        try:
            super().main(words, *others, **settings)
        except SystemExit as ending:
            if (code := console.finish()) and not ending.code:
                raise SystemExit(code) from ending
            raise
        except streams.StdoutError as failure:  # of help, which typer prints
            raise SystemExit(console.finish(failure)) from failure

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        with _answered():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        with _answered():
            return super().invoke(ctx)


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Answer for what typer refuses, such as an unknown option; typer itself tells it on stderr."""
    try:
        yield
    except typer.TyperException as failure:
        console.answer(failure.format_message(), failure.exit_code)
        raise
