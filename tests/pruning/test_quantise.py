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
    stored = StoredWeights.of(weights.numpy(), mask, values).weights(mask)
    assert np.allclose(round_rows(weights, values).numpy(), stored, atol=1e-7)
