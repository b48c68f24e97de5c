"""The dense baseline: it learns, from its seed alone, every parameter, and reporting on it changes nothing."""

import contextlib
import math

import pytest
import torch

from slt_compress.comparison import dense
from slt_compress.comparison.dense import DenseTrainer
from slt_compress.config import SearchConfig
from slt_compress.data.batches import Feed
from slt_compress.data.splits import IndexedSplit
from slt_compress.evaluation.accuracy import Classifier, Evaluation, evaluate
from slt_compress.pipeline.find import find_ticket
from slt_compress.pipeline.prepare import Prepared, prepare
from slt_compress.progress import ReportTraining, TrainingProgress
from slt_compress.pruning.network import initialise
from slt_compress.tasks.task import Task
from slt_compress.training.loop import Clock, TrainingRun, optimise
from slt_compress.training.recipes import OF_TRANSFORMERS, PLAIN
from slt_compress.training.search import GateTrainer
from tests.support.reporters import RecordingReporter


def prepared(steps: int, model: str = "lenet-300-100", batch_size: int = 256) -> Prepared:
    return prepare(model, SearchConfig(max_steps=steps, batch_size=batch_size))


def train(module: torch.nn.Module, run: TrainingRun, report: ReportTraining | None = None) -> None:
    for _ in optimise(DenseTrainer(module, run, PLAIN, 1e-2), run, Clock(), report):
        pass


def test_it_learns_and_is_measured_on_both_splits() -> None:
    trained = dense.train_dense(prepared(60), SearchConfig(), learning_rate=1e-2)
    assert trained.test.accuracy > 0.9
    assert (trained.test.samples, trained.validation.samples) == (360, 143)
    assert trained.bytes == 4 * (50_200 + 2 * 410) + 3 * 8
    assert trained.images_per_second == pytest.approx(60 * 256 / trained.seconds)


def test_the_seed_decides_everything_and_reporting_nothing() -> None:
    ready = prepared(8)
    reporter = RecordingReporter()
    configs = [SearchConfig(seed=seed) for seed in (1, 1, 2)]
    first, again, other = (dense.train_dense(ready, config, reporter, learning_rate=1e-2) for config in configs)
    assert first.test.loss == again.test.loss != other.test.loss
    assert [progress.step for progress in reporter.steps] == [*range(1, 9)] * 3
    assert {progress.sparsity for progress in reporter.steps} == {0.0}
    weights = []
    for report in (None, list[TrainingProgress]().append):
        module = ready.source.build()
        dense.initialise(module, 1)
        train(module, ready.run, report)
        weights.append(dict(module.named_parameters()))
    assert all(torch.equal(values, weights[1][name]) for name, values in weights[0].items())


def test_weights_start_with_the_variance_of_he_and_all_are_trained() -> None:
    ready = prepared(2, "resnet18", batch_size=16)
    module = ready.source.build()
    dense.initialise(module, 2**64 - 1)
    before = {name: values.clone() for name, values in module.named_parameters()}
    convolution = before["layer4.1.conv1.weight"]
    assert convolution.std().item() == pytest.approx(math.sqrt(2 / convolution[0].numel()), rel=0.01)
    assert bool((before["bn1.weight"] == 1).all())
    assert bool((before["fc.bias"] == 0).all())
    train(module, ready.run)
    assert [name for name, values in module.named_parameters() if torch.equal(values, before[name])] == []


def test_a_transformer_starts_from_the_scales_of_a_search() -> None:
    """He's variance in every layer leaves a ViT at a fifth of the digits where these scales reach nine tenths."""
    source = prepared(2, "test_vit").source
    module = source.build()
    dense.initialise(module, 3)
    expected = source.build()
    scales = initialise(expected, 3, "kaiming-normal")
    assert all(torch.equal(one, expected.get_parameter(name)) for name, one in module.named_parameters())
    second_of_branch = module.get_parameter("blocks.0.mlp.fc2.weight")
    he = math.sqrt(2 / second_of_branch[0].numel())
    assert second_of_branch.std().item() == pytest.approx(scales["blocks.0.mlp.fc2.weight"], rel=0.1)
    assert second_of_branch.std().item() < 0.9 * he


def test_the_learning_rate_falls_to_zero_along_half_a_cosine() -> None:
    run = prepared(10).run
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    trainer, rates = DenseTrainer(module, run, PLAIN, 0.4), []
    for step, (images, labels) in enumerate(run.batches(run.order())):
        trainer.step(step, images, labels)
        rates.append(trainer._optimiser.param_groups[0]["lr"])
    assert rates == [pytest.approx(0.2 * (1 + math.cos(math.pi * step / 10))) for step in range(10)]


Seen = list[tuple[int, torch.Tensor, torch.Tensor]]  # step, images, labels


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_it_sees_the_images_in_the_order_in_which_a_search_of_the_seed_sees_them(
    augment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven steps of 256 of 1,294 images: more than a pass."""
    seen: dict[str, Seen] = {"gates": [], "dense": []}

    def remember(trainer: type[GateTrainer] | type[DenseTrainer], given: Seen) -> None:
        make_step = trainer.step

        def step(self: object, step: int, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            given.append((step, images.clone(), labels.clone()))
            return make_step(self, step, images, labels)  # type: ignore[arg-type]

        monkeypatch.setattr(trainer, "step", step)

    remember(GateTrainer, seen["gates"])
    remember(DenseTrainer, seen["dense"])
    config = SearchConfig(max_steps=7, seed=3, augment=augment)
    ready = prepared(7)  # of another seed
    find_ticket("lenet-300-100", config, prepared=ready)
    dense.train_dense(ready, SearchConfig(seed=3, augment=augment), learning_rate=1e-2)
    dense.train_dense(ready, SearchConfig(seed=4, augment=augment), learning_rate=1e-2)
    gates, same, other = seen["gates"], seen["dense"][:7], seen["dense"][7:]
    assert [step for step, _, _ in gates] == [step for step, _, _ in same] == list(range(7))
    for (_, images, labels), (_, same_images, same_labels) in zip(gates, same, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)
    assert not torch.equal(gates[0][1], other[0][1])


def test_of_several_rates_the_best_on_held_out_images_counts_and_the_test_split_is_seen_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready, seen = prepared(12), list[int]()

    def remember(classifier: Classifier, split: IndexedSplit, feed: Feed, *, task: Task) -> Evaluation:
        seen.append(len(split))
        return evaluate(classifier, split, feed, task=task)

    monkeypatch.setattr(dense, "evaluate", remember)
    chosen = dense.train_dense(ready, SearchConfig())
    assert seen == [143, 143, 143, 360]
    alone = {rate: dense.train_dense(ready, SearchConfig(), learning_rate=rate) for rate in PLAIN.learning_rates}
    assert chosen.validation.metric == max(one.validation.metric for one in alone.values())
    assert chosen.test.loss == alone[chosen.learning_rate].test.loss


def test_a_transformer_is_trained_as_one() -> None:
    run = prepared(20, "test_vit").run
    trainer, rates = DenseTrainer(torch.nn.Linear(2, 2), run, OF_TRANSFORMERS, 0.4), []
    for step in range(20):
        with contextlib.suppress(RuntimeError):  # the images do not fit: the rate is set all the same
            trainer.step(step, torch.zeros(2, 3), torch.zeros(2))
        rates.append(trainer._optimiser.param_groups[0]["lr"])
    assert rates[:2] == [pytest.approx(0.2), pytest.approx(0.4 * (1 + math.cos(math.pi / 20)) / 2)]
    assert rates[2:] == sorted(rates[2:], reverse=True)
