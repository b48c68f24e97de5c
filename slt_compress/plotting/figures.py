"""Figures of matplotlib as PNG, drawn without a display, and alike whatever the user's settings of it are."""

import contextlib
import importlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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


def show_accuracies(axes: "Axes", ticks: Sequence[float]) -> None:
    """Let the vertical axis of a finished plot, of logarithms of shares of errors, tell accuracies, the best on top.

    Args:
        axes: of the plot.
        ticks: accuracies as shares, of which those in view are marked; where fewer than four are, others are.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    axes.invert_yaxis()
    low, high = axes.get_ylim()
    marked = [1 - tick for tick in ticks if high <= 1 - tick <= low]
    axes.yaxis.set_major_locator(FixedLocator(marked) if len(marked) > 3 else MaxNLocator(6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * (1 - value):.4g} %"))
    axes.set_ylim(low, high)
    axes.set_ylabel("test accuracy (logarithm of the errors)")
    axes.grid(alpha=0.3)


def show_kilobytes(axes: "Axes", label: str) -> None:
    """Let the horizontal axis, whose scale may be logarithmic, tell KB as plain numbers, under a label."""
    from matplotlib.ticker import FuncFormatter

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.set_xlabel(label)


def drawable(text: str) -> str:
    """Return text as a font can show it: bytes of a file name that are no text become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_png(figure: "Figure") -> bytes:
    """Return a figure as a file holds it."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
