"""Where the weights of a tensor without its dead slices lie in the whole tensor, which the seed numbers.

The code walks over what is left. The generator needs the index that a weight has in the whole tensor. So a table has
the number of each row that is left, and in a row of each block of weights: the columns are in blocks of as many weights
as stand and fall together everywhere, such as a kernel, or the plane of a channel that was flattened. Tensors that
neurons share share the entries, and an axis that is whole in a tensor is one block of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slt_compress.c_export.literals import array

Indices = npt.NDArray[np.int64]

# Fields of `slt_layer`.
FIELDS = ("uint32_t left_rows", "uint32_t left_columns", "uint32_t width", "uint32_t block")
# Fields of a walk, and what they begin with.
WALK_FIELDS = (
    "    uint32_t base;  /* index of the first weight of the row in the whole tensor */\n"
    "    uint32_t first; /* place at which the block begins */\n"
    "    uint32_t block; /* weights of a block */\n"
    "    uint32_t left;  /* where the number of the block is in slt_left */\n",
    ", 0, 0, layer->block, 0",
)
INDEX = """
static inline void slt_enter(slt_walk *walk, const slt_layer *layer, uint32_t row)
{
    walk->base = slt_left[layer->left_rows + row] * layer->width;
    walk->first = row * layer->columns;
    walk->left = layer->left_columns;
}

static inline uint32_t slt_index(slt_walk *walk) /* of the weight in the whole tensor */
{
    for (; walk->place - walk->first >= walk->block; walk->first += walk->block)
        walk->left++;
    return walk->base + slt_left[walk->left] * walk->block + walk->place - walk->first;
}
"""


@dataclass
class Places:
    """The table of one file.

    Attributes:
        entries: numbers of rows and of blocks.
    """

    entries: list[int] = field(default_factory=list)

    def values(self, shape: tuple[int, ...], kept: Mapping[int, Indices]) -> list[str]:
        """Return the values of `FIELDS` for a tensor of this shape of which these indices are left along its axes."""
        rows, columns = (kept.get(axis, np.arange(shape[axis])) for axis in (0, 1))
        length = _common(columns)
        taps = int(np.prod(shape[2:], dtype=np.int64))
        places = self._place(rows), self._place(columns[::length] // length)
        return [str(value) for value in (*places, shape[1] * taps, length * taps)]

    def _place(self, numbers: Indices) -> int:
        """Return where these entries stand one after the other; they are added if they do nowhere."""
        wanted, count = numbers.tolist(), len(numbers)
        for start in range(len(self.entries) - count + 1):
            if self.entries[start : start + count] == wanted:
                return start
        self.entries += wanted
        return len(self.entries) - count

    @property
    def bytes(self) -> int:
        """Bytes of the table."""
        return self._bits // 8 * len(self.entries)

    @property
    def _bits(self) -> int:
        """Bits of an entry."""
        largest = max(self.entries, default=0)
        return next(bits for bits in (8, 16, 32) if largest < 2**bits)

    def text(self) -> str:
        """Return the table as C."""
        return array(f"uint{self._bits}_t", "slt_left", list(map(str, self.entries)))


def _common(indices: Indices) -> int:
    """Return the length of the longest blocks, from multiples of it, that sorted indices are made of."""
    edges = np.flatnonzero(np.diff(indices, prepend=-2) != 1)
    starts, lengths = indices[edges], np.diff(edges, append=len(indices))
    return int(np.gcd.reduce(np.concatenate([starts, lengths])))
