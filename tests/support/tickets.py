"""Tickets without a search, with what their seed decides as plain arguments."""

from typing import Any

from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.ticket.sample import measure_statistics, sample_ticket
from slt_compress.ticket.ticket import Ticket

__all__ = ["make_ticket", "measure_statistics"]


# Fewer blocks, and narrower ones, of the same kinds: an export takes a fifth of the time.
_SMALLER = {
    "test_vit": {"depth": 2},
    "vit_tiny_patch16_224": {"depth": 3},
    "swin_tiny_patch4_window7_224": {"embed_dim": 48},
}


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
    """Return a random ticket of a network, of a small one in place of a large transformer; `options` as in
    `sample_ticket`.
    """
    origin = SeedRecipe(seed, initialiser, freeze)
    return sample_ticket(name, density, input_size=size, origin=origin, arguments=_SMALLER.get(name), **options)
