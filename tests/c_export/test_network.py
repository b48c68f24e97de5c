"""What steps say of themselves."""

import numpy as np

from slt_compress.c_export.network import Activation, Layer, Network, Prepare, Window, prepared

ONES = np.ones(2, np.float32)


def layer(source: tuple[int, int, int], sums: tuple[int, int, int], kernel: tuple[int, int], groups: int = 1) -> Layer:
    return Layer("y", ("view",), sums, "w", source, Window(kernel), groups, ONES, ONES, sums)


def test_a_layer_whose_weights_are_used_once_is_linear() -> None:
    assert layer((6, 1, 1), (2, 1, 1), (1, 1)).linear
    assert not layer((6, 1, 1), (2, 1, 1), (1, 1), groups=2).linear
    assert not layer((6, 1, 4), (2, 1, 4), (1, 1)).linear
    assert not layer((6, 3, 3), (2, 1, 1), (3, 3)).linear
    assert layer((6, 3, 3), (2, 1, 1), (3, 3), groups=2).columns == 27


def test_only_what_changes_values_is_an_activation() -> None:
    assert Activation().idle
    assert not Activation(low=0.0).idle
    assert not Activation(slope=0.5).idle


def test_names_of_one_tensor_lead_to_it() -> None:
    step = layer((6, 1, 1), (2, 1, 1), (1, 1))
    network = Network("x", (6, 1, 1), "z", 2, (step,), {"view": "flat", "flat": "x", "z": "y"})
    assert network.root("view") == network.root("x") == "x"
    assert network.root("z") == "y"
    assert network.last_reader() == {"x": 0}


def test_pixels_can_be_normalised_first() -> None:
    step = layer((6, 1, 1), (2, 1, 1), (1, 1))
    found = prepared(Network("x", (6, 1, 1), "y", 2, (step,), {"view": "x"}))
    assert isinstance(found.steps[0], Prepare)
    assert found.steps[0].inputs == ("x",)
    assert found.root(found.steps[1].inputs[0]) == found.steps[0].output
