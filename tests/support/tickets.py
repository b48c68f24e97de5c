"""Tickets without a search, with what their seed decides as plain arguments."""

from typing import Any

from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.ticket.sample import measure_statistics, sample_ticket
from slt_compress.ticket.ticket import Ticket

__all__ = ["make_ticket", "measure_statistics"]


def make_ticket(
    name: str,
    density: float,
    *,
    size: int = 32,
    initialiser: str = "signed-constant",
    seed: int = 0,
    freeze: Freeze = Freeze(),
    **options: Any,
) -> Ticket:
    """Return a random ticket of a network; `options` as in `sample_ticket`."""
    return sample_ticket(name, density, input_size=size, origin=SeedRecipe(seed, initialiser, freeze), **options)
