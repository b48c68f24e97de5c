"""Packing: what a reader restores is what was trained, rounded as the file rounds it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from slt_compress.models.source import own_source
from slt_compress.pipeline.measure import provenance
from slt_compress.pruning.network import initialise
from slt_compress.pruning.pack import pack_seed, pack_values, round_weights
from slt_compress.ticket.schema import SearchRecord
from slt_compress.ticket.stored import FP16, FP32
from tests.support.own import build
from tests.support.pruned import lenet_job, trained_network

RECORD = SearchRecord("magnitude", 1, 64, {})


@pytest.mark.parametrize("values", ["fp32", "fp16", "int8", "int4"])
def test_a_reader_gets_the_rounded_network(values: str) -> None:
    job = lenet_job()
    network = trained_network(job)
    network.mask = network.mask & (torch.arange(len(network.mask)) % 3 == 0)
    round_weights(network, values)
    said = provenance(job.prepared, network.module, RECORD)
    ticket = pack_values(network, job.prepared, said, job.origin, values, "auto")
    restored = ticket.restore()
    for name, parameter in network.module.named_parameters():
        assert torch.allclose(restored.get_parameter(name), parameter.detach(), atol=1e-7), name
    assert ticket.sparsity == pytest.approx(2 / 3, abs=1e-3)


@pytest.mark.parametrize(("values", "kind"), [("fp32", FP32), ("int4", FP16)])
def test_all_other_parameters_are_stored(values: str, kind: str) -> None:
    job = lenet_job()
    job = replace(job, prepared=replace(job.prepared, source=own_source(build)))
    network = trained_network(job)
    with torch.no_grad():
        for one in network.others.values():
            one.add_(0.25)
        network.others["1.weight"][0] = 1e6  # more than fp16 can hold
    ticket = pack_values(
        network, job.prepared, provenance(job.prepared, network.module, RECORD), job.origin, values, "auto"
    )
    kinds = {name: stored.type for name, stored in ticket.parameters.items()}
    assert set(kinds) == set(network.others)
    assert {name: found for name, found in kinds.items() if found != kind} == (
        {"1.weight": FP32} if kind == FP16 else {}
    )
    applied = ticket.apply_to(build())
    assert torch.equal(applied.get_parameter("5.bias"), network.others["5.bias"].detach())


def test_a_mask_on_the_weights_of_a_seed_needs_no_values() -> None:
    job = lenet_job(seed=5)
    network = trained_network(job, seed=5)
    module = job.prepared.source.build()
    scales = initialise(module, 5, "kaiming-normal")
    network.mask = network.mask & (torch.arange(len(network.mask)) % 2 == 0)
    said = provenance(job.prepared, network.module, RECORD)
    ticket = pack_seed(network, job.prepared, said, job.origin, scales, "auto")
    assert ticket.values_bytes == 0
    kept, weights = network.mask_arrays(), network.weight_arrays()
    for layer in ticket.layers:
        assert (ticket.mask(layer.name) == kept[layer.name]).all()
        assert (ticket.weights(layer.name) == np.where(kept[layer.name], weights[layer.name], 0)).all()
