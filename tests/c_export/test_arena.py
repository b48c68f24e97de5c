"""Tensors that live at the same time never overlap, and memory is as small as it can be where that is plain to see."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.c_export.arena import PLANE, Life, lives, plan
from slt_compress.c_export.network import (
    Activation,
    Affine,
    Layer,
    Network,
    Pool,
    Pooling,
    Step,
    Sum,
    Window,
)

ONES = np.ones(4, np.float32)
IMAGE = (4, 6, 6)


def layer(output: str, *inputs: str, pooling: Pooling | None = None, groups: int = 1) -> Layer:
    result = pooling.result if pooling else IMAGE
    window = Window((3, 3), before=(1, 1))
    return Layer(output, inputs, result, "w", IMAGE, window, groups, ONES, ONES, IMAGE, Activation(0.0), pooling)


def network(*steps: Step) -> Network:
    return Network("in", IMAGE, steps[-1].output, 144, steps)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 8), st.integers(0, 5)), min_size=1, max_size=12))
def test_no_two_living_tensors_overlap(drawn: list[tuple[int, int, int]]) -> None:
    tensors = [Life(f"t{i}", size, first, first + length) for i, (size, first, length) in enumerate(drawn)]
    found = plan(tensors, {})
    assert found.bound <= found.size <= sum(tensor.size for tensor in tensors)
    for a, b in itertools.combinations(tensors, 2):
        start, other = found.offsets[a.name], found.offsets[b.name]
        assert not a.meets(b) or start + a.size <= other or other + b.size <= start


def test_tensors_that_share_a_place_live_there_together() -> None:
    tensors = [Life("a", 10, 0, 1), Life("b", 10, 1, 2), Life("c", 10, 2, 3)]
    assert plan(tensors, {}).size == 20
    shared = plan(tensors, {"b": "a", "c": "b"})
    assert shared.size == shared.bound == 10
    assert set(shared.offsets.values()) == {0}


def test_a_chain_needs_two_tensors_at_a_time() -> None:
    found, shared = lives(network(layer("a", "in"), layer("b", "a"), layer("c", "b"), layer("out", "c")))
    assert not shared
    assert plan(found, shared).size == plan(found, shared).bound == 2 * 144


def test_a_residual_sum_takes_the_place_of_what_it_adds() -> None:
    """The block needs its input, what lies between, and one plane."""
    found, shared = lives(network(layer("a", "in"), layer("b", "a"), layer("c", "b", "a"), layer("out", "c")))
    assert shared == {"c": "a"}
    assert plan(found, shared).size == 2 * 144 + 36


def test_what_is_read_again_is_not_replaced() -> None:
    found, shared = lives(network(layer("a", "in"), layer("b", "a", "a"), layer("c", "b", "a"), layer("out", "c", "a")))
    assert shared == {}
    assert {life.name: life.last for life in found}["a"] == 3


def test_a_layer_that_reads_all_of_its_input_for_each_output_does_not_replace_it() -> None:
    assert lives(network(layer("a", "in"), layer("b", "a"), layer("out", "b")))[1] == {}
    found, shared = lives(network(layer("a", "in"), layer("b", "a", groups=4), layer("out", "b")))
    assert shared == {"b": "a"}
    assert PLANE + "b" in {life.name for life in found}


def test_pooling_within_a_layer_needs_a_plane_instead_of_a_tensor() -> None:
    pooling = Pooling("max", Window((2, 2), (2, 2)), IMAGE, (4, 3, 3))
    found, _ = lives(network(layer("a", "in", pooling=pooling), layer("out", "a")))
    assert {life.name: life.size for life in found} == {"a": 36, PLANE + "a": 36}


def test_steps_without_weights_replace_what_dies() -> None:
    apart, shifted = (
        Pooling("max", window, IMAGE, (4, 3, 3)) for window in (Window((2, 2), (2, 2)), Window((3, 3), (2, 2), (1, 1)))
    )
    start = (layer("a", "in"), Affine("b", ("a",), IMAGE, ONES, ONES), Sum("c", ("b", "b"), IMAGE))
    for pooling, replaced in ((apart, True), (shifted, False)):
        _, shared = lives(network(*start, Pool("d", ("c",), (4, 3, 3), pooling), layer("out", "d")))
        assert shared == {"b": "a", "c": "b"} | ({"d": "c"} if replaced else {})


def test_input_and_output_are_the_callers() -> None:
    found, _ = lives(network(layer("out", "in")))
    assert found == []
    assert plan(found, {}).size == 0
