"""The statistics of a finished network are those of the data, and of nothing that a search has left behind."""

import pytest
import torch
from torch import nn

from slt_compress.data.splits import TensorSplit
from slt_compress.training import batchnorm
from slt_compress.training.batchnorm import recalibrate
from tests.support.digits import PREPROCESSING, TRAIN, lenet


def test_recalibration_gives_the_statistics_of_the_data() -> None:
    network = lenet(1.0)
    norm = network.module[2]  # type: ignore[index]
    norm.running_mean.fill_(7.0)  # what a search has left behind
    norm.num_batches_tracked.fill_(5)
    momentum = norm.momentum
    recalibrate(network.module.train(), TRAIN, PREPROCESSING, 100, torch.Generator().manual_seed(0))
    (images, _) = next(TRAIN.batches(len(TRAIN)))
    with torch.no_grad():
        hidden = network.module[0](PREPROCESSING(images))  # type: ignore[index]
        hidden = torch.nn.functional.linear(hidden, network.module.get_parameter("1.weight"))
    statistics = dict(network.module.named_buffers())
    assert not any(layer.training for layer in network.module.modules())
    assert torch.allclose(statistics["2.running_mean"], hidden.mean(0), atol=0.1)
    assert torch.allclose(statistics["2.running_var"], hidden.var(0), rtol=0.2, atol=0.05)
    assert statistics["2.num_batches_tracked"] == 0
    assert norm.momentum == momentum


def test_the_generator_alone_decides_which_images_come_together() -> None:
    found = []
    for seed in (0, 0, 1):
        network = lenet(0.3)
        recalibrate(network.module, TRAIN, PREPROCESSING, 100, torch.Generator().manual_seed(seed))
        found.append(network.module.get_buffer("2.running_var").clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.allclose(found[0], found[2], rtol=0.05)


def test_no_more_images_are_looked_at_than_need_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchnorm, "RECALIBRATION_EXAMPLES", 70)
    module = nn.Sequential(nn.BatchNorm2d(1))
    sizes: list[int] = []
    module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    recalibrate(module, TRAIN, PREPROCESSING, 32, torch.Generator().manual_seed(0))
    assert sizes == [32, 32]  # whole batches
    sizes.clear()
    few = TensorSplit(*next(TRAIN.batches(10)))
    recalibrate(module, few, PREPROCESSING, 32, torch.Generator().manual_seed(0))
    assert sizes == [10]


def test_a_network_without_statistics_sees_no_image_and_ends_in_evaluation_mode() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).train()
    calls: list[object] = []
    module.register_forward_pre_hook(lambda *_: calls.append(None))
    recalibrate(module, TRAIN, PREPROCESSING, 100, torch.Generator().manual_seed(0))
    assert not calls
    assert not module.training


class _Level(nn.Module):
    """Has a buffer of its own, which changes in training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.get_buffer("level").add_(inputs.mean())
        return inputs


@pytest.mark.parametrize("batches", [0, 2])
def test_what_fails_leaves_the_buffers_as_they_were(batches: int) -> None:
    module = nn.Sequential(_Level(), nn.BatchNorm2d(1)).train()
    module(PREPROCESSING(next(TRAIN.batches(100))[0]))
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    left = iter(range(batches))

    def feed(inputs: torch.Tensor) -> torch.Tensor:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return PREPROCESSING(inputs)

    with pytest.raises(KeyboardInterrupt):
        recalibrate(module, TRAIN, feed, 100, torch.Generator().manual_seed(0))
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
    assert module[1].momentum == 0.1
    assert not module.training
