"""Silence for libraries that talk to whoever develops with them, not to a user of this package.

Leaves out stderr: what a library writes there without `logging` or `warnings` still appears.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is printed to stdout, logged up to level WARNING or given as a Python warning. Errors still show."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as sink,
            contextlib.redirect_stdout(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
