"""What all plots share: the user's settings of matplotlib stay, and have no say."""

import matplotlib

from slt_compress.plotting.figures import drawable, new_figure, own_settings, to_png


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
