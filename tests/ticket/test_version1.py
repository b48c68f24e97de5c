"""The document of version 1: what `write` would not have written is refused, and what it can hold is written in it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_compress import prng
from slt_compress.errors import SltError, TicketError
from slt_compress.models.spec import ModelSpec, PythonModel
from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.tasks.record import TaskRecord, TensorRecord
from slt_compress.ticket import container
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts
from slt_compress.ticket.schema import Histogram
from slt_compress.ticket.stored import StoredTensor
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import (
    MASKS,
    PROVENANCE,
    SCALES,
    SEED,
    STATISTICS,
    edited,
    layer_rows,
    rewritten,
    small_ticket,
)

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("v1-*.safetensors"))
MODEL, PREPROCESSING = PROVENANCE.model.to_json(), PROVENANCE.preprocessing.to_json()  # type: ignore[union-attr]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_tickets_are_written_again_with_the_same_bytes(path: Path) -> None:
    ticket = Ticket.load(path)
    assert ticket.version == 1
    assert ticket.to_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_tickets_are_packed_afresh_with_the_same_bytes(path: Path) -> None:
    """From masks and arrays, as a search does."""
    ticket = Ticket.load(path)
    (codec,) = {layer.codec for layer in ticket.layers} if "searched" not in path.stem else {"auto"}
    packed = Ticket.pack(
        {layer.name: ticket.mask(layer.name) for layer in ticket.layers},
        {layer.name: layer.scale for layer in ticket.layers},
        ticket.statistics,
        ticket.provenance,
        origin=ticket.origin,
        granularity=ticket.granularity,
        codec=codec,
    )
    again = packed.with_half_statistics() if ticket.half_statistics else packed
    assert again.to_bytes() == path.read_bytes()


def test_a_ticket_assembled_from_parts_is_the_packed_one() -> None:
    layers = [LayerParts(name, mask.shape, [CoatParts(mask, scale=SCALES[name])]) for name, mask in MASKS.items()]
    ticket = Ticket.assemble(layers, PROVENANCE, origin=SeedRecipe(SEED), statistics=STATISTICS, codec="raw")
    assert ticket.to_bytes() == small_ticket().to_bytes()


def test_half_precision_is_kept_even_of_no_statistics() -> None:
    content = small_ticket(statistics={}).with_half_statistics().to_bytes()
    assert container.unpack(content)[1]["statistics"].dtype == np.float16
    assert Ticket.from_bytes(content).to_bytes() == content
    assert small_ticket(statistics={}).to_bytes() != content


@pytest.mark.parametrize(
    "change",
    [
        {"model": PythonModel("x")},
        {"preprocessing": None},
        {"inputs": (TensorRecord((1, 8, 8), "uint8"),)},
        {"inputs": (TensorRecord((1, 8, 8)), TensorRecord((1,)))},
        {"inputs": (TensorRecord((64,)),)},
        {"outputs": (TensorRecord((3,)),)},
        {"outputs": (TensorRecord((2,)), TensorRecord((2,)))},
        {"task": TaskRecord("multi-label")},
        {"task": TaskRecord(metric="f1")},
        {"rewind_steps": 1},
        {"reference": (Histogram("x", (0.0, 1.0), (1,)),)},
    ],
)
def test_another_purpose_needs_version_2(change: dict[str, Any]) -> None:
    ticket = small_ticket(provenance=replace(PROVENANCE, architecture="0" * 64, **change))
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert ticket.version == loaded.version == 2
    assert loaded.provenance == ticket.provenance
    assert small_ticket(provenance=replace(PROVENANCE, architecture="0" * 64)).version == 1


def test_arguments_of_a_model_need_version_2() -> None:
    model = ModelSpec("slt", "x", 2, 1, 8, arguments={"depth": 3})
    assert not replace(PROVENANCE, model=model).is_classic
    assert model.to_json() == {**MODEL, "arguments": {"depth": 3}}


@pytest.mark.parametrize(
    "statistics",
    [
        {"n.running_var": np.ones(2), "n.running_mean": np.ones(2)},
        {"n.running_mean": np.ones(2), "n.running_var": np.ones(3)},
        {"n.running_mean": np.ones(2)},
        {"n.running_mean": np.ones((2, 1)), "n.running_var": np.ones((2, 1))},
        {"n.running_mean": np.ones(2), "m.running_var": np.ones(2)},
        {"scale": np.ones(2)},
        {"n.running_mean": StoredTensor.of(np.ones(2), "fp16"), "n.running_var": np.ones(2)},
        {name: StoredTensor.of(np.ones(2), "uint8") for name in STATISTICS},
        {"n.running_mean": np.ones(2), "n.running_var": np.array([1, np.inf])},
        {"n.running_mean": StoredTensor.of([-np.inf], "fp16"), "n.running_var": StoredTensor.of([1], "fp16")},
        {"n.running_mean": np.empty(0), "n.running_var": np.empty(0)},
    ],
)
def test_other_statistics_need_version_2(statistics: dict[str, Any]) -> None:
    ticket = small_ticket(statistics=statistics, provenance=replace(PROVENANCE, architecture="0" * 64))
    assert ticket.version == 2
    found = Ticket.from_bytes(ticket.to_bytes()).statistics
    assert {name: values.shape for name, values in found.items()} == {
        name: values.shape for name, values in statistics.items()
    }


_GATES = np.array([True, False, True])


@pytest.mark.parametrize(
    ("layers", "version"),
    [
        ([LayerParts("w", (3, 2), [CoatParts(slices=[AxisGates(_GATES)])])], 1),
        ([LayerParts("w", (3, 2), [CoatParts(np.ones((3, 2), bool))])], 1),
        ([LayerParts("w", (2, 3), [CoatParts(slices=[AxisGates(_GATES, axis=1)])])], 2),
        ([LayerParts("w", (6, 2), [CoatParts(slices=[AxisGates(_GATES, repeat=2)])])], 2),
        ([LayerParts("w", (3, 2), [CoatParts()])], 2),
        ([LayerParts("w", (3, 2), [CoatParts(np.ones((3, 2), bool))] * 2)], 2),
        ([LayerParts("w", (3, 2), [CoatParts(np.ones((3, 2), bool), [AxisGates(_GATES)])])], 2),
        ([LayerParts("w-x", (3, 2), [CoatParts(np.ones((3, 2), bool))])], 2),
        ([LayerParts("w", (3, 2), [CoatParts(np.ones((3, 2), bool))], np.ones((3, 2), np.float32))], 2),
        ([LayerParts(name, (3, 2), [CoatParts(slices=[AxisGates(_GATES)])]) for name in "ab"], 2),  # shared
        ([LayerParts(name, (3, 2), [CoatParts(slices=[AxisGates(_GATES.copy())])]) for name in "ab"], 1),
        (
            [
                LayerParts("a", (3, 2), [CoatParts(slices=[AxisGates(_GATES)])]),
                LayerParts("b", (3, 2), [CoatParts(np.ones((3, 2), bool))]),
            ],
            2,
        ),
    ],
)
def test_other_masks_need_version_2(layers: list[LayerParts], version: int) -> None:
    ticket = Ticket.assemble(layers, replace(PROVENANCE, architecture="0" * 64), origin=SeedRecipe(SEED))
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert loaded.version == version
    loaded.check()
    for layer in layers:
        assert np.array_equal(loaded.mask(layer.name), ticket.mask(layer.name))


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
def test_more_weights_than_a_file_of_version_1_may_claim_need_version_2(granularity: str) -> None:
    """To the weight: there is a version for each number of them."""

    def ticket(columns: int) -> Ticket:
        return small_ticket(
            masks={"w": np.zeros((1, columns), bool)},
            scales={"w": 0.5},
            provenance=replace(PROVENANCE, architecture="0" * 64),
            granularity=granularity,
            codec="rice",
        )

    most = 4096 * len(ticket(4_000_000).to_bytes())
    assert Ticket.from_bytes(ticket(most).to_bytes()).version == 1
    loaded = Ticket.from_bytes(ticket(most + 1).to_bytes())
    assert (loaded.version, loaded.weight_count, loaded.granularity) == (2, most + 1, granularity)
    loaded.check()


def test_parameters_and_constants_need_version_2() -> None:
    provenance = replace(PROVENANCE, architecture="0" * 64)
    assert small_ticket(provenance=provenance, constants={"act.weight": 0.25}).version == 2
    layers = [LayerParts(name, mask.shape, [CoatParts(mask)]) for name, mask in MASKS.items()]
    parameters = {"bias": np.ones(3, np.float32)}
    assert Ticket.assemble(layers, provenance, origin=SeedRecipe(SEED), parameters=parameters).version == 2


def test_only_version_1_has_neurons_that_the_seed_fixes() -> None:
    freeze = Freeze(1.0, 1.0)
    masks = {"w": np.ones((4, 3), bool)}
    arguments: dict[str, Any] = {"masks": masks, "scales": {"w": 0.5}, "origin": SeedRecipe(SEED, freeze=freeze)}
    ticket = small_ticket(**arguments, granularity="neuron")
    assert (ticket.version, ticket.layers[0].masks[0].gates) == (1, 0)
    own = replace(PROVENANCE, model=PythonModel("x"), architecture="0" * 64)
    with pytest.raises(TicketError, match="the seed fixes some neurons of w: only version 1 can hold such masks"):
        small_ticket(**arguments, granularity="neuron", provenance=own)
    # Slices of version 2 are coded whole, even where version 1 could hold all else.
    parts = [LayerParts("w", (4, 3), [CoatParts(slices=[AxisGates(np.ones(4, bool))])])]
    whole = Ticket.assemble(parts, replace(PROVENANCE, architecture="0" * 64), origin=SeedRecipe(SEED, freeze=freeze))
    assert (whole.version, whole.layers[0].masks[0].gates) == (2, 4)


def test_a_layer_is_read_with_its_scale_in_float32() -> None:
    layer = Ticket.from_bytes(rewritten(layers=layer_rows(scale=0.1))).layers[0]
    assert (layer.name, layer.shape, layer.scale, layer.codec) == ("a.weight", (7, 5), float(np.float32(0.1)), "raw")
    assert (layer.size, layer.kept, layer.code_bytes) == (35, int(MASKS["a.weight"].sum()), 5)


def test_a_layer_cannot_keep_more_or_less_than_the_seed_fixes() -> None:
    freeze = Freeze(0.5, 0.25)
    mask = np.ones((8, 8), bool).ravel()
    locked, pruned = prng.fixed_gates(SEED, "w", 64, freeze)
    ticket = small_ticket(
        masks={"w": (mask & ~pruned).reshape(8, 8)}, scales={"w": 0.5}, origin=SeedRecipe(SEED, freeze=freeze)
    )
    for kept in (int(locked.sum()) - 1, 64 - int(pruned.sum()) + 1):
        with pytest.raises(TicketError, match=f"cannot keep {kept} weights, with the gates that the seed fixes"):
            Ticket.from_bytes(edited(ticket.to_bytes(), ("layers", 0, 4), kept))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": -1}, "its seed"),
        ({"seed": 2**64}, "its seed"),
        ({"seed": 1.0}, "a int as 'seed'"),
        ({"seed": True}, "a int as 'seed'"),
        ({"granularity": "head"}, "expected the granularity"),
        ({"freeze": None}, "a list as 'freeze'"),
        ({"freeze": [0.1]}, "its freeze"),
        ({"freeze": [0.1, 0.2]}, "its freeze"),
        ({"freeze": [2.0, 0.0]}, "its freeze"),
        ({"freeze": [1, 0]}, "its freeze"),
        ({"generator": "mt19937"}, "expected the generator 'hash32x2'"),
        ({"initialiser": "zeros"}, "expected the initialiser"),
        ({"classes": "ab"}, "a list as 'classes'"),
        ({"classes": [1]}, "class names"),
        ({"metrics": None}, "a dict as 'metrics'"),
        ({"metrics": {"accuracy": "all"}}, "its metrics should be finite"),
        ({"metrics": {"accuracy": 10**400}}, "its metrics should be finite"),
        ({"model": {}}, "its model lacks"),
        ({"model": {**MODEL, "pretrained": True}}, "'pretrained'"),
        ({"model": {**MODEL, "name": None}}, "a str as 'name'"),
        ({"model": {**MODEL, "builder": "hub"}}, "unknown model builder"),
        ({"model": {**MODEL, "input_size": 2**63}}, "input_size must be a whole number from 1 to 4096"),
        ({"method": {"name": "x"}}, "its method lacks"),
        ({"preprocessing": {"size": 8}}, "its preprocessing lacks"),
        ({"preprocessing": {**PREPROCESSING, "mean": ["x"]}}, "its mean should be finite"),
        ({"preprocessing": {**PREPROCESSING, "channels": 2}}, "a value for each channel"),
        ({"surprise": 1}, "'surprise'"),
        ({"inputs": []}, "'inputs'"),
        ({"model": {**MODEL, "arguments": {}}}, "'arguments'"),
        ({"model": {"builder": "python", "name": "x"}}, "its model lacks"),
        ({"preprocessing": None}, "a dict as 'preprocessing'"),
        ({"layers": []}, "0 layers do not fit"),
        ({"layers": [[]]}, "a layer should be"),
        ({"layers": layer_rows(name="../x")}, "impossible name"),
        ({"layers": layer_rows(shape=[2**63, 5])}, "impossible shape"),
        ({"layers": layer_rows(shape=[2**39, 2**39])}, "more than a mask could describe"),
        ({"layers": layer_rows(shape=[2**62, 5])}, "impossible shape"),
        ({"layers": layer_rows(shape=[7, -5])}, "impossible shape"),
        ({"layers": layer_rows(shape=[35])}, "impossible shape"),
        ({"layers": layer_rows(codec="zip")}, "unknown codec"),
        ({"layers": layer_rows(codec=["raw"])}, "unknown codec"),
        ({"layers": layer_rows(kept=36)}, "cannot keep"),
        ({"layers": layer_rows(bytes=2**63)}, "cannot keep"),
        ({"layers": layer_rows(bytes=6)}, "do not fit"),
        ({"layers": layer_rows(scale=0)}, "impossible scale"),
        ({"layers": layer_rows(scale=1e300)}, "impossible scale"),
        ({"layers": layer_rows()[:1]}, "do not fit"),
        ({"layers": layer_rows()[1:] * 2}, "do not fit"),
        ({"statistics": []}, "its statistics"),
        ({"statistics": [["n", 3]]}, "its statistics"),
        ({"statistics": [["n", 1], ["n", 1]]}, "its statistics"),
        ({"statistics": [["n", -2], ["m", 4]]}, "a statistic should be"),
        ({"statistics": [3]}, "a statistic should be"),
    ],
)
def test_edited_documents_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TicketError, match=re.escape(words)):
        Ticket.from_bytes(rewritten(**changes))


def test_a_missing_field_is_named() -> None:
    with pytest.raises(TicketError, match="'seed'"):
        Ticket.from_bytes(edited(small_ticket().to_bytes(), ("seed",), ...))


def test_statistics_must_be_finite() -> None:
    with pytest.raises(TicketError, match="not a number"):
        small_ticket(statistics={**STATISTICS, "n.running_var": np.array([np.nan, 1], np.float32)})
    document, tensors = container.unpack(small_ticket().to_bytes())
    for wrong in (np.inf, np.nan):
        tensors["statistics"] = np.array([1, 2, 3, wrong], "<f4")
        with pytest.raises(TicketError, match="not finite"):
            Ticket.from_bytes(container.pack(document, tensors, 1)[0])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.data(), json_values)
def test_any_value_in_any_field_is_read_or_refused(data: st.DataObject, value: Any) -> None:
    """With a correct digest: whoever edits a document and signs it anew can still not crash a reader."""
    document, tensors = container.unpack(small_ticket().to_bytes())
    holder: Any = document
    key: Any = data.draw(st.sampled_from(sorted(document)))
    if isinstance(document[key], dict) and document[key] and data.draw(st.booleans()):
        holder, key = document[key], data.draw(st.sampled_from(sorted(document[key])))
    elif key == "layers":
        holder, key = document["layers"][0], data.draw(st.integers(0, 5))
    holder[key] = value
    try:
        content, _ = container.pack(document, tensors, 1)
    except TicketError:  # NaN and infinity are no JSON: nobody could have written them
        return
    try:
        ticket = Ticket.from_bytes(content)
        ticket.check()
        ticket.restore()
    except SltError:
        pass
