"""A confusion matrix as a picture."""

from collections.abc import Sequence

from slt_compress.plotting.figures import drawable, new_figure, own_settings, to_png

_NAMED_CLASSES = 40  # more names than these cannot be read beside a matrix
_NUMBERED_CLASSES = 20  # nor can more counts within it


def confusion_png(confusion: Sequence[Sequence[int]], names: Sequence[str], title: str) -> bytes:
    """Return a PNG of counts, a row a true class and a column a predicted one: the share of each class's images by
    colour, their number where it fits.
    """
    shares = [[count / max(1, sum(row)) for count in row] for row in confusion]
    with own_settings():
        side = 4 + 0.3 * min(len(names), _NAMED_CLASSES)
        figure = new_figure((side + 1, side))
        axes = figure.subplots()
        shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(shown, label="share of the class's images", shrink=0.8)
        axes.set_title(drawable(title), parse_math=False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if len(names) <= _NAMED_CLASSES:
            labels = [drawable(name) for name in names]
            axes.set_xticks(range(len(names)), labels, rotation=90, parse_math=False)
            axes.set_yticks(range(len(names)), labels, parse_math=False)
        if len(names) <= _NUMBERED_CLASSES:
            for row, counts in enumerate(confusion):
                for column, count in enumerate(counts):
                    colour = "white" if shares[row][column] > 0.5 else "black"
                    axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize="small")
        return to_png(figure)
