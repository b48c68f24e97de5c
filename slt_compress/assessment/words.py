"""Figures of an assessment as a person reads them, on a page and in a terminal."""

from collections.abc import Sequence

from slt_compress.assessment.extrapolation import Forecast
from slt_compress.assessment.fleet import YearOfFile


def size(count: float) -> str:
    """Return a number of bytes, powers of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 1000 * factor else f"{count / factor:,.0f} {unit}"
    return f"{count:.0f} bytes"


def clock(seconds: float) -> str:
    """Return a time."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"


def percent(share: float) -> str:
    """Return a share."""
    return f"{100 * share:.1f} %"


def expected(forecast: Forecast) -> str:
    """Return a forecast with its range."""
    return f"{percent(forecast.metric)} ({100 * forecast.low:.1f} to {100 * forecast.high:.1f})"


def year_rows(years: Sequence[YearOfFile]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of a table of what a fleet takes in a year."""
    priced = any(one.cost is not None for one in years)
    headings = ["file", "bytes", "moved a year", "stored", *(["cost a year"] if priced else []), "energy, at most"]
    rows = [
        [
            one.file,
            size(one.bytes),
            size(one.moved_bytes),
            size(one.stored_bytes),
            *([f"{one.cost:,.2f}"] if one.cost is not None else []),
            f"{one.energy_kwh:,.3g} kWh",
        ]
        for one in years
    ]
    return headings, rows
