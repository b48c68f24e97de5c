"""`slt_compress.compare`, the front door for Python."""

from pathlib import Path
from typing import Any

import pytest

import slt_compress
from slt_compress.comparison.results import DENSE
from slt_compress.errors import UsageError


def test_a_comparison_returns_its_rows_and_writes_its_tables(tmp_path: Path) -> None:
    found = slt_compress.compare(
        "lenet-300-100",
        output=tmp_path / "grid",
        methods=["random", "crbg"],
        sparsities=[0.5, 0.9],
        seeds=1,
        max_steps=5,
    )
    assert found.is_complete
    assert [row.method for row in found.rows] == ["random", "random", "crbg", "crbg", DENSE]
    page = (tmp_path / "grid" / "results.md").read_text()
    assert "```python\nslt_compress.compare('lenet-300-100', 'digits'," in page
    again = slt_compress.compare(
        "lenet-300-100", output=tmp_path / "grid", methods=["random"], sparsities=[0.9], seeds=1, max_steps=5
    )
    assert [row.digest for row in again.rows if row.method != DENSE] == [found.rows[1].digest]


def test_several_networks_are_compared_at_sizes_of_a_file(tmp_path: Path) -> None:
    found = slt_compress.compare(
        ["lenet-300-100", "lenet-5"],
        output=tmp_path / "sizes",
        methods=["random"],
        bytes=[5_000, 9_000],
        seeds=1,
        dense=False,
    )
    assert isinstance(found, slt_compress.FrontierResult)
    assert list(found.models) == ["lenet-300-100", "lenet-5"]
    assert [point.summary.max_bytes for point in found.points] == [5_000, 9_000]
    assert all(
        row.max_bytes is not None and row.bytes <= row.max_bytes
        for result in found.models.values()
        for row in result.rows
    )
    assert "slt_compress.compare(['lenet-300-100', 'lenet-5']," in (tmp_path / "sizes/frontier.md").read_text()


def test_checkpoints_are_kept_by_the_folder(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"methods": ["crbg"], "sparsities": [0.9], "seeds": 1, "dense": False, "max_steps": 6}
    plain = slt_compress.compare("lenet-300-100", output=tmp_path / "plain", **settings)
    kept = slt_compress.compare("lenet-300-100", output=tmp_path / "kept", checkpoint_every=2, **settings)
    assert [row.digest for row in kept.rows] == [row.digest for row in plain.rows]


@pytest.mark.parametrize("model", [[], ["lenet-5", "lenet-5"], ["lenet-5", 3], None])
def test_networks_are_named_once(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^(a comparison is one of networks by name|a network is named twice)"):
        slt_compress.compare(model, output=tmp_path / "grid", methods=["random"], sparsities=[0.5])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": "crbg"}, r"^`methods` must be a list of names, got the string 'crbg'$"),
        ({"sparsity": 0.5}, r"^'sparsity' differs from run to run; give `methods`, `sparsities` and `seeds`$"),
        ({"seed": 1}, r"^'seed' differs from run to run"),
        ({"sparsities": [1.0]}, r"^`sparsities` must be numbers of at least 0 and below 1, got 1$"),
        ({"checkpoint_every": 0}, r"^`checkpoint_every` must be a whole number of at least 1, got 0$"),
        ({"bytes": [2_000]}, r"^give `sparsities` or `bytes`, not both$"),
        ({"bytes": ["30KB"], "sparsities": []}, r"^`bytes` must be whole numbers of at least 1, got '30KB'$"),
        ({"shard": "3/2"}, r"^`shard` must be I/N with I from 1 to N, such as 1/4, got '3/2'$"),
    ],
)
def test_a_comparison_refuses_what_it_would_ignore(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"methods": ["crbg"], "sparsities": [0.5], **settings}
    with pytest.raises(UsageError, match=message):
        slt_compress.compare("lenet-300-100", output=tmp_path / "grid", **arguments)
    assert not list(tmp_path.iterdir())
