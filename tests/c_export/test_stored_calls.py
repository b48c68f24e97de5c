"""C code with stored weights computes what torch does, in about the bytes of the ticket."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slt_compress.c_export.export import CExportConfig, check, export
from slt_compress.errors import UnreachableError
from slt_compress.ticket.assembly import CoatParts, LayerParts
from slt_compress.ticket.sample import with_values
from slt_compress.ticket.stored import WEIGHT_TYPES
from slt_compress.ticket.ticket import Ticket
from tests.support.c_code import (
    SANITISED,
    Everything,
    Sequence,
    Sums,
    check_own,
    compiled_file,
    needs_compiler,
    ticket_of,
)
from tests.support.neuron_tickets import make_neuron_ticket
from tests.support.tickets import make_ticket


def with_stored(ticket: Ticket, kind: str) -> Ticket:
    """Return a ticket of a network of a user's with normal weights, some of them too small for a normal half."""
    draw = np.random.default_rng(1)
    layers = []
    for layer in ticket.layers:
        values = draw.standard_normal(layer.shape).astype(np.float32)
        values *= np.where(draw.random(layer.shape) < 0.1, np.float32(1e-6), np.float32(layer.scale))
        layers.append(LayerParts(layer.name, layer.shape, [CoatParts(ticket.mask(layer.name))], values, kind))
    return Ticket.assemble(
        layers,
        ticket.provenance,
        origin=ticket.origin,
        statistics=ticket.statistics,
        parameters=ticket.parameters,
        constants=ticket.constants,
    )


@needs_compiler
@pytest.mark.parametrize(
    ("network", "kind"), [*((Everything, kind) for kind in WEIGHT_TYPES), (Sequence, "int4"), (Sums, "fp16")]
)
def test_networks_of_ones_own(tmp_path: Path, network: type[Everything], kind: str) -> None:
    torch.manual_seed(0)
    module = network()
    ticket = with_stored(ticket_of(module, network.shape, "kaiming-normal"), kind)
    restored = ticket.apply_to(module)
    export(restored, ticket, tmp_path / "own.c", CExportConfig("rice" if kind == "int4" else "gap"))
    assert "slt_knots" not in (tmp_path / "own.c").read_text()
    check_own(tmp_path / "own.c", tmp_path / "sanitised", restored, network.shape)


@needs_compiler
@pytest.mark.parametrize(("name", "kind"), [("lenet-300-100", "int4"), ("lenet-5", "fp16")])
def test_tables_take_less_than_the_ticket(tmp_path: Path, name: str, kind: str) -> None:
    ticket = with_values(make_ticket(name, 0.3, size=12), kind)
    exported = export(ticket.restore(), ticket, tmp_path / "t.c")
    assert exported.table_bytes < len(ticket.to_bytes())
    compiled_file(tmp_path / "t.c", tmp_path / "sanitised", SANITISED).selftest()
    text = (tmp_path / "t.c").read_text()
    assert f"weights are kept, all trained and stored. Seed {ticket.seed}" in text
    assert f"their values as {kind}." in text


@needs_compiler
@pytest.mark.parametrize(
    ("kind", "density", "layout"), [("int4", 0.2, "rice"), ("int8", None, "gap"), ("fp16", 0.2, "gap")]
)
def test_of_dead_neurons_no_weight_is_stored(tmp_path: Path, kind: str, density: float | None, layout: str) -> None:
    ticket = with_values(make_neuron_ticket("lenet-5", 0.5, size=16, density=density), kind)
    sizes = []
    for keep in (True, False):
        exported = export(ticket.restore(), ticket, tmp_path / "t.c", CExportConfig(layout, keep_structure=keep))
        assert bool(exported.left.removed_neurons) != keep
        sizes.append(exported.table_bytes)
    assert sizes[1] < sizes[0]
    assert "slt_left" not in (tmp_path / "t.c").read_text()
    compiled_file(tmp_path / "t.c", tmp_path / "sanitised", SANITISED).selftest()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CExportConfig("signs"), "`layout=signs` needs weights of one magnitude, .* stored; use `layout=gap`"),
        (CExportConfig(arithmetic="fixed"), "`arithmetic=fixed` needs .* stored; use `arithmetic=float`"),
    ],
)
def test_what_needs_one_magnitude_is_refused(ticket: Ticket, tmp_path: Path, config: CExportConfig, words: str) -> None:
    with pytest.raises(UnreachableError, match=words):
        check(with_values(ticket, "int8"), tmp_path / "t.c", config)
