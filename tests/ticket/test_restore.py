"""From a ticket back to a network: every value is regenerated, whatever the state of the libraries' generators."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slt_compress import prng
from slt_compress.errors import TicketError
from slt_compress.ticket.ticket import Ticket

_STATE_DIGEST = """
import hashlib, sys, torch
from slt_compress import Ticket
torch.manual_seed(int(sys.argv[2]))
module = Ticket.load(sys.argv[1]).restore()
sha = hashlib.sha256()
for name, tensor in module.state_dict().items():
    sha.update(name.encode() + tensor.numpy().tobytes())
print(sha.hexdigest())
"""


def test_weights_are_sign_times_scale_times_mask(ticket: Ticket) -> None:
    module = ticket.restore()
    assert not module.training
    for layer in ticket.layers:
        found = module.get_parameter(layer.name).detach().numpy()
        bits = np.unpackbits(prng.sign_bits(ticket.seed, layer.name, layer.size), bitorder="little")[: layer.size]
        signs = 1 - 2 * bits.astype(np.float32).reshape(layer.shape)
        assert np.array_equal(found, signs * np.float32(layer.scale) * ticket.mask(layer.name))
    for name, values in ticket.statistics.items():
        assert np.array_equal(module.get_buffer(name).numpy().ravel(), values)


def test_processes_with_other_global_seeds_agree_bit_for_bit(searched: tuple[Path, dict[str, Any]]) -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _STATE_DIGEST, str(searched[0]), str(seed)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(digests) == 1


def test_nothing_is_left_to_the_library(ticket: Ticket, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every fresh tensor full of NaN, the restored network has none."""
    empty = torch.empty

    def poisoned(*args: Any, **kwargs: Any) -> torch.Tensor:
        tensor = empty(*args, **kwargs)
        return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch, "empty", poisoned)
    state = ticket.restore().state_dict()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_another_architecture_is_refused(ticket: Ticket) -> None:
    with pytest.raises(TicketError, match="differs from the network of the ticket"):
        replace(ticket, provenance=replace(ticket.provenance, architecture="0" * 64)).restore()


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"])
def test_trained_weights_are_out_of_reach(ticket: Ticket, name: str) -> None:
    model = replace(ticket.provenance.model, builder="timm", name=name)
    with pytest.raises(TicketError, match="cannot be built: unknown model"):
        replace(ticket, provenance=replace(ticket.provenance, model=model)).restore()


def test_layers_and_statistics_must_be_the_networks(ticket: Ticket) -> None:
    with pytest.raises(TicketError, match=r"layers of the ticket are not those of lenet-300-100: 7\.weight"):
        replace(ticket, layers=ticket.layers[:-1]).restore()
    with pytest.raises(TicketError, match="statistics of the ticket"):
        replace(ticket, statistics={}).restore()
