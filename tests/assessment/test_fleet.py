"""What a fleet takes, by the formulas of the page."""

import pytest

from slt_compress.assessment.fleet import Fleet, arithmetic_joules, year
from slt_compress.errors import UsageError


def test_a_year_is_devices_times_updates_times_bytes() -> None:
    dense, ticket = year(Fleet(1_000, 12, 5.0), {"dense": 10**7, "ticket": 10**5})
    assert (dense.moved_bytes, dense.stored_bytes, dense.cost) == (1.2e11, 10**10, 600.0)
    assert dense.energy_kwh == pytest.approx(120 * 0.06)
    assert dense.moved_bytes / ticket.moved_bytes == 100
    assert year(Fleet(1), {"x": 1})[0].cost is None


def test_whole_numbers_take_less_energy() -> None:
    energy = arithmetic_joules(10**9)
    assert energy == {"fp32": pytest.approx(4.6e-3), "int8": pytest.approx(0.3e-3)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [((0,), "devices"), ((1, 0.0), "updates_per_year"), ((1, 1.0, -1.0), "link_price"), ((1, float("nan")), "updates")],
)
def test_what_no_fleet_is_is_refused(settings: tuple[int, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Fleet(*settings)
