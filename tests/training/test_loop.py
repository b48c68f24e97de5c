"""The loop that gates and dense weights share: budgets, batches, arithmetic, reports and the clock."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from slt_compress.data.splits import Batch, TensorSplit
from slt_compress.errors import UsageError
from slt_compress.progress import TrainingProgress
from slt_compress.training import loop
from slt_compress.training.loop import Budget, Clock, forward, optimise, peek, torch_seed
from tests.support.digits import CPU, PREPROCESSING, TRAIN, VALIDATION, lenet, training_run


class CountingTrainer:
    """Trains nothing; remembers its steps and counts how often it is asked to show itself."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.seen: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        self.shown = 0

    def step(self, step: int, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert self.module.training
        self.seen.append((step, images, labels))
        return torch.tensor(float(step))

    def show(self) -> float:
        self.shown += 1
        return 0.25


@pytest.mark.parametrize(
    ("images", "epochs", "max_steps", "steps", "batch"),
    [
        (55_000, None, None, 12 * 214, 256),
        (1_294, None, None, 1000, 256),
        (55_000, 2, None, 428, 256),
        (55_000, None, 7, 7, 256),
        (100, 3, None, 3, 100),
    ],
)
def test_budgets(images: int, epochs: int | None, max_steps: int | None, steps: int, batch: int) -> None:
    budget = Budget.plan(images, 256, epochs, max_steps)
    assert (budget.steps, budget.batch_size) == (steps, batch)
    assert budget.epochs == pytest.approx(steps / (images // batch))


def test_a_single_image_is_no_training_split() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        Budget.plan(1, 256, None, None)


@pytest.mark.parametrize("first", [0, 1, 4, 5, 6, 12])
def test_the_images_come_in_the_order_they_would_have(first: int) -> None:
    run = training_run(12, seed=1, augment="crop")
    whole, order = run.order(), run.order()
    wanted = list(run.batches(whole))[first:]
    given = list(run.batches(order, first))
    assert len(given) == len(wanted)
    for batch, wanted_batch in zip(given, wanted, strict=True):
        assert all(map(torch.equal, batch, wanted_batch))
    if first < 12:
        assert torch.equal(whole.get_state(), order.get_state())


def test_batches_are_passes_over_all_images_each_in_a_new_order_of_the_seed() -> None:
    """Digits come in another order at each pass; 1,294 images make five batches of 256, of which 14 are left over."""
    run = training_run(10, seed=3)
    twin = torch.Generator().manual_seed(3)
    orders = torch.cat([torch.randperm(len(TRAIN), generator=twin)[: 5 * 256] for _ in range(2)])
    expected = TRAIN.take(orders).batches(256)
    for (images, labels), (raw, truth) in zip(run.batches(run.order()), expected, strict=True):
        assert torch.equal(images, PREPROCESSING(raw))
        assert torch.equal(labels, truth)


def test_the_loop_counts_its_steps_from_where_it_starts() -> None:
    trainer, run = CountingTrainer(nn.Sequential()), training_run(7, batch_size=100)
    assert list(optimise(trainer, run, Clock(), first=3)) == [4, 5, 6, 7]
    assert [step for step, _, _ in trainer.seen] == [3, 4, 5, 6]
    assert trainer.shown == 0
    for (_, images, labels), batch in zip(trainer.seen, list(run.batches(run.order()))[3:], strict=True):
        assert torch.equal(images, batch[0])
        assert torch.equal(labels, batch[1])


@pytest.mark.parametrize(
    ("steps", "reported"), [(30, [*range(1, 31)]), (250, [*range(2, 251, 2)]), (205, [*range(2, 205, 2), 205])]
)
def test_a_run_reports_about_a_hundred_times_and_at_its_end(steps: int, reported: list[int]) -> None:
    trainer, reports = CountingTrainer(lenet().module), list[TrainingProgress]()
    for _ in optimise(trainer, training_run(steps, batch_size=2), Clock(), reports.append):
        pass
    assert [progress.step for progress in reports] == reported
    assert trainer.shown == len(reported)
    assert all((progress.steps, progress.sparsity) == (steps, 0.25) for progress in reports)
    assert [progress.loss for progress in reports] == [step - 1 for step in reported]
    assert all(progress.metric is not None and 0 <= progress.metric <= 1 for progress in reports)
    assert all(progress.images_per_second > 0 for progress in reports)


def test_a_single_image_shows_no_metric() -> None:
    """The network is normalised by the images that are shown: there must be two."""
    images, labels = next(VALIDATION.batches(1000))
    for count, kind in ((1, type(None)), (2, float)):
        reports = list[TrainingProgress]()
        run = training_run(2, batch_size=32, validation=TensorSplit(images[:count], labels[:count]))
        for _ in optimise(CountingTrainer(lenet().module), run, Clock(), reports.append):
            pass
        assert [type(progress.metric) for progress in reports] == [kind, kind]


def test_a_network_that_takes_no_such_batch_shows_no_metric() -> None:
    class Picky(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.get_buffer("seen").add_(1)
            raise ValueError(f"a batch of 32, please, not {len(images)}")

    module = Picky()
    assert peek(module, next(VALIDATION.batches(5)), training_run(1)) is None
    assert module.get_buffer("seen").item() == 0


def test_a_report_looks_at_no_more_images_than_a_step() -> None:
    seen = []

    class Recorded(TensorSplit):
        def batches(self, batch_size: int, **options: Any) -> Iterator[Batch]:
            seen.append(batch_size)
            return super().batches(batch_size, **options)

    validation = Recorded(*next(VALIDATION.batches(1000)))
    trainer = CountingTrainer(lenet().module)
    for _ in optimise(trainer, training_run(2, batch_size=32, validation=validation), Clock(), lambda _: None):
        pass
    assert seen == [32]


def test_peeking_uses_the_statistics_of_the_batch_and_leaves_those_that_run_alone() -> None:
    module = lenet(1.0).module.train()
    before = {name: buffer.clone() for name, buffer in module.named_buffers() if buffer.is_floating_point()}
    batch = next(VALIDATION.batches(143))
    found = peek(module, batch, training_run(1))
    assert all(torch.equal(values, module.get_buffer(name)) for name, values in before.items())
    assert module.training
    with torch.no_grad():
        predictions = module(PREPROCESSING(batch[0])).argmax(1)
    assert found == pytest.approx(float((predictions == batch[1]).float().mean()))
    assert not torch.equal(before["2.running_mean"], module.get_buffer("2.running_mean"))  # as a step would


def test_bf16_multiplies_in_bfloat16_and_gives_float32_logits() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    images = torch.randn(5, 1, 8, 8)
    exact, short = (forward(module, images, precision) for precision in ("fp32", "bf16"))
    assert exact.dtype == short.dtype == torch.float32
    assert torch.equal(short, short.bfloat16().float())
    assert not torch.equal(short, exact)
    assert torch.allclose(short, exact, atol=0.05)


def test_bf16_computes_with_the_present_weights_inside_another_autocast() -> None:
    module = torch.nn.Linear(64, 10)
    images = torch.randn(5, 64)
    with torch.autocast("cpu", enabled=False):
        before = forward(module, images, "bf16")
        for parameter in module.parameters():
            parameter.data.neg_()
        after = forward(module, images, "bf16")
    assert torch.equal(after, -before)


def test_on_a_cpu_the_channels_of_a_pixel_lie_side_by_side() -> None:
    class Layout(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.is_contiguous(memory_format=torch.channels_last)
            return images.flatten(1)

    images = torch.randn(5, 3, 8, 8, device=CPU)
    for precision in ("fp32", "bf16"):
        assert torch.equal(forward(Layout(), images, precision), images.flatten(1))


def test_the_clock_does_not_count_what_showing_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now))
    clock = Clock(5.0)
    now = 103.0
    assert clock.seconds() == 8.0
    with clock.stopped():
        now = 150.0
    assert clock.seconds() == 8.0
    now = 151.0
    assert clock.seconds() == 9.0


def test_what_is_not_the_default_of_a_run_is_told() -> None:
    assert training_run(1).unusual_settings() == {}
    assert training_run(1, augment="crop").unusual_settings() == {"augment": "crop"}
    assert training_run(1, precision="bf16").unusual_settings() == {"precision": "bf16"}


@pytest.mark.parametrize("seed", [0, 5, 2**63 - 1, 2**63, 2**64 - 1])
def test_torch_takes_every_seed_and_each_gives_its_own_numbers(seed: int) -> None:
    assert -(2**63) <= torch_seed(seed) < 2**63
    assert torch_seed(seed) % 2**64 == seed
    torch.Generator().manual_seed(torch_seed(seed))
