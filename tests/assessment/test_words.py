"""Figures as a person reads them."""

from slt_compress.assessment.extrapolation import Forecast
from slt_compress.assessment.fleet import Fleet, year
from slt_compress.assessment.words import clock, expected, size, year_rows


def test_numbers_as_a_person_reads_them() -> None:
    assert [size(999), size(1_000), size(44_700_000)] == ["999 bytes", "1 KB", "44.7 MB"]
    assert [clock(5), clock(600), clock(7_200)] == ["5 s", "10 min", "2.0 h"]
    assert expected(Forecast(1, 0.9, 0.88, 0.921)) == "90.0 % (88.0 to 92.1)"


def test_a_cost_is_shown_where_there_is_a_price() -> None:
    for price, columns in ((None, 5), (2.0, 6)):
        headings, rows = year_rows(year(Fleet(2, 12, price), {"dense": 10**9}))
        assert len(headings) == len(rows[0]) == columns
    assert rows[0][4] == "48.00"
