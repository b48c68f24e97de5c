"""Probes survive JSON, are read strictly, take few bytes, and can be made again by another program."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from examples.edge import check
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.errors import TicketError
from slt_compress.tasks.record import TensorRecord
from slt_compress.ticket.probes import PROBES, Probes, probe_inputs
from slt_compress.ticket.record import NetworkRecord
from tests.support.documents import rich_ticket, small_ticket


def probes(*sizes: int, tolerance: float | None = None) -> Probes:
    random = np.random.default_rng(0)
    found = Probes.of([[random.standard_normal((1, size)) for size in sizes] for _ in range(PROBES)], tolerance)
    assert found
    return found


def test_few_values_are_kept_and_survive_json() -> None:
    for one in (probes(10), probes(1000), probes(3, 5, 200_000, tolerance=0.06)):
        stored = json.dumps(one.to_json(), separators=(",", ":"))
        assert Probes.from_json(json.loads(stored)) == one
        assert len('"probes":,') + len(stored) <= 300
        assert all(kept for output in one.outputs for kept in output.values)


def test_outputs_that_are_no_numbers_are_not_recorded() -> None:
    assert Probes.of([[np.array([[1.0, np.nan]])]] * PROBES) is None


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": 1},
        {"outputs": [{"largest": 1.0}]},
        {"outputs": [{"largest": 1.0, "values": [[1.0]]}]},
        {"outputs": [{"largest": "1", "values": [[1.0], [1.0]]}]},
        {"outputs": [{"largest": 1.0, "values": [[float("nan")], [1.0]]}]},
        {"tolerance": True},
        {"more": 1},
    ],
)
def test_a_record_is_read_with_and_without_probes_and_no_others(change: dict[str, Any]) -> None:
    record = NetworkRecord.of(small_ticket())
    stored = record.to_json() | {"probes": probes(2).to_json()}
    assert NetworkRecord.from_json(stored) == record == NetworkRecord.from_json(record.to_json())
    with pytest.raises(TicketError, match="as 'probes'"):
        NetworkRecord.from_json(stored | {"probes": stored["probes"] | change})


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_check_makes_the_same_inputs(seed: int) -> None:
    """Of images, as pixels and normalised, and of tensors of any kind."""
    images = Preprocessing(5, 3, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
    own = tuple(TensorRecord(shape, kind) for shape, kind in (((7,), "int64"), ((), "float32"), ((2, 3), "bool")))
    for record in (
        replace(NetworkRecord.of(small_ticket()), seed=seed, preprocessing=images),
        replace(NetworkRecord.of(rich_ticket()), seed=seed, inputs=own),
    ):
        made = probe_inputs(seed, record.inputs, record.preprocessing)
        for kind in ("pixels", "normalised") if record.preprocessing else ("normalised",):
            fields = {**record.to_json(), "input": kind, "probes": probes(2).to_json()}
            for mine, theirs in zip(made, check.inputs(fields), strict=True):
                if record.preprocessing:
                    pixels = mine[0].transpose(0, 2, 3, 1)
                    mean, std = (np.array(values, np.float32) for values in (images.mean, images.std))
                    normalised = ((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
                    mine = [pixels if kind == "pixels" else normalised]
                assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert len({arrays[0].tobytes() for arrays in probe_inputs(seed, (TensorRecord((99,)),), None)}) == PROBES
