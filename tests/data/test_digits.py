"""The digits: what scikit-learn would give, without importing it."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from slt_compress.data import digits
from slt_compress.errors import MissingPackageError


def test_images_and_parts_are_those_of_scikit_learn() -> None:
    images, labels = digits.read()
    wanted = load_digits()
    assert (str(images.dtype), str(labels.dtype)) == ("uint8", "int64")
    assert np.array_equal(images, np.rint(wanted.images * (255 / 16)))
    assert np.array_equal(labels, wanted.target)
    parts = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=wanted.target, random_state=0)
    assert all(map(np.array_equal, digits.split(labels), parts))


def test_they_are_read_without_importing_it() -> None:
    code = (
        "import sys\nfrom slt_compress.data.datasets import open_dataset\n"
        "open_dataset('digits', None).read('test', 8)\nprint('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("package", ["sklearn_that_is_not_there", "json", "gzip"])
def test_without_it_the_message_says_so(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Where there is none, or one without this file."""
    monkeypatch.setattr(digits, "_PACKAGE", package)
    with pytest.raises(MissingPackageError, match="install scikit-learn"):
        digits.read()
