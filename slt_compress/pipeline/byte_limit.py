"""A search whose target is the size of its file: as many weights are kept as fit into it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from slt_compress.config import SearchConfig
from slt_compress.errors import UnreachableError
from slt_compress.masking import codecs
from slt_compress.masking.coded_size import FULLEST, coded_bytes, filling_share, largest_density, open_counts
from slt_compress.masking.gates import Gates
from slt_compress.masking.parameters import gated_names, statistic_names
from slt_compress.models.catalogue import fitting_density
from slt_compress.progress import ProgressReporter
from slt_compress.ticket.held_out import QUANTITIES, Reference
from slt_compress.ticket.ticket import Ticket

_LONGEST = -1.2345678901234567e-05  # no metric has more digits
_GUESSES = 2  # of the final density, before masks are coded again and again
_SPARE = 2  # bytes for each tensor: its scale may get another digit, and the name of its codec a letter
_WORTH = 0.01  # of a file, left empty: worth a closer look

# settings, mask -> its ticket without metrics; without a mask, one of all gates in a bit each, whose header is longest
Pack = Callable[[Mapping[str, Any], torch.Tensor | None], Ticket]


def begin(config: SearchConfig, module: nn.Module) -> SearchConfig:
    """Return the config with the sparsity where a search for `max_bytes` begins: an estimate."""
    assert config.max_bytes
    free = 1 - config.freeze.ratio
    gated = [round(free * module.get_parameter(name).numel()) for name in gated_names(module)]
    share = fitting_density(module, gated, statistic_names(module), config.max_bytes) or 0.0
    return replace(config, sparsity=1 - config.freeze.lock - free * min(FULLEST, max(share, 1e-6)))


@dataclass
class ByteLimit:
    """Chooses the density at which a file has at most `limit` bytes; see `training.search.Fit`.

    Attributes:
        gates: what is searched.
        limit: bytes of the whole file.
        codec: of the masks.
        pack: makes a ticket.
        metric: name of the metric that the ticket will have.
        reference: number of classes of a reference that it will have, None without one.
        reporter: who is told if the file cannot be filled.
    """

    gates: Gates
    limit: int
    codec: str
    pack: Pack
    metric: str
    reference: int | None
    reporter: ProgressReporter
    _room: int = field(init=False, default=0)  # bytes for the masks

    def refuse_impossible(self, settings: Mapping[str, Any]) -> None:
        """Raise UnreachableError if no mask is small enough; say so if none is large enough."""
        around = self._around(settings)
        self._room = self.limit - around
        smallest = around + coded_bytes(self.gates, _first_of_each(self.gates), self.codec)
        if smallest > self.limit:
            raise UnreachableError(
                f"`max_bytes={self.limit}` cannot be reached: with one weight a tensor, too few to classify well, the "
                f"file has {smallest:,} bytes; take a larger limit or a network with fewer tensors"
            )
        sizes, _ = open_counts(self.gates, self.gates.searchable)
        if filling_share(sizes, sizes, self._room) >= FULLEST:
            most = around + sum(-(-size // 8) for size in sizes)
            self.reporter.note(
                f"the file cannot use {self.limit:,} bytes: half of the gates will be open, which takes about {most:,}"
            )

    def density(self, mask: torch.Tensor) -> float:
        """Return the density of the largest mask that fits, if it is spread over the tensors as this one is."""
        sizes, counts = open_counts(self.gates, mask)
        bound = sum(map(codecs.shannon_bound, sizes, counts))
        excess = max(1.0, coded_bytes(self.gates, mask, self.codec) / max(1, bound))
        return self._of_all(filling_share(sizes, counts, self._room / excess))

    def final(self, mask_at: Callable[[float], torch.Tensor], settings: Mapping[str, Any]) -> torch.Tensor:
        """Return the mask of the most weights whose file is small enough."""
        self._room = self.limit - self._around(settings)
        mask = self._largest(mask_at)
        # A header has numbers for each tensor, of fewer digits where masks are short: much of a small file.
        around, longest = self._around(settings, mask), self.limit - self._room
        if longest - around < _WORTH * self.limit:
            return mask
        for _ in range(_GUESSES):
            self._room = self.limit - around
            larger = self._largest(mask_at)
            around = self._around(settings, larger)
            if around + coded_bytes(self.gates, larger, self.codec) <= self.limit:
                return larger
        return mask

    def _largest(self, mask_at: Callable[[float], torch.Tensor]) -> torch.Tensor:
        """Return the mask of the most weights that takes no more than the room that there is."""
        sizes, _ = open_counts(self.gates, self.gates.searchable)
        guess = self._of_all(filling_share(sizes, sizes, self._room))
        for _ in range(_GUESSES):
            guess = self.density(mask_at(guess))

        def fits(density: float) -> bool:
            return coded_bytes(self.gates, mask_at(density), self.codec) <= self._room

        ends = self._of_all(1 / self.gates.searchable_count), self._of_all(FULLEST)
        return mask_at(largest_density(fits, guess, *ends))

    def _of_all(self, share: float) -> float:
        """Return the density of all gates where this share of the searchable ones is open."""
        return (self.gates.locked_count + share * self.gates.searchable_count) / self.gates.size

    def _around(self, settings: Mapping[str, Any], mask: torch.Tensor | None = None) -> int:
        """Return the bytes of a file but for its masks, of the longest one if there is no mask yet."""
        ticket = self.pack(settings, mask)
        names = (self.metric, "loss", f"validation_{self.metric}")
        ticket = ticket.with_metrics(**dict.fromkeys(names, _LONGEST))
        if self.reference is not None:
            ticket = ticket.with_reference(_longest_reference(self.reference))
        return len(ticket.to_bytes()) - ticket.mask_bytes + _SPARE * len(ticket.layers)


def _first_of_each(gates: Gates) -> torch.Tensor:
    """Return a mask with the first searchable gate of each slot open, flat bool."""
    mask = torch.zeros_like(gates.locked)
    for part, free in zip(gates.split(mask), gates.split(gates.searchable), strict=True):
        part[free.nonzero()[:1]] = True
    return mask


def _longest_reference(classes: int) -> Reference:
    """Return a reference with as many bins as one can have."""
    values = np.linspace(0, 1, 1_000)
    first = np.zeros(len(values), np.int64)
    return Reference.of(dict.fromkeys(QUANTITIES, values), first, first, classes)
