"""The dense yardstick: it learns, from its seed alone, every parameter, and watching it changes nothing."""

import math

import pytest
import torch

from slt_compress import dense, jobs, models
from slt_compress.search import Course, Progress
from tests.test_jobs import Diary


def prepared(steps: int, model: str = "lenet-300-100", batch_size: int = 256) -> jobs.Prepared:
    return jobs.prepare(jobs.Request(model, "digits", 0.1, max_steps=steps, batch_size=batch_size), Diary())


def test_it_learns_and_is_measured_on_both_splits() -> None:
    trained = dense.train_dense(prepared(60), 0, Diary())
    assert trained.test.accuracy > 0.9
    assert (trained.test.samples, trained.validation.samples) == (360, 143)
    assert trained.bytes == 4 * (50_200 + 2 * 410) + 3 * 8
    assert trained.images_per_second == pytest.approx(60 * 256 / trained.seconds)


def test_the_seed_decides_everything_and_watching_nothing() -> None:
    ready = prepared(8)
    diary = Diary()
    first, again, other = (dense.train_dense(ready, seed, diary) for seed in (1, 1, 2))
    assert first.test.loss == again.test.loss != other.test.loss
    assert [progress.step for progress in diary.steps] == [*range(1, 9)] * 3
    course = Course(ready.budget, ready.preprocessing)
    weights = []
    for report in (None, list[Progress]().append):
        module = models.build(ready.spec)
        dense.initialise(module, 1)
        dense.optimise(module, ready.train, ready.validation, course, 1, report)
        weights.append(dict(module.named_parameters()))
    assert all(torch.equal(values, weights[1][name]) for name, values in weights[0].items())


def test_weights_start_with_the_variance_of_he_and_all_are_trained() -> None:
    ready = prepared(2, "resnet18", batch_size=16)
    module = models.build(ready.spec)
    dense.initialise(module, 2**64 - 1)
    before = {name: values.clone() for name, values in module.named_parameters()}
    convolution = before["layer4.1.conv1.weight"]
    assert convolution.std().item() == pytest.approx(math.sqrt(2 / convolution[0].numel()), rel=0.01)
    assert bool((before["bn1.weight"] == 1).all())
    assert bool((before["fc.bias"] == 0).all())
    dense.optimise(module, ready.train, ready.validation, Course(ready.budget, ready.preprocessing), 0)
    assert [name for name, values in module.named_parameters() if torch.equal(values, before[name])] == []
