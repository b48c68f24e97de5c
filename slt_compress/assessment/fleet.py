"""What a fleet of devices moves and stores in a year, as each kind of file, and what that costs.

    moved    = devices · updates a year · bytes of the file
    stored   = devices · bytes of the file
    cost     = moved / 10^9 · price of a GB
    energy   = moved / 10^9 · 0.06 kWh: of a GB through a fixed line in 2015, halved about every two years since then
               (Aslan et al. 2018, doi:10.1111/jiec.12630), so an upper bound today; mobile links take more

The arithmetic of an inference, without memory, at the energy of an operation in a 45 nm process (Horowitz 2014,
doi:10.1109/ISSCC.2014.6757323): 3.7 + 0.9 pJ for a multiplication and an addition in fp32, 0.2 + 0.1 pJ for one of
8 bits added up in 32.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from slt_compress.errors import UsageError

KWH_PER_GB = 0.06
JOULES_PER_MAC = {"fp32": 4.6e-12, "int8": 0.3e-12}
_GB = 10**9


@dataclass(frozen=True)
class Fleet:
    """Devices that are sent a network.

    Attributes:
        devices: how many.
        updates_per_year: how often each is sent a new one.
        link_price: of a GB that is moved, in whatever currency; None where that does not matter.
    """

    devices: int
    updates_per_year: float = 12.0
    link_price: float | None = None

    def __post_init__(self) -> None:
        if self.devices < 1:
            raise UsageError(f"`devices` must be at least 1, got {self.devices}")
        if not 0 < self.updates_per_year < float("inf"):
            raise UsageError(f"`updates_per_year` must be a positive number, got {self.updates_per_year:g}")
        if self.link_price is not None and not 0 <= self.link_price < float("inf"):
            raise UsageError(f"`link_price` must be a number of at least 0, got {self.link_price:g}")


@dataclass(frozen=True)
class YearOfFile:
    """What a fleet takes in a year with one kind of file.

    Attributes:
        file: which kind.
        bytes: of one file.
        moved_bytes, stored_bytes: of all devices.
        cost: of what is moved, None without a price.
        energy_kwh: of what is moved, an upper bound.
    """

    file: str
    bytes: int
    moved_bytes: float
    stored_bytes: int
    cost: float | None
    energy_kwh: float


def year(fleet: Fleet, files: Mapping[str, int]) -> list[YearOfFile]:
    """Return what the fleet takes in a year with each kind of file, whose bytes are given."""
    found = []
    for name, size in files.items():
        moved = fleet.devices * fleet.updates_per_year * size
        cost = None if fleet.link_price is None else moved / _GB * fleet.link_price
        found.append(YearOfFile(name, size, moved, fleet.devices * size, cost, moved / _GB * KWH_PER_GB))
    return found


def arithmetic_joules(macs: int) -> dict[str, float]:
    """Return the energy of the arithmetic of an inference with so many MACs, by the numbers it is done in."""
    return {name: macs * joules for name, joules in JOULES_PER_MAC.items()}
