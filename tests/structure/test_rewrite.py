"""Graphs written anew: what is left of each activation, what cannot go, and that parameters are cut once for all."""

import numpy as np
import pytest
import torch

from slt_compress.masking.parameters import gated_names
from slt_compress.structure.flow import Tracer
from slt_compress.structure.neurons import number
from slt_compress.structure.rewrite import ImpossibleError, Rewriter
from slt_compress.structure.trace import trace
from tests.support.families import FAMILIES, Family
from tests.support.neurons import chain


def rewriter(family: Family, dead: list[int]) -> Rewriter:
    """Return a rewriter that removes the neurons of these numbers."""
    module = family.module()
    names = gated_names(module)
    graph = trace(module, family.inputs(), "it")
    tracer = Tracer(graph, {id(module.get_parameter(name)): name for name in names}, keep=True)
    with torch.no_grad():
        tracer.run(*family.inputs(1))
    _, numbers = number(tracer, names)
    return Rewriter(graph, tracer, {label for label, place in numbers.items() if place in dead})


def test_what_is_left_of_a_flattened_channel_is_gone_in_all_its_columns() -> None:
    """Channels 0 and 2 of the second convolution of LeNet have nine places each."""
    found = rewriter(FAMILIES["cnn"], [6, 8])
    found.run()
    left = [channel for channel in range(8) if channel not in (0, 2)]
    assert found.kept["4.weight"].keys() == {0}
    assert found.kept["4.weight"][0].tolist() == left
    assert found.kept["8.weight"][1].tolist() == [9 * channel + place for channel in left for place in range(9)]
    assert found.kept["4.bias"][0].tolist() == left
    assert set(found.kept) == {"4.weight", "4.bias", "8.weight"}


def test_shapes_are_those_that_the_labels_say() -> None:
    found = rewriter(FAMILIES["fused"], [1, 5])
    found.check(found.run(), FAMILIES["fused"].inputs(1))
    shapes = {node.name: found.shapes(node) for node in found.cuts if node.op == "call_function"}
    assert shapes["scaled_dot_product_attention"] == [(1, 2, 5, 4)]
    assert shapes["unbind"] == [(1, 2, 5, 4)] * 3


def test_nothing_dead_is_the_same_graph() -> None:
    found = rewriter(FAMILIES["resnet"], [])
    cut = found.run()
    assert found.kept == {}
    inputs = FAMILIES["resnet"].inputs(3)
    assert torch.equal(cut(*inputs), FAMILIES["resnet"].module()(*inputs))


def test_neurons_that_an_operator_needs_are_named() -> None:
    family = chain(lambda one, other: one.unfold(1, 2, 2).flatten(1) + other.abs())
    found = rewriter(family, [1, 4])
    with pytest.raises(ImpossibleError, match="2 neurons") as caught:
        found.run()
    assert len(caught.value.labels) == 2


def test_a_tensor_that_two_layers_use_is_cut_once() -> None:
    found = rewriter(FAMILIES["shared"], [2])
    found.run()
    indices = [0, 1, 3, 4, 5, 6, 7]
    assert {axis: cut.tolist() for axis, cut in found.kept["again.weight"].items()} == {0: indices, 1: indices}
    assert all(np.array_equal(found.kept["first.weight"][0], indices) for _ in range(2))


def test_a_shape_that_the_labels_do_not_say_is_seen() -> None:
    found = rewriter(FAMILIES["mlp"], [0])
    cut = found.run()
    layer = next(node for node in found.cuts if node.name.startswith("linear"))
    found.cuts[layer] = {1: np.arange(3)}
    with pytest.raises(ImpossibleError):
        found.check(cut, FAMILIES["mlp"].inputs(1))
