"""MACs against counts made by hand."""

import torch
from torch import nn

from slt_compress.structure.macs import count_macs


def test_convolutions_and_linear_layers_are_counted_for_one_example() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    for batch in (1, 3):
        assert count_macs(net, (torch.zeros(batch, 4, 4, 4),)) == 16 * 8 * 2 * 9 + 128 * 5
    assert not net.training


def test_attention_is_counted() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    macs = 6 * (16 * 48 + 16 * 16 + 2 * 16 * 32) + 2 * 6 * 6 * 16
    assert count_macs(layer, (torch.zeros(2, 6, 16),)) == macs


def test_several_inputs() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 5), nn.Linear(4, 5)

        def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return torch.add(self.first(one), self.second(other))

    assert count_macs(Both(), (torch.zeros(2, 3), torch.zeros(2, 4))) == 3 * 5 + 4 * 5
