"""Tickets: packed, saved, loaded and changed only on purpose."""

import hashlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slt_compress import container, seeding
from slt_compress.errors import SltError, TicketError, UnreachableError
from slt_compress.restore import masked_weights
from slt_compress.ticket import Freeze, Mask, Provenance, Ticket

PROVENANCE = Provenance(
    model={"builder": "slt", "name": "x", "classes": 2, "channels": 1, "input_size": 8, "small_input": False},
    library="none 1",
    architecture="",
    dataset="digits",
    classes=["a", "b"],
    preprocessing={"size": 8, "channels": 1, "mean": [0.5], "std": [0.5]},
    method={"name": "random", "steps": 0, "batch_size": 256, "settings": {}},
    metrics={},
)
RNG = np.random.default_rng(0)
MASKS = {"a.weight": RNG.random((7, 5)) < 0.5, "b.weight": RNG.random((3, 2, 3, 3)) < 0.1}
SCALES = {"a.weight": float(np.float32(0.1)), "b.weight": float(np.float32(1 / 3))}
STATISTICS = {"n.running_mean": np.array([1.5, -2], np.float32), "n.running_var": np.array([1, 2], np.float32)}


def make(**changes: Any) -> Ticket:
    arguments: dict[str, Any] = {"masks": MASKS, "scales": SCALES, "statistics": STATISTICS, "codec": "raw"}
    return Ticket.pack(**{**arguments, **changes}, provenance=PROVENANCE, seed=5)


def rewritten(**changes: Any) -> bytes:
    """The file of a ticket whose document was edited and digested anew."""
    document, masks, statistics = container.unpack(make().to_bytes())
    return container.pack({**document, **changes}, masks, statistics)[0]


def test_round_trip(tmp_path: Path) -> None:
    ticket = make()
    ticket.save(tmp_path / "t.safetensors")
    loaded = Ticket.load(tmp_path / "t.safetensors")
    assert loaded.to_bytes() == ticket.to_bytes()
    assert loaded.layers == ticket.layers
    assert loaded.provenance == ticket.provenance
    assert {layer.name: layer.scale for layer in loaded.layers} == SCALES
    for name, mask in MASKS.items():
        assert np.array_equal(loaded.mask(name), mask)
    for name, values in STATISTICS.items():
        assert np.array_equal(loaded.statistics[name], values)
    loaded.check_weights()


def test_counts() -> None:
    ticket = make()
    kept = sum(int(mask.sum()) for mask in MASKS.values())
    assert (ticket.weights, ticket.kept) == (35 + 54, kept)
    assert ticket.sparsity == 1 - kept / 89
    assert ticket.mask_bytes == 5 + 7
    assert ticket.statistics_bytes == 16
    assert ticket.digest in ticket.to_bytes().decode("latin-1")


def test_metrics_are_added_without_changing_the_original() -> None:
    ticket = make()
    measured = ticket.with_metrics(accuracy=0.5)
    assert ticket.provenance.metrics == {}
    assert Ticket.from_bytes(measured.to_bytes()).provenance.metrics == {"accuracy": 0.5}


def test_a_metric_that_is_not_finite_is_left_out(ticket: Ticket) -> None:
    measured = ticket.with_metrics(accuracy=0.1, loss=math.inf)
    assert Ticket.from_bytes(measured.to_bytes()).provenance.metrics == {
        **ticket.provenance.metrics,
        "accuracy": 0.1,
    }


def test_an_unknown_layer_has_no_mask() -> None:
    with pytest.raises(KeyError):
        make().mask("c.weight")


def test_weights_of_another_generator_are_noticed() -> None:
    with pytest.raises(TicketError, match="when the ticket was made"):
        replace(make(), seed=6).check_weights()


