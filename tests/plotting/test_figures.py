"""What all plots share: the user's settings of matplotlib stay, and have no say."""

import matplotlib
import pytest

from slt_compress.plotting.figures import (
    drawable,
    new_figure,
    own_settings,
    show_accuracies,
    show_kilobytes,
    to_png,
)


def _drawn() -> bytes:
    with own_settings():
        figure = new_figure((2, 1))
        figure.subplots().plot([1, 2])
        return to_png(figure)


def test_a_users_settings_change_nothing_and_stay() -> None:
    plain = _drawn()
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.facecolor": "red"}):
        assert _drawn() == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_a_name_of_bytes_that_are_no_text_can_be_drawn() -> None:
    assert drawable("a\udcffé") == "a\\udcffé"


TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.999)


@pytest.mark.parametrize(
    ("errors", "labels"),
    [((0.6, 0.02), ["50 %", "80 %", "90 %", "95 %", "98 %"]), ((0.5, 0.05), ["50 %", "80 %", "90 %", "95 %"])],
)
def test_errors_are_told_as_accuracies_the_best_on_top(errors: tuple[float, float], labels: list[str]) -> None:
    with own_settings():
        axes = new_figure((4, 3)).subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.plot([1, 2000], errors)
        show_accuracies(axes, TICKS)
        show_kilobytes(axes, "file in KB")
        low, high = axes.get_ylim()
        assert low > max(errors) > min(errors) > high
        shown = axes.yaxis.get_major_formatter()
        assert [shown(tick) for tick in axes.get_yticks()] == labels
        assert axes.xaxis.get_major_formatter()(1500.0) == "1,500"
        assert axes.get_xlabel() == "file in KB"


def test_where_few_accuracies_are_in_view_others_are_marked() -> None:
    with own_settings():
        axes = new_figure((4, 3)).subplots()
        axes.set_yscale("log")
        axes.plot([1, 2], [0.012, 0.0123])
        show_accuracies(axes, TICKS)
        assert len([tick for tick in axes.get_yticks() if 0.012 < tick < 0.0123]) > 1
