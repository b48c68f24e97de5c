"""Figures of matplotlib as PNG, drawn without a display, and alike whatever the user's settings of it are."""

import contextlib
import importlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Draw with matplotlib's own settings, and without its warnings, such as of a letter that its font lacks."""
    backend = os.environ.pop("MPLBACKEND", "")  # one that is not installed would end the import
    try:
        matplotlib = importlib.import_module("matplotlib")
    finally:
        if backend:
            os.environ["MPLBACKEND"] = backend
    with contextlib.suppress(ValueError):
        if backend:
            matplotlib.rcParams["backend"] = backend  # for the user's own plots, as the import would have done
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        yield


def new_figure(inches: tuple[float, float]) -> "Figure":
    """Return an empty figure of a width and a height."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def drawable(text: str) -> str:
    """Return text as a font can show it: bytes of a file name that are no text become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_png(figure: "Figure") -> bytes:
    """Return a figure as a file holds it."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
