"""A search for a size: the file is never larger, and nearly as large."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import slt_compress
from slt_compress.config import SearchConfig
from slt_compress.errors import UnreachableError, UsageError
from slt_compress.methods.registry import METHODS
from slt_compress.pipeline.find import find_ticket
from slt_compress.prng import Freeze
from slt_compress.training.checkpoint import Checkpoints
from tests.support.reporters import RecordingReporter

LENET = "lenet-300-100"
QUICK: dict[str, Any] = {"max_steps": 12, "batch_size": 64}


def plain_network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 120), nn.ReLU(), nn.Linear(120, 60), nn.ReLU(), nn.Linear(60, 3))


def config(**changes: Any) -> SearchConfig:
    method = changes.get("method", "crbg")
    return SearchConfig(**{**(QUICK if METHODS[method].optimises else {}), **changes})


@pytest.mark.parametrize(
    ("limit", "changes"),
    [
        (3_600, {}),
        (5_000, {}),
        (8_000, {}),
        (3_600, {"method": "edge-popup"}),
        (5_000, {"method": "edge-popup", "options": {"scope": "layer"}}),
        (8_000, {"method": "continuous-sparsification"}),
        (5_000, {"method": "crbg", "recipe": "paper"}),
        (5_000, {"method": "random"}),
        (4_500, {"freeze": Freeze(0.5, 0.02)}),
        (9_000, {"reference": True, "statistics": "fp32"}),
        (5_000, {"codec": "rice", "seed": 2**64 - 1}),
    ],
    ids=str,
)
def test_the_file_is_filled_and_never_larger(limit: int, changes: dict[str, Any]) -> None:
    found = find_ticket(LENET, config(max_bytes=limit, **changes)).ticket
    assert 0.95 * limit <= len(found.to_bytes()) <= limit
    assert min(layer.kept for layer in found.layers) >= 1


def test_a_file_that_cannot_be_filled_has_half_of_its_gates_open_and_it_is_said() -> None:
    reporter = RecordingReporter()
    found = find_ticket("lenet-5", config(max_bytes=100_000), reporter).ticket
    assert found.sparsity == pytest.approx(0.5, abs=1e-3)
    told = next(note for note in reporter.notes if note.startswith("the file cannot use 100,000 bytes"))
    about = int(told.rsplit(" ", 1)[1].replace(",", ""))
    assert 0.97 * about <= len(found.to_bytes()) <= about


def test_the_smallest_possible_size_is_named_and_can_be_had() -> None:
    with pytest.raises(
        UnreachableError, match=r"`max_bytes=1000` cannot be reached: .* the file has [\d,]+ bytes"
    ) as error:
        find_ticket(LENET, config(max_bytes=1_000))
    smallest = int(str(error.value).split("the file has ")[1].split(" ")[0].replace(",", ""))
    assert len(find_ticket(LENET, config(max_bytes=smallest)).ticket.to_bytes()) <= smallest
    with pytest.raises(UnreachableError, match="cannot be reached"):
        find_ticket(LENET, config(max_bytes=smallest - 1))


def test_an_own_network_without_norms_is_filled_too() -> None:
    images = torch.rand(200, 1, 8, 8)
    labels = torch.arange(200) % 3
    data = torch.utils.data.TensorDataset(images, labels)
    result = slt_compress.search(plain_network, train=data, test=data, max_bytes=3_000, max_steps=6, batch_size=50)
    assert 2_850 <= len(result.ticket.to_bytes()) <= 3_000
    assert result.ticket.apply_to(plain_network())(images[:2]).shape == (2, 3)


def test_a_small_file_of_many_tensors_is_filled_too() -> None:
    """Most of it is header, whose numbers have fewer digits than those of masks that are not coded."""

    def deep_network() -> nn.Module:
        hidden = [layer for _ in range(12) for layer in (nn.ReLU(), nn.Linear(320, 320))]
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 320), *hidden, nn.Linear(320, 10))

    result = slt_compress.search(deep_network, max_bytes=3_300, max_steps=1)
    assert 0.95 * 3_300 <= len(result.ticket.to_bytes()) <= 3_300


def test_a_resumed_search_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = find_ticket(LENET, config(max_bytes=5_000)).ticket
    kept = Checkpoints(tmp_path / "ckpt", every=7)  # after the first new aim
    find_ticket(LENET, config(max_bytes=5_000), checkpoints=kept)
    resumed = find_ticket(LENET, config(max_bytes=5_000), checkpoints=Checkpoints(kept.folder, resume=True)).ticket
    assert resumed.to_bytes() == whole.to_bytes()
    with pytest.raises(UsageError, match=r"belongs to another search: its density is"):
        find_ticket(LENET, config(max_bytes=6_000), checkpoints=Checkpoints(kept.folder, resume=True))


def test_two_targets_are_refused() -> None:
    with pytest.raises(UsageError, match="give `sparsity` or `max_bytes`, not both"):
        slt_compress.search(LENET, sparsity=0.8, max_bytes=4_000)
