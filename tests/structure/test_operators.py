"""Operators by name: what is known of one is known of all its forms."""

import pytest
import torch

from slt_compress.structure import operators
from slt_compress.structure.rewrite_rules import RULES

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (aten.relu.default, "relu"),
        (aten.relu_.default, "relu"),
        (aten.add_.Tensor, "add"),
        (aten.mean.dim, "mean"),
        (aten._softmax.default, "_softmax"),
        (torch.relu, "relu"),
    ],
)
def test_forms_of_an_operator_have_one_name(target: object, name: str) -> None:
    assert operators.name_of(target) == name


def test_what_works_value_by_value_is_known_from_torch() -> None:
    assert all(map(operators.is_pointwise, [aten.relu.default, aten.add.Tensor, aten.mul_.Tensor, aten.where.self]))
    assert not any(map(operators.is_pointwise, [aten.mean.dim, aten.cumsum.default, aten.linear.default, len]))


def test_names_are_operators_of_torch() -> None:
    kinds = [operators.MOVES, operators.PADS, operators.POOLS, operators.REDUCTIONS, operators.UNCHANGED]
    aliases = {"numpy_T", "mT", "t", "float", "type_as"}
    for name in frozenset().union(*kinds, operators.LAYERS, operators.SHAPES) - aliases:
        assert hasattr(aten, name) or hasattr(aten, f"{name}_"), name


def test_an_operator_has_one_description() -> None:
    kinds = [operators.MOVES, operators.PADS, operators.POOLS, operators.REDUCTIONS, operators.LAYERS]
    assert sum(map(len, kinds)) == len(frozenset().union(*kinds))
    assert not operators.UNCHANGED & RULES.keys()
