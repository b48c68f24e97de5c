"""Names of data sets of Hugging Face. What `open_hub` makes of them is tested with it."""

from pathlib import Path

import pytest

from slt_compress.data.reference import Reference, parse
from slt_compress.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:mnist", Reference("mnist")),
        ("hf:user/some-set", Reference("user/some-set")),
        ("hf:x#train,validation", Reference("x", ("train", "validation"))),
        ("hf:x#all", Reference("x", ("all",))),
        ("hf:x# a , b , image = photo ", Reference("x", ("a", "b"), {"image": "photo"})),
        (
            "hf:/a/b#label=kind,config=small,revision=v1",
            Reference("/a/b", (), {"label": "kind", "config": "small", "revision": "v1"}),
        ),
    ],
)
def test_names_are_read(text: str, expected: Reference) -> None:
    assert parse(text) == expected


def test_a_folder_may_be_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a#b").mkdir()
    assert parse("hf:~/a#b").path == tmp_path / "a#b"
    assert parse("hf:~/set#all") == Reference("~/set", ("all",))
    assert parse("hf:~/set#all").path == tmp_path / "set"
    with pytest.raises(UsageError, match=r"^~nobody-of-this-name/x begins with ~ and there is no home folder"):
        _ = parse("hf:~nobody-of-this-name/x").path