def layer(**changes: Any) -> list[list[Any]]:
    row = {"name": "a.weight", "shape": [7, 5], "scale": 0.1, "codec": "raw"}
    row |= {"kept": int(MASKS["a.weight"].sum()), "bytes": 5}
    return [list({**row, **changes}.values()), ["b.weight", [3, 2, 3, 3], 0.33333334, "raw", 7, 7]]


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
        ({"model": {**PROVENANCE.model, "pretrained": True}}, "'pretrained'"),
        ({"model": {**PROVENANCE.model, "name": None}}, "a str as 'name'"),
        ({"method": {"name": "x"}}, "its method lacks"),
        ({"preprocessing": {"size": 8}}, "its preprocessing lacks"),
        ({"preprocessing": {**PROVENANCE.preprocessing, "mean": ["x"]}}, "its mean should be finite"),
        ({"preprocessing": {**PROVENANCE.preprocessing, "channels": 2}}, "a value for each channel"),
        ({"surprise": 1}, "'surprise'"),
        ({"layers": [[]]}, "a layer should be"),
        ({"layers": layer(name="../x")}, "impossible name"),
        ({"layers": layer(shape=[2**63, 5])}, "impossible shape"),
        ({"layers": layer(shape=[2**39, 2**39])}, "more than a mask could describe"),
        ({"layers": layer(shape=[2**62, 5])}, "impossible shape"),
        ({"layers": layer(shape=[7, -5])}, "impossible shape"),
        ({"layers": layer(shape=[35])}, "impossible shape"),
        ({"layers": layer(codec="zip")}, "unknown codec"),
        ({"layers": layer(codec=["raw"])}, "unknown codec"),
        ({"layers": layer(kept=36)}, "cannot keep"),
        ({"layers": layer(bytes=2**63)}, "cannot keep"),
        ({"layers": layer(bytes=6)}, "do not fit"),
        ({"layers": layer(scale=0)}, "impossible scale"),
        ({"layers": layer(scale=1e300)}, "impossible scale"),
        ({"layers": layer()[:1]}, "do not fit"),
        ({"layers": layer()[1:] * 2}, "do not fit"),
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
    document, masks, statistics = container.unpack(make().to_bytes())
    del document["seed"]
    with pytest.raises(TicketError, match="'seed'"):
        Ticket.from_bytes(container.pack(document, masks, statistics)[0])


def test_statistics_must_be_finite() -> None:
    broken = {**STATISTICS, "n.running_var": np.array([np.nan, 1], np.float32)}
    with pytest.raises(TicketError, match="not finite"):
        Ticket.from_bytes(make(statistics=broken).to_bytes())


def test_a_mask_that_keeps_another_number_is_refused() -> None:
    kept = int(MASKS["a.weight"].sum())
    ticket = Ticket.from_bytes(rewritten(layers=layer(kept=kept - 1)))
    with pytest.raises(TicketError, match=f"should have {kept - 1} ones, its code has {kept}"):
        ticket.mask("a.weight")


@pytest.mark.parametrize("codec", ["auto", "raw", "rice"])
@pytest.mark.parametrize("initialiser", ["signed-constant", "kaiming-normal"])
def test_every_codec_and_initialiser_round_trips(codec: str, initialiser: str) -> None:
    ticket = Ticket.from_bytes(make(codec=codec, initialiser=initialiser).to_bytes())
    ticket.check()
    assert ticket.initialiser == initialiser
    for name, mask in MASKS.items():
        assert np.array_equal(ticket.mask(name), mask)


def freezable(ratio: float, lock: float, shape: tuple[int, ...] = (40, 50)) -> dict[str, Mask]:
    """A random mask that agrees with what the seed has frozen."""
    locked, pruned = seeding.frozen(5, "w", math.prod(shape), ratio, lock)
    mask = (np.random.default_rng(1).random(math.prod(shape)) < 0.3) & ~pruned | locked
    return {"w": mask.reshape(shape)}


@pytest.mark.parametrize(("ratio", "lock"), [(0.7, 0.35), (0.7, 0.0), (0.5, 0.5), (1.0, 0.3)])
@pytest.mark.parametrize("codec", ["raw", "rice"])
def test_frozen_weights_cost_no_bits(ratio: float, lock: float, codec: str) -> None:
    masks = freezable(ratio, lock)
    ticket = make(masks=masks, scales={"w": 0.5}, freeze=Freeze(ratio, lock), codec=codec)
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert loaded.freeze == Freeze(ratio, lock)
    assert np.array_equal(loaded.mask("w"), masks["w"])
    assert loaded.kept == int(masks["w"].sum())
    locked, pruned = seeding.frozen(5, "w", 2000, ratio, lock)
    if codec == "raw":
        assert loaded.mask_bytes == math.ceil((2000 - int((locked | pruned).sum())) / 8)
    assert loaded.bound(loaded.layers[0]) <= loaded.mask_bytes


def test_a_mask_must_agree_with_what_is_frozen() -> None:
    masks = {"w": ~freezable(0.7, 0.35)["w"]}
    with pytest.raises(ValueError, match="frozen"):
        make(masks=masks, scales={"w": 0.5}, freeze=Freeze(0.7, 0.35))


@pytest.mark.parametrize("freeze", [Freeze(), Freeze(0.5, 0.25)])
def test_neurons_cost_one_bit_each(freeze: Freeze) -> None:
    locked, pruned = seeding.frozen(5, "w", 64, freeze.ratio, freeze.lock)
    rows = (np.random.default_rng(1).random(64) < 0.5) & ~pruned | locked
    masks = {"w": np.broadcast_to(rows[:, None, None], (64, 3, 5))}
    ticket = make(masks=masks, scales={"w": 0.5}, granularity="neuron", freeze=freeze)
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert np.array_equal(loaded.mask("w"), masks["w"])
    assert loaded.kept == int(masks["w"].sum())
    assert loaded.mask_bytes == math.ceil((64 - int((locked | pruned).sum())) / 8)


