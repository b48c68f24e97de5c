"""The search loop: what it finds, that it is repeatable, and that reporting has no influence."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from slt_compress import data
from slt_compress.errors import UsageError
from slt_compress.models import build, resolve
from slt_compress.network import FlatNetwork
from slt_compress.pictures import Batch, TensorSplit, hold_out
from slt_compress.search import Budget, Clock, Found, Progress, forward, recalibrate, search

CPU = torch.device("cpu")
DIGITS = data.open_dataset("digits", None)
TRAIN, VALIDATION = hold_out(DIGITS.read("train", 8))
PREPROCESSING = DIGITS.preprocessing(8, TRAIN)


def find(
    steps: int,
    density: float = 0.1,
    seed: int = 0,
    method: str = "crbg",
    reports: list[Progress] | None = None,
    **options: str,
) -> tuple[Found, FlatNetwork]:
    spec = resolve("lenet-300-100", classes=10, channels=1, input_size=8)
    network = FlatNetwork(build(spec), seed, density, CPU)
    found = search(
        network,
        TRAIN,
        VALIDATION,
        PREPROCESSING,
        method=method,
        density=density,
        seed=seed,
        budget=Budget(steps, 256, steps / 5),
        report=None if reports is None else reports.append,
        **options,  # type: ignore[arg-type]
    )
    return found, network


def accuracy(network: FlatNetwork) -> float:
    (images, labels) = next(VALIDATION.batches(1000))
    with torch.no_grad():
        return float((network.module(PREPROCESSING(images)).argmax(1) == labels).float().mean())


def kept(found: Found) -> int:
    return sum(int(mask.sum()) for mask in found.masks.values())


def test_a_search_learns_and_a_random_mask_does_not() -> None:
    _, network = find(150)
    _, control = find(150, method="random")
    assert accuracy(network) > 0.9
    assert accuracy(control) < 0.5


def test_hardening_costs_little() -> None:
    reports: list[Progress] = []
    _, network = find(300, density=0.2, reports=reports)
    assert reports[-1].sparsity == pytest.approx(0.8, abs=0.02)
    assert accuracy(network) > reports[-1].accuracy - 0.03


@pytest.mark.parametrize("steps", [1, 5, 40])
@pytest.mark.parametrize("density", [0.02, 0.2, 0.5, 1.0])
def test_every_search_has_the_asked_sparsity_however_short(steps: int, density: float) -> None:
    found, network = find(steps, density)
    assert kept(found) == round(density * network.size)
    assert all(bool(mask.any()) for mask in found.masks.values())


def test_the_same_seed_gives_the_same_ticket_and_another_another() -> None:
    first, again, other = find(20)[0], find(20)[0], find(20, seed=1)[0]
    for name, mask in first.masks.items():
        assert torch.equal(mask, again.masks[name])
    for name, values in first.statistics.items():
        assert torch.equal(values, again.statistics[name])
    assert any(not torch.equal(mask, other.masks[name]) for name, mask in first.masks.items())


def test_reporting_does_not_change_the_result() -> None:
    reports: list[Progress] = []
    silent, watched = find(30)[0], find(30, reports=reports)[0]
    assert all(torch.equal(mask, watched.masks[name]) for name, mask in silent.masks.items())
    assert [report.step for report in reports] == list(range(1, 31))
    assert all(0 <= report.accuracy <= 1 for report in reports)


def test_no_weight_is_trained() -> None:
    found, network = find(20)
    _, fresh = find(1)
    assert torch.equal(network.weights, fresh.weights)
    for slot in network.slots:
        effective = network.module.get_parameter(slot.name)
        assert torch.equal(effective.abs(), slot.scale * found.masks[slot.name])


def test_recalibration_gives_the_statistics_of_the_data() -> None:
    _, network = find(1, density=1.0)
    first = network.module[1]  # type: ignore[index]
    recalibrate(network.module, TRAIN, PREPROCESSING, 100, torch.Generator().manual_seed(0))
    (images, _) = next(TRAIN.batches(len(TRAIN)))
    with torch.no_grad():
        hidden = network.module[0](PREPROCESSING(images))  # type: ignore[index]
        hidden = torch.nn.functional.linear(hidden, network.module.get_parameter("1.weight"))
    statistics = dict(network.module.named_buffers())
    assert first.training is False
    assert torch.allclose(statistics["2.running_mean"], hidden.mean(0), atol=0.1)
    assert torch.allclose(statistics["2.running_var"], hidden.var(0), rtol=0.2, atol=0.05)


@pytest.mark.parametrize(
    ("pictures", "epochs", "max_steps", "steps", "batch"),
    [
        (55_000, None, None, 12 * 214, 256),
        (1_294, None, None, 1000, 256),
        (55_000, 2, None, 428, 256),
        (55_000, None, 7, 7, 256),
        (100, 3, None, 3, 100),
    ],
)
def test_budgets(pictures: int, epochs: int | None, max_steps: int | None, steps: int, batch: int) -> None:
    budget = Budget.plan(pictures, 256, 12, epochs, max_steps)
    assert (budget.steps, budget.batch_size) == (steps, batch)
    assert budget.epochs == pytest.approx(steps / (pictures // batch))


def test_a_single_picture_is_no_training_split() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        Budget.plan(1, 256, 12, None, None)


def test_bf16_finds_as_good_a_ticket() -> None:
    found, network = find(150, precision="bf16")
    assert accuracy(network) > 0.9
    assert found.settings["precision"] == "bf16"
    assert all(parameter.dtype == torch.float32 for parameter in network.module.parameters())
    assert "precision" not in find(1)[0].settings


def test_bf16_multiplies_in_bfloat16_and_gives_float32_logits() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    images = torch.randn(5, 1, 8, 8)
    exact, short = (forward(module, images, precision) for precision in ("fp32", "bf16"))
    assert exact.dtype == short.dtype == torch.float32
    assert torch.equal(short, short.bfloat16().float())
    assert not torch.equal(short, exact)
    assert torch.allclose(short, exact, atol=0.05)


def test_on_a_cpu_the_channels_of_a_pixel_lie_side_by_side() -> None:
    class Layout(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.is_contiguous(memory_format=torch.channels_last)
            return images.flatten(1)

    images = torch.randn(5, 3, 8, 8)
    for precision in ("fp32", "bf16"):
        assert torch.equal(forward(Layout(), images, precision), images.flatten(1))


def test_augmented_pictures_give_another_ticket_that_says_so() -> None:
    plain, (found, network) = find(100)[0], find(100, augment="crop")
    assert found.settings["augment"] == "crop"
    assert any(not torch.equal(mask, plain.masks[name]) for name, mask in found.masks.items())
    assert accuracy(network) > 0.8


def test_the_clock_does_not_count_what_watching_takes() -> None:
    clock = Clock(5.0)
    with clock.stopped():
        time.sleep(0.2)
    assert 5.0 <= clock.seconds() < 5.15


def test_a_report_looks_at_no_more_pictures_than_a_step() -> None:
    seen = []

    class Watched(TensorSplit):
        def batches(self, batch_size: int, **options: Any) -> Iterator[Batch]:
            seen.append(batch_size)
            return super().batches(batch_size, **options)

    network = FlatNetwork(build(resolve("lenet-300-100", classes=10, channels=1, input_size=8)), 0, 0.1, CPU)
    validation = Watched(*next(VALIDATION.batches(1000)))
    search(
        network,
        TRAIN,
        validation,
        PREPROCESSING,
        method="crbg",
        density=0.1,
        seed=0,
        budget=Budget(2, 32, 0.1),
        report=lambda _: None,
    )
    assert seen == [32]
