"""What a ticket says of itself, and that it is measured as its reader gets it."""

import numpy as np
import torch

from slt_compress.config import SearchConfig
from slt_compress.pipeline.find import find_ticket
from slt_compress.pipeline.measure import evaluate_ticket, provenance, restored, settle, statistics_of
from slt_compress.pipeline.prepare import prepare
from slt_compress.progress import SILENT
from slt_compress.ticket.schema import SearchRecord

CONFIG = SearchConfig(sparsity=0.8, max_steps=3, batch_size=64)


def test_the_measured_network_is_that_of_the_file() -> None:
    prepared = prepare("lenet-300-100", CONFIG)
    ticket = find_ticket("lenet-300-100", CONFIG, prepared=prepared).ticket
    full = ticket.with_statistics({name: values * np.float32(1.0001) for name, values in ticket.statistics.items()})
    half, validation = settle(full, "fp16", prepared, SILENT)
    assert half.half_statistics
    assert validation.samples == 143
    assert evaluate_ticket("test", half, prepared, SILENT).samples == 360
    module = restored(half, prepared)
    assert all(
        torch.equal(module.get_parameter(one.name), half_weights)
        for one, half_weights in ((layer, torch.from_numpy(half.weights(layer.name))) for layer in half.layers)
    )


def test_what_is_said_of_a_ticket_is_what_was_prepared() -> None:
    prepared = prepare("lenet-300-100", CONFIG)
    module = prepared.source.build()
    said = provenance(prepared, module, SearchRecord("magnitude", 3, 64, {}), rewind_steps=2)
    assert (said.dataset, said.rewind_steps, said.method.name, said.metrics) == ("digits", 2, "magnitude", {})
    assert said.classes == list("0123456789")
    found = statistics_of(prepared, module)
    assert set(found) == {name for name in module.state_dict() if "running" in name}
