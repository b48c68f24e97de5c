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

from slt_compress import prng
from slt_compress.errors import TicketError, UnreachableError
from slt_compress.prng import Freeze, SeedRecipe
from slt_compress.tasks.record import TASK_NAMES
from slt_compress.ticket.masks import Mask
from slt_compress.ticket.purpose import DTYPES
from slt_compress.ticket.stored import BUFFER_TYPES, PARAMETER_TYPES, WEIGHT_TYPES, StoredTensor
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import (
    MASKS,
    SCALES,
    SEED,
    STATISTICS,
    edited,
    layer_rows,
    rewritten,
    rich_ticket,
    small_ticket,
)


def test_round_trip(tmp_path: Path) -> None:
    ticket = small_ticket()
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
    ticket = small_ticket()
    kept = sum(int(mask.sum()) for mask in MASKS.values())
    assert (ticket.weight_count, ticket.kept) == (35 + 54, kept)
    assert ticket.sparsity == 1 - kept / 89
    assert ticket.mask_bytes == 5 + 7
    assert ticket.statistics_bytes == 16
    assert ticket.parameters_bytes == ticket.values_bytes == 0
    assert ticket.digest in ticket.to_bytes().decode("latin-1")


def test_metrics_are_added_without_changing_the_original() -> None:
    ticket = small_ticket()
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
        small_ticket().mask("c.weight")


def test_weights_of_another_generator_are_noticed() -> None:
    with pytest.raises(TicketError, match="when the ticket was made"):
        replace(small_ticket(), seed=6).check_weights()


def test_a_mask_that_keeps_another_number_is_refused() -> None:
    kept = int(MASKS["a.weight"].sum())
    ticket = Ticket.from_bytes(rewritten(layers=layer_rows(kept=kept - 1)))
    with pytest.raises(TicketError, match=f"should have {kept - 1} ones, its code has {kept}"):
        ticket.mask("a.weight")
    rich = rich_ticket()
    other = Ticket.from_bytes(edited(rich.to_bytes(), ("layers", 0, 3), rich.layers[0].kept + 1))
    with pytest.raises(TicketError, match="should keep 49 weights, its masks keep 48"):
        other.check()


@pytest.mark.parametrize("codec", ["auto", "raw", "rice"])
@pytest.mark.parametrize("initialiser", ["signed-constant", "kaiming-normal"])
def test_every_codec_and_initialiser_round_trips(codec: str, initialiser: str) -> None:
    ticket = Ticket.from_bytes(small_ticket(codec=codec, origin=SeedRecipe(SEED, initialiser)).to_bytes())
    ticket.check()
    assert ticket.initialiser == initialiser
    for name, mask in MASKS.items():
        assert np.array_equal(ticket.mask(name), mask)


def agreeing(freeze: Freeze, shape: tuple[int, ...] = (40, 50)) -> dict[str, Mask]:
    """A random mask that agrees with the gates that the seed fixes."""
    locked, pruned = prng.fixed_gates(SEED, "w", math.prod(shape), freeze)
    mask = (np.random.default_rng(1).random(math.prod(shape)) < 0.3) & ~pruned | locked
    return {"w": mask.reshape(shape)}


@pytest.mark.parametrize("freeze", [Freeze(0.7, 0.35), Freeze(0.7, 0.0), Freeze(0.5, 0.5), Freeze(1.0, 0.3)])
@pytest.mark.parametrize("codec", ["raw", "rice"])
def test_fixed_gates_cost_no_bits(freeze: Freeze, codec: str) -> None:
    masks = agreeing(freeze)
    ticket = small_ticket(masks=masks, scales={"w": 0.5}, origin=SeedRecipe(SEED, freeze=freeze), codec=codec)
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert loaded.freeze == freeze
    assert np.array_equal(loaded.mask("w"), masks["w"])
    assert loaded.kept == int(masks["w"].sum())
    locked, pruned = prng.fixed_gates(SEED, "w", 2000, freeze)
    if codec == "raw":
        assert loaded.mask_bytes == math.ceil((2000 - int((locked | pruned).sum())) / 8)
    assert loaded.bound(loaded.layers[0]) <= loaded.mask_bytes


