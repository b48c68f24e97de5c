"""A reference in a file: the same again, and refused where it is another network's or damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slt_compress.errors import DataError
from slt_compress.monitoring.reference_file import load_reference, save_reference
from tests.support.references import CLASSES, reference_of, seen

NAMES = [str(place) for place in range(CLASSES)]
REFERENCE = reference_of(seen(300, np.random.default_rng(0)))


def test_a_reference_is_the_same_again(tmp_path: Path) -> None:
    save_reference(tmp_path / "r.json", REFERENCE, NAMES)
    assert load_reference(tmp_path / "r.json", NAMES) == REFERENCE
    assert (tmp_path / "r.json").stat().st_size < 1000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["a", "b"]}, r"is a reference of 2 other classes \(a, b\), the network has 10 \(0, 1, 2, 3, …\)"),
        ({"classes": None}, "of 0 other classes"),
        ({"classes": NAMES[::-1]}, "of 10 other classes"),
        ({"format": "x"}, "expected what `save_reference` wrote"),
        ({"reference": "####"}, "damaged reference"),
        ({"reference": "AAAA"}, "damaged reference: its reference is too short"),
        ({"reference": 5}, "damaged reference"),
        ({"more": 5}, "it has the fields classes, format, more, reference"),
    ],
)
def test_other_references_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    save_reference(tmp_path / "r.json", REFERENCE, NAMES)
    fields = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps({**fields, **change}))
    with pytest.raises(DataError, match=words):
        load_reference(tmp_path / "r.json", NAMES)


@pytest.mark.parametrize("content", [b"", b'{"format": "slt', b"\xff", b"[1]"])
def test_files_of_something_else_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(DataError, match=r"r\.json is no reference"):
        load_reference(tmp_path / "r.json", NAMES)
    with pytest.raises(DataError, match="cannot read the reference"):
        load_reference(tmp_path / "none.json", NAMES)
