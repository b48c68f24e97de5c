"""Charts are well-formed, and what they show lies within them."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.assessment.charts import HEIGHT, WIDTH, Axis, Series, bars, lines

VALUES = st.floats(1e-4, 1e6)


@pytest.mark.parametrize("logarithmic", [False, True])
@given(points=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=5))
def test_all_points_lie_within_the_picture(logarithmic: bool, points: list[tuple[float, float]]) -> None:
    axis = Axis("<x> & y", logarithmic=logarithmic)
    figure = ElementTree.fromstring(lines([Series("a < b", points, [(y, y) for _, y in points])], axis, axis, "title"))
    circles = figure.findall(".//circle")
    assert len(circles) == len(points)
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT
    texts = [text.text for text in figure.findall(".//text")]
    assert "<x> & y" in texts


def test_longer_bars_stand_for_larger_values() -> None:
    figure = ElementTree.fromstring(bars([("a", 10, "10"), ("b", 1000, "1000"), ("c", 100, "100")], "title"))
    widths = [float(bar.attrib["width"]) for bar in figure.findall(".//rect")]
    assert widths[1] > widths[2] > widths[0] > 0
    assert all(float(text.attrib["x"]) < WIDTH for text in figure.findall(".//text"))


def test_ticks_are_round() -> None:
    axis = Axis("share", logarithmic=True, percent=True)
    figure = lines([Series("a", [(30, 0.021), (1000, 0.4)])], Axis("steps", logarithmic=True), axis, "title")
    texts = {text.text for text in ElementTree.fromstring(figure).findall(".//text")}
    assert {"2 %", "5 %", "10 %", "20 %", "50", "100", "200", "500", "1,000"} <= texts