def test_a_mask_must_agree_with_the_fixed_gates() -> None:
    freeze = Freeze(0.7, 0.35)
    masks = {"w": ~agreeing(freeze)["w"]}
    with pytest.raises(ValueError, match="contradicts the gates that the seed fixes"):
        small_ticket(masks=masks, scales={"w": 0.5}, origin=SeedRecipe(SEED, freeze=freeze))


@pytest.mark.parametrize("freeze", [Freeze(), Freeze(0.5, 0.25)])
def test_neurons_cost_one_bit_each(freeze: Freeze) -> None:
    locked, pruned = prng.fixed_gates(SEED, "w", 64, freeze)
    rows = (np.random.default_rng(1).random(64) < 0.5) & ~pruned | locked
    masks = {"w": np.broadcast_to(rows[:, None, None], (64, 3, 5))}
    ticket = small_ticket(masks=masks, scales={"w": 0.5}, granularity="neuron", origin=SeedRecipe(SEED, freeze=freeze))
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert np.array_equal(loaded.mask("w"), masks["w"])
    assert loaded.kept == int(masks["w"].sum())
    assert loaded.mask_bytes == math.ceil((64 - int((locked | pruned).sum())) / 8)


def test_a_part_of_a_neuron_is_refused() -> None:
    with pytest.raises(ValueError, match="part of a neuron"):
        small_ticket(granularity="neuron")
    whole = small_ticket(masks={"w": np.ones((4, 3), bool)}, scales={"w": 0.5}, granularity="neuron")
    with pytest.raises(TicketError, match="no whole number of neurons"):
        Ticket.from_bytes(edited(whole.to_bytes(), ("layers", 0, 4), 11))


def test_half_statistics_are_rounded_once_and_take_half_the_bytes() -> None:
    values = {"n.running_mean": np.array([0.1, 1e-3], np.float32), "n.running_var": np.array([1, 3.3333], np.float32)}
    ticket = small_ticket(statistics=values).with_half_statistics()
    loaded = Ticket.from_bytes(ticket.to_bytes())
    assert loaded.to_bytes() == ticket.to_bytes()
    assert loaded.statistics_bytes == 8
    for name, exact in values.items():
        assert loaded.statistics[name].dtype == np.float32
        assert np.array_equal(loaded.statistics[name], exact.astype(np.float16).astype(np.float32))


def test_statistics_too_large_for_half_are_refused() -> None:
    huge = {"n.running_mean": np.array([1, 2], np.float32), "n.running_var": np.array([1e6, 2], np.float32)}
    with pytest.raises(UnreachableError, match=r"1e\+06 does not fit into fp16"):
        small_ticket(statistics=huge).with_half_statistics()


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


def test_the_document_holds_no_times_and_no_paths() -> None:
    content = small_ticket().to_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text = header["__metadata__"]["ticket"]
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text
    assert "/" not in text.replace("hash32x2/1", "")


def test_statistics_are_exchanged_for_others() -> None:
    ticket = rich_ticket().with_half_statistics()
    assert ticket.half_statistics
    others: dict[str, Any] = {**STATISTICS, "levels": StoredTensor.of([0.0, 1.0], "uint8")}
    found = Ticket.from_bytes(ticket.with_statistics(others).to_bytes())
    assert list(found.statistics) == list(others)
    assert found.statistics["levels"].tolist() == [0, 1]
    assert found.stored_statistics["n.running_mean"].type == "fp32"
    assert not found.half_statistics
    assert Ticket.from_bytes(ticket.to_bytes()).half_statistics


def test_a_rich_ticket_counts_what_it_holds() -> None:
    ticket = rich_ticket()
    assert ticket.version == 2
    assert ticket.granularity == "mixed"
    assert ticket.kept == sum(int(ticket.mask(layer.name).sum()) for layer in ticket.layers)
    content = ticket.to_bytes()
    tensors = (ticket.mask_bytes, ticket.statistics_bytes, ticket.parameters_bytes, ticket.values_bytes)
    header = 8 + int.from_bytes(content[:8], "little")
    assert len(content) == header + sum(tensors)
    assert sum(ticket.bound(layer) for layer in ticket.layers) > ticket.mask_bound_bytes  # shared gates count twice
    assert all(ticket.bound(layer) <= layer.code_bytes for layer in ticket.layers)
    with pytest.raises(KeyError):
        ticket.weights("none")


GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("*.safetensors"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_tickets_load_for_ever(path: Path) -> None:
    """The files beside them with the ending .sha256 were written when they were made. They hold a SHA-256: over the
    mask (`np.packbits`, row-major, the first weight in the highest bit) and the weights of each layer in order, then
    over the statistics, the parameters and the constants, each in order. All numbers are little-endian float32.
    """
    ticket = Ticket.load(path)
    ticket.check()
    assert ticket.to_bytes() == path.read_bytes()
    assert ticket.version == int(path.stem[1])
    sha = hashlib.sha256()
    for layer in ticket.layers:
        sha.update(np.packbits(ticket.mask(layer.name)).tobytes() + ticket.weights(layer.name).tobytes())
    parameters = [stored.values() for stored in ticket.parameters.values()]
    for values in (*ticket.statistics.values(), *parameters, *ticket.constants.values()):
        sha.update(np.asarray(values, "<f4").tobytes())
    assert sha.hexdigest() == path.with_suffix(".sha256").read_text().strip()
    if ticket.provenance.model.name == "lenet-300-100":
        ticket.restore()


def test_the_golden_tickets_of_version_1_cover_it() -> None:
    tickets = [Ticket.load(path) for path in GOLDEN if path.stem.startswith("v1")]
    assert {ticket.initialiser for ticket in tickets} == set(prng.INITIALISERS)
    assert {layer.codec for ticket in tickets for layer in ticket.layers} == {"raw", "rice"}
    assert {ticket.granularity for ticket in tickets} == {"weight", "neuron"}
    assert {ticket.half_statistics for ticket in tickets} == {False, True}
    assert {bool(ticket.freeze.ratio) for ticket in tickets} == {False, True}


def test_the_golden_tickets_of_version_2_cover_it() -> None:
    tickets = [Ticket.load(path) for path in GOLDEN if path.stem.startswith("v2")]
    layers = [layer for ticket in tickets for layer in ticket.layers]
    assert {ticket.initialiser for ticket in tickets} == set(prng.INITIALISERS)
    assert {mask.codec for ticket in tickets for mask in ticket.masks} == {"raw", "rice"}
    assert {ticket.granularity for ticket in tickets} == {"weight", "neuron", "mixed"}
    assert {bool(ticket.freeze.ratio) for ticket in tickets} == {False, True}
    assert {len(layer.coats) for layer in layers} >= {1, 2, 3, 16}
    assert {len(coat.uses) for layer in layers for coat in layer.coats} == {0, 1, 2, 3, 4}
    assert {use.axis for layer in layers for use in layer.uses} >= {None, 0, 1, 2}
    assert {use.repeat for layer in layers for use in layer.uses} >= {1, 2}
    assert any(len(ticket.masks) < sum(len(layer.masks) for layer in ticket.layers) for ticket in tickets)
    assert {layer.values and layer.values.type for layer in layers} == {None, *WEIGHT_TYPES}
    stored = [one for ticket in tickets for one in ticket.stored_statistics.values()]
    assert {one.type for one in stored} == set(BUFFER_TYPES)
    assert {len(one.shape) for one in stored} >= {0, 1, 3}
    assert {one.type for ticket in tickets for one in ticket.parameters.values()} == set(PARAMETER_TYPES)
    origins = [ticket.provenance for ticket in tickets]
    assert {origin.model.builder for origin in origins} >= {"slt", "timm", "python"}
    assert {origin.task.name for origin in origins} == set(TASK_NAMES)
    assert {tensor.dtype for origin in origins for tensor in (*origin.inputs, *origin.outputs)} == set(DTYPES)
    assert {origin.preprocessing is None for origin in origins} == {False, True}
    assert {(bool(ticket.parameters), bool(ticket.constants)) for ticket in tickets} == {
        *((False, False), (False, True), (True, False), (True, True))
    }
    assert {layer.values.type for layer in layers if layer.values and not layer.kept} >= {"fp32", "int8", "int4"}
    assert any(not mask.gates for ticket in tickets for mask in ticket.masks)
    for found in (
        {bool(ticket.constants) for ticket in tickets},
        {bool(origin.classes) for origin in origins},
        {bool(origin.reference) for origin in origins},
        {bool(origin.rewind_steps) for origin in origins},
        {bool(origin.metrics) for origin in origins},
    ):
        assert found == {False, True}
