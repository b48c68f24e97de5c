"""Rounding in training: what a ticket stores."""

import numpy as np
import pytest
import torch

from slt_compress.pruning.quantise import round_rows
from slt_compress.ticket.stored import StoredWeights


@pytest.mark.parametrize("values", ["int8", "int4"])
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 2)])
def test_it_rounds_as_a_ticket_does(values: str, shape: tuple[int, ...]) -> None:
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weights[1] = 0
    mask = np.ones(shape, np.bool_)
    stored = torch.from_numpy(StoredWeights.of(weights.numpy(), mask, values).weights(mask))
    rounded = round_rows(weights, values)
    lost, lost_there = (float((one - weights).square().sum()) for one in (rounded, stored))
    assert lost == pytest.approx(lost_there, rel=1e-3)
    same = torch.isclose(rounded, stored, atol=1e-6)
    assert float(same.float().mean()) > 0.9  # the error of two scales may be equal but for rounding
    assert torch.equal(rounded[1], weights[1])
