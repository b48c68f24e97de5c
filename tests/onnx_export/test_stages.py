"""Weights in stages: each group waits for the one before, and the file computes what it does in one stage."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from slt_compress.onnx_export import stages
from slt_compress.onnx_export.export import export
from slt_compress.onnx_export.weight_functions import DOMAIN, TABLE
from tests.support.tickets import make_ticket


@pytest.mark.parametrize("lengths", [[], [5], [1] * 40, [100, 1, 1, 1], [3, 50, 20, 50, 7, 9, 11, 50, 2]])
def test_groups_are_even_and_few(lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "_WORTH_IT", 1)
    nodes = [
        helper.make_node("RawSigns", [TABLE], [str(index)], domain=DOMAIN, shape=[length, 3])
        for index, length in enumerate(lengths)
    ]
    groups = stages._groups(nodes)
    assert sorted(node.output[0] for group in groups for node in group) == sorted(node.output[0] for node in nodes)
    assert len(groups) <= stages.MOST_STAGES
    most = max(sum(map(stages._weights, group)) for group in groups) if groups else 0
    assert most <= 3 * (max(lengths, default=0) + sum(lengths) / stages.MOST_STAGES)


def test_a_file_in_stages_is_exact_and_all_of_it_is_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`export` itself checks that nothing but the dense graph is left."""
    monkeypatch.setattr(stages, "_WORTH_IT", 1)
    ticket = make_ticket("lenet-300-100", 0.2, size=8)
    staged = export(ticket.restore(), ticket, tmp_path / "staged.onnx")
    assert staged.bit_identical_to_dense
    kinds = [node.op_type for node in onnx.load(tmp_path / "staged.onnx").graph.node]
    assert kinds.count("If") == kinds.count("Shape") == 1


def test_small_networks_are_left_alone() -> None:
    node = helper.make_node("RawSigns", [TABLE], ["w"], domain=DOMAIN, shape=[100, 100])
    graph = helper.make_graph([helper.make_node("Table", [], [TABLE], domain=DOMAIN), node, node], "g", [], [])
    model = helper.make_model(graph)
    before = model.SerializeToString()
    stages.stage(model)
    assert model.SerializeToString() == before
