"""Labels: which element of an activation stands or falls with which neuron.

Every element of every activation of one example gets a label, a whole number. All that a layer's output channel feeds
has the channel's label, wherever later operators move it: flattened, split, concatenated, shuffled. Where two labels
meet so that one cannot go without the other, as in a residual sum, they become one; `Labels` keeps the classes.
"""

import numpy as np
import numpy.typing as npt
import torch

NONE, FIXED = 0, 1  # the labels of what follows from constants alone, and of what has to stay


class Labels:
    """Classes of labels, of which some have to stay. A class is known by its smallest label."""

    def __init__(self) -> None:
        self._parent = np.arange(2, dtype=np.int64)

    @property
    def count(self) -> int:
        """Number of labels."""
        return len(self._parent)

    def new(self, count: int) -> torch.Tensor:
        """Return so many fresh labels, int64 (count,)."""
        first = len(self._parent)
        self._parent = np.concatenate([self._parent, np.arange(first, first + count)])
        return torch.arange(first, first + count)

    def of(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the class of each label, int64 in the same shape."""
        return torch.from_numpy(self._parent)[labels.long()]

    def join(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Let the labels of two tensors that broadcast be the same, and return the classes; `NONE` joins nothing."""
        shape = np.broadcast_shapes(first.shape, second.shape)
        first, second = self.of(first).expand(shape), self.of(second).expand(shape)
        meeting = (first != second) & (first != NONE) & (second != NONE)
        if meeting.any():
            self._unite(torch.stack([first[meeting], second[meeting]]).numpy())
        return self.of(torch.where(first == NONE, second, first))

    def join_along(self, labels: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
        """Let all labels that differ in the indices of these dimensions alone be the same.

        Returns the classes, with a length of 1 along them.
        """
        most = self.of(labels).amax(dims, keepdim=True) if dims else self.of(labels)
        self.join(labels, most)
        return self.of(most)

    def fix(self, labels: torch.Tensor) -> None:
        """Let what has these labels stay."""
        found = np.unique(self.of(labels).numpy())
        found = found[found > FIXED]
        if len(found):
            self._unite(np.stack([found, np.full_like(found, FIXED)]))

    def _unite(self, pairs: npt.NDArray[np.int64]) -> None:
        """Join the classes of pairs (2, n)."""
        for one, other in np.unique(np.sort(pairs, 0), axis=1).T.tolist():
            low, high = sorted((self._root(one), self._root(other)))
            self._parent[high] = low
        while (self._parent[self._parent] != self._parent).any():  # so that `of` is a single look-up
            self._parent = self._parent[self._parent]

    def _root(self, label: int) -> int:
        while (parent := int(self._parent[label])) != label:
            label = parent
        return label
