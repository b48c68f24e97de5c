"""The handwritten digits that scikit-learn contains: 1,797 images of 8 × 8 px, read without it.

Importing scikit-learn takes a second, half of what a short command takes, and one file of it is wanted.
"""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from slt_compress.errors import MissingPackageError

_PACKAGE = "sklearn"
_FILE = Path("datasets", "data", "digits.csv.gz")
_WHITE = 16
_TEST_SHARE = 0.2


def read() -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 (n, 8, 8), and their labels, int64 (n,), in the order of scikit-learn's `load_digits`.

    Raises MissingPackageError where there is no scikit-learn, or one without this file.
    """
    found = importlib.util.find_spec(_PACKAGE)
    files = [Path(place, _FILE) for place in (found.submodule_search_locations or ())] if found else []
    if not (files and files[0].is_file()):
        raise MissingPackageError("the digits are a file of scikit-learn, which is not here: install scikit-learn")
    with gzip.open(files[0], "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    images = np.rint(table[:, :-1] * (255 / _WHITE)).astype(np.uint8)
    return images.reshape(-1, 8, 8), table[:, -1]


def split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which digits are for training and which for the test, in this order: a fifth of each class, as
    scikit-learn's `train_test_split` draws them with `stratify` and `random_state=0`.
    """
    random = np.random.RandomState(0)  # as scikit-learn does
    counts = np.bincount(labels)
    test_size = int(np.ceil(_TEST_SHARE * len(labels)))
    kept = _shares(counts, len(labels) - test_size, random)
    tested = _shares(counts - kept, test_size, random)
    train, test = [], []
    for label, (first, second) in enumerate(zip(kept, tested, strict=True)):
        order = np.flatnonzero(labels == label)[random.permutation(counts[label])]
        train.append(order[:first])
        test.append(order[first : first + second])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def _shares(counts: np.ndarray, total: int, random: np.random.RandomState) -> np.ndarray:
    """Return the counts scaled down to a total; of the largest remainders, those are rounded up that are drawn."""
    exact = counts / counts.sum() * total
    shares: np.ndarray = np.floor(exact)
    rests = exact - shares
    for rest in np.unique(rests)[::-1]:
        missing = int(total - shares.sum())
        if missing > 0:
            tied = np.flatnonzero(rests == rest)
            shares[random.choice(tied, min(len(tied), missing), replace=False)] += 1
    return np.asarray(shares, np.int64)