def test_a_part_of_a_neuron_is_refused() -> None:
    with pytest.raises(ValueError, match="part of a neuron"):
        make(granularity="neuron")
    whole = make(masks={"w": np.ones((4, 3), bool)}, scales={"w": 0.5}, granularity="neuron")
    document, masks, statistics = container.unpack(whole.to_bytes())
    document["layers"][0][4] = 11
    broken = Ticket.from_bytes(container.pack(document, masks, statistics)[0])
    with pytest.raises(TicketError, match="no whole number of neurons"):
        broken.check()


def test_half_statistics_are_rounded_once_and_take_half_the_bytes() -> None:
    values = {"n.running_mean": np.array([0.1, 1e-3], np.float32), "n.running_var": np.array([1, 3.3333], np.float32)}
    ticket = make(statistics=values).with_half_statistics()
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert loaded.to_bytes() == ticket.to_bytes()
    assert loaded.statistics_bytes == 8
    for name, exact in values.items():
        assert loaded.statistics[name].dtype == np.float32
        assert np.array_equal(loaded.statistics[name], exact.astype(np.float16).astype(np.float32))


def test_statistics_too_large_for_half_are_refused() -> None:
    huge = {"n.running_mean": np.array([1, 2], np.float32), "n.running_var": np.array([1e6, 2], np.float32)}
    with pytest.raises(UnreachableError, match=r"1e\+06 does not fit into fp16"):
        make(statistics=huge).with_half_statistics()


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    with pytest.raises(TicketError, match=re.escape(str(path))):
        Ticket.load(path)
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(TicketError, match=re.escape(str(path))):
        Ticket.load(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_random_damage_is_refused(searched: tuple[Path, dict[str, Any]], data: st.DataObject) -> None:
    """Bits, cuts, splices and edited numbers: benchmarks/ticket.py does ten thousand."""
    whole = searched[0].read_bytes()
    bad = bytearray(whole)
    start = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["bit", "cut", "splice", "insert"]))
    if kind == "bit":
        bad[start] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del bad[start:]
    elif kind == "splice":
        bad[start : start + 8] = data.draw(st.binary(min_size=1, max_size=8))
    else:
        bad[start:start] = data.draw(st.binary(min_size=1, max_size=20))
    if bytes(bad) == whole:
        return
    with pytest.raises(TicketError):
        Ticket.from_bytes(bytes(bad))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.data(), json_values)
def test_any_value_in_any_field_is_read_or_refused(data: st.DataObject, value: Any) -> None:
    """With a correct digest: whoever edits a document and signs it anew can still not crash a reader."""
    document, masks, statistics = container.unpack(make().to_bytes())
    holder: Any = document
    key: Any = data.draw(st.sampled_from(sorted(document)))
    if isinstance(document[key], dict) and document[key] and data.draw(st.booleans()):
        holder, key = document[key], data.draw(st.sampled_from(sorted(document[key])))
    elif key == "layers":
        holder, key = document["layers"][0], data.draw(st.integers(0, 5))
    holder[key] = value
    try:
        content, _ = container.pack(document, masks, statistics)
    except ValueError:  # NaN and infinity are no JSON: nobody could have written them
        return
    try:
        ticket = Ticket.from_bytes(content)
        ticket.check()
        ticket.restore()
    except SltError:
        pass


def test_the_document_holds_no_times_and_no_paths() -> None:
    content = make().to_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text = header["__metadata__"]["ticket"]
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text
    assert "/" not in text.replace("hash32x2/1", "")


GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.safetensors"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_tickets_of_version_1_load_for_ever(path: Path) -> None:
    """The SHA-256 over every mask, weight and statistic was noted when the file was made."""
    ticket = Ticket.load(path)
    ticket.check()
    sha = hashlib.sha256()
    for layer in ticket.layers:
        sha.update(np.packbits(ticket.mask(layer.name)).tobytes() + masked_weights(ticket, layer).tobytes())
    for values in ticket.statistics.values():
        sha.update(values.astype("<f4").tobytes())
    assert sha.hexdigest() == path.with_suffix(".sha256").read_text().strip()
    if ticket.provenance.model["name"] == "lenet-300-100":
        ticket.restore()


def test_the_golden_tickets_cover_the_format() -> None:
    tickets = [Ticket.load(path) for path in GOLDEN]
    assert {ticket.initialiser for ticket in tickets} == set(seeding.INITIALISERS)
    assert {layer.codec for ticket in tickets for layer in ticket.layers} == {"raw", "rice"}
    assert {ticket.granularity for ticket in tickets} == {"weight", "neuron"}
    assert {ticket.half_statistics for ticket in tickets} == {False, True}
    assert {bool(ticket.freeze.ratio) for ticket in tickets} == {False, True}
