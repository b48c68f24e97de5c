"""Plots of a comparison as PNG.

Accuracy is drawn as errors on a logarithmic axis: the step from 98 to 99 per cent halves them, and a control far below
does not press the others together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from slt_compress.comparison.results import DENSE, Summary
from slt_compress.plotting.figures import drawable, new_figure, own_settings, show_accuracies, show_kilobytes, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Plot = Callable[[Sequence[Summary], str], bytes]  # summaries, title -> PNG

_FEWEST_ERRORS = 1e-4  # share of errors that stands for none at all, which a logarithm cannot show
_TICKS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998, 0.999)


def accuracy_against_sparsity(summaries: Sequence[Summary], title: str) -> bytes:
    """Return a PNG: a line with error bars per method over the share of kept weights, the dense mean across."""
    kept = sorted({_kept(summary) for summary in summaries if summary.label != DENSE})
    with own_settings():
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        figure, axes = _figure(title, kept)
        axes.invert_xaxis()
        _lines(axes, summaries, _kept)
        for summary in summaries:
            if summary.label == DENSE:
                axes.axhline(_errors(summary), color="black", linestyle="--", label=DENSE)
        axes.xaxis.set_major_locator(FixedLocator(kept))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * (1 - value):.4g} %"))
        axes.set_xlabel("sparsity (share of weights that are zero)")
        return _png(figure, axes)


def accuracy_against_bytes(summaries: Sequence[Summary], title: str) -> bytes:
    """Return a PNG: a line with error bars per method over the size of the file, the dense network as a point."""
    with own_settings():
        figure, axes = _figure(title, [summary.bytes / 1000 for summary in summaries])
        _lines(axes, summaries, lambda summary: summary.bytes / 1000)
        for summary in summaries:
            if summary.label == DENSE:
                axes.plot([summary.bytes / 1000], [_errors(summary)], "k*", markersize=12, label="dense, fp32")
        show_kilobytes(axes, "file in KB")
        return _png(figure, axes)


def frontier(summaries: Mapping[str, Sequence[Summary]], title: str) -> bytes:
    """Return a PNG: for each network, by name, a line with error bars per method over the size of the file, in one
    colour, and its dense network as a star.
    """
    everything = [summary for of_model in summaries.values() for summary in of_model]
    labels = list(dict.fromkeys(summary.label for summary in everything if summary.label != DENSE))
    with own_settings():
        figure, axes = _figure(title, [summary.bytes / 1000 for summary in everything])
        for number, (model, of_model) in enumerate(summaries.items()):
            colour = f"C{number}"
            for marker, style, label in zip(
                _cycled("os^Dv", labels), _cycled(["-", "--", ":"], labels), labels, strict=True
            ):
                line = sorted((one for one in of_model if one.label == label), key=lambda one: one.bytes)
                drawn = axes.errorbar(
                    [one.bytes / 1000 for one in line],
                    [_errors(one) for one in line],
                    yerr=[one.accuracy_std or 0.0 for one in line],
                    marker=marker,
                    linestyle=style,
                    color=colour,
                    capsize=3,
                )
                drawn.set_label(f"{model}, {label}")
            for one in of_model:
                if one.label == DENSE:
                    axes.plot([one.bytes / 1000], [_errors(one)], "*", color=colour, markersize=12)
        show_kilobytes(axes, "file in KB (stars: dense, fp32)")
        return _png(figure, axes)


def _figure(title: str, positions: Sequence[float]) -> "tuple[Figure, Axes]":
    """Return logarithmic axes wide enough for these positions."""
    figure = new_figure((7, 4.5))
    axes = figure.subplots()
    axes.set_title(drawable(title), parse_math=False)
    axes.set_xscale("log")
    axes.set_yscale("log", nonpositive="clip")
    axes.set_xlim(min(positions) / 1.2, max(positions) * 1.2)  # left to itself, a single position is no range
    return figure, axes


def _lines(axes: "Axes", summaries: Sequence[Summary], position: Callable[[Summary], float]) -> None:
    for label in dict.fromkeys(summary.label for summary in summaries if summary.label != DENSE):
        line = sorted((summary for summary in summaries if summary.label == label), key=position)
        axes.errorbar(
            [position(summary) for summary in line],
            [_errors(summary) for summary in line],
            yerr=[summary.accuracy_std or 0.0 for summary in line],
            marker="o",
            capsize=3,
            label=label,
        )


def _cycled(values: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return a value for each label, from the first again where there are more."""
    return [values[number % len(values)] for number in range(len(labels))]


def _kept(summary: Summary) -> float:
    """Return the share of kept weights that was asked for, or that a size has left."""
    return 1 - (summary.target_sparsity if summary.max_bytes is None else summary.sparsity)


def _errors(summary: Summary) -> float:
    return max(1 - summary.accuracy, _FEWEST_ERRORS)


def _png(figure: "Figure", axes: "Axes") -> bytes:
    show_accuracies(axes, _TICKS)
    axes.legend()
    return to_png(figure)
