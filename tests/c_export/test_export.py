"""C files compute what torch does for all layers, layouts and initialisers, or are not written."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress.c_export import graph, kernels, proof, text
from slt_compress.c_export.export import LAYOUTS, CExportConfig, check, export
from slt_compress.c_export.network import Network
from slt_compress.data.preprocessing import Preprocessing, as_pixels
from slt_compress.data.splits import TensorSplit
from slt_compress.errors import MissingPackageError, OutputError, UnreachableError, UsageError, VerificationError
from slt_compress.prng import Freeze
from slt_compress.tasks.task import recorded_task
from slt_compress.ticket.ticket import Ticket
from tests.support.c_code import (
    NETWORKS,
    SANITISED,
    Everything,
    Sequence,
    check_own,
    compiled_file,
    needs_compiler,
    ticket_of,
)
from tests.support.digits import DIGITS
from tests.support.documents import rich_ticket
from tests.support.images import noise, preprocessing_of
from tests.support.neuron_tickets import make_neuron_ticket
from tests.support.tickets import make_ticket


@needs_compiler
def test_all_layouts_compute_the_same_and_predict_what_torch_does(ticket: Ticket, tmp_path: Path) -> None:
    test = DIGITS.read("test", 8)
    images = as_pixels(next(iter(test.batches(50)))[0]).numpy()
    outputs = []
    for layout in LAYOUTS:
        exported = export(ticket.restore(), ticket, tmp_path / f"{layout}.c", CExportConfig(layout), test=test)
        assert exported.bytes == (tmp_path / f"{layout}.c").stat().st_size
        assert exported.header == tmp_path / f"{layout}.h"
        assert exported.agreement
        assert exported.agreement.equal == exported.agreement.predictions == len(test)
        assert exported.agreement.metric_torch == exported.agreement.metric_onnx
        assert exported.arena_bytes == exported.bound_bytes == 1600
        assert exported.max_abs_difference is not None
        assert exported.max_abs_difference < 1e-5
        outputs.append(compiled_file(tmp_path / f"{layout}.c", tmp_path / layout).run(images))
    assert np.array_equal(outputs[0], outputs[1])
    assert np.array_equal(outputs[0], outputs[2])


@needs_compiler
@pytest.mark.parametrize(("name", "size"), [("lenet-5", 28), ("conv2", 8), ("resnet20", 8), ("wide_resnet10_1", 8)])
def test_networks_by_name(tmp_path: Path, name: str, size: int) -> None:
    ticket = make_ticket(name, 0.1, size=size)
    exported = export(ticket.restore(), ticket, tmp_path / "t.c")
    assert exported.max_abs_difference is not None
    assert exported.arena_bytes <= 1.2 * exported.bound_bytes
    compiled_file(tmp_path / "t.c", tmp_path / "sanitised", SANITISED).selftest()


@needs_compiler
@pytest.mark.parametrize("initialiser", ["signed-constant", "uniform", "kaiming-normal"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_of_ones_own(tmp_path: Path, kind: type[Everything], initialiser: str) -> None:
    torch.manual_seed(0)
    module = kind()
    ticket = ticket_of(module, kind.shape, initialiser)
    restored = ticket.apply_to(module)
    layout = "rice" if initialiser == "uniform" else "gap"
    export(restored, ticket, tmp_path / "own.c", CExportConfig(layout))
    check_own(tmp_path / "own.c", tmp_path / "sanitised", restored, kind.shape)


@needs_compiler
@pytest.mark.parametrize(("name", "initialiser"), [("lenet-300-100", "uniform"), ("lenet-5", "kaiming-normal")])
def test_values_are_regenerated_where_pixels_are_read(tmp_path: Path, name: str, initialiser: str) -> None:
    ticket = make_ticket(name, 0.3, size=12, initialiser=initialiser)
    export(ticket.restore(), ticket, tmp_path / "t.c")
    compiled_file(tmp_path / "t.c", tmp_path / "sanitised", SANITISED).selftest()


@needs_compiler
def test_gates_that_the_seed_fixes_are_in_the_code(tmp_path: Path) -> None:
    ticket = make_ticket("lenet-300-100", 0.3, size=8, freeze=Freeze(0.5, 0.1))
    export(ticket.restore(), ticket, tmp_path / "t.c")


CUT = [  # each layout with each arithmetic and with each kind of mask, and these two with one another
    *(("rice", None, "fixed"), ("gap", None, "float"), ("signs", None, "fixed")),
    *(("rice", 0.2, "float"), ("gap", 0.2, "fixed"), ("signs", 0.2, "float")),
]


@needs_compiler
@pytest.mark.parametrize(("layout", "density", "arithmetic"), CUT)
def test_dead_neurons_are_not_in_the_code(tmp_path: Path, layout: str, density: float | None, arithmetic: str) -> None:
    ticket = make_neuron_ticket("lenet-5", 0.5, size=16, density=density)
    test, module = noise(ticket, 16), ticket.restore()
    found = []
    for keep in (True, False):
        drop = None if arithmetic == "float" else 1.0
        config = CExportConfig(layout, arithmetic=arithmetic, keep_structure=keep, max_accuracy_drop=drop)
        exported = export(module, ticket, tmp_path / f"{keep}.c", config, test=test, calibration=test)
        assert bool(exported.left.removed_neurons) != keep
        program = compiled_file(tmp_path / f"{keep}.c", tmp_path / f"sanitised {keep}", SANITISED)
        found.append((exported, program.run(as_pixels(next(iter(test.batches(16)))[0]).numpy())))
    (whole, expected), (cut, outputs) = found
    assert cut.arena_bytes < whole.arena_bytes
    assert cut.table_bytes < whole.table_bytes
    if density is None and layout != "signs":
        assert cut.table_bytes < 0.5 * whole.table_bytes
    most = 1e-4 if arithmetic == "float" else np.abs(expected).max() / 50
    assert np.allclose(outputs, expected, rtol=1e-4, atol=most)


@needs_compiler
@pytest.mark.parametrize("initialiser", ["signed-constant", "uniform", "kaiming-normal"])
@pytest.mark.parametrize("kind", [Everything, Sequence])
def test_dead_neurons_of_networks_of_ones_own(tmp_path: Path, kind: type[Everything], initialiser: str) -> None:
    torch.manual_seed(0)
    module = kind()
    ticket = ticket_of(module, kind.shape, initialiser, closed=0.6)
    restored = ticket.apply_to(module)
    config = CExportConfig("gap" if initialiser == "uniform" else "rice")
    exported = export(restored, ticket, tmp_path / "own.c", config)
    assert exported.left.removed_neurons
    check_own(tmp_path / "own.c", tmp_path / "sanitised", restored, kind.shape)


@needs_compiler
def test_what_c_has_no_form_for_without_dead_neurons_is_exported_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = make_neuron_ticket("lenet-5", 0.5, size=16)
    read = graph.read

    def fails_once(*_: Any) -> Network:
        monkeypatch.setattr(graph, "read", read)
        raise UnreachableError("C code has no Gather")

    monkeypatch.setattr(graph, "read", fails_once)
    exported = export(ticket.restore(), ticket, tmp_path / "t.c")
    assert exported.left.removed_neurons is None
    assert exported.left.parameters == exported.left.whole_parameters


class ReadsTwice(nn.Module):
    """An image that not only layers read."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = (self.layer(x) + x).flatten(1)
        return y


@needs_compiler
def test_pixels_are_normalised_first_where_other_steps_read_them(tmp_path: Path) -> None:
    module = ReadsTwice()
    ticket = ticket_of(module, (3, 5, 5))
    preprocessing = Preprocessing(5, 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    ticket = replace(ticket, provenance=replace(ticket.provenance, preprocessing=preprocessing))
    exported = export(ticket.apply_to(module), ticket, tmp_path / "t.c")
    assert "slt_prepare(input" in (tmp_path / "t.c").read_text()
    assert exported.max_abs_difference is not None


@needs_compiler
def test_a_wrong_number_in_the_code_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = make_ticket("lenet-300-100", 0.1, size=8)
    monkeypatch.setattr(kernels, "LINEAR", kernels.LINEAR.replace("float sum = 0", "float sum = 1"))
    with pytest.raises(VerificationError, match=r"the C code differs from torch by .*: nothing was written"):
        export(ticket.restore(), ticket, tmp_path / "t.c")
    assert list(tmp_path.iterdir()) == []


@needs_compiler
def test_other_predictions_are_noticed(ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "TOLERANCE", 1e9)
    monkeypatch.setattr(kernels, "LINEAR", kernels.LINEAR.replace("float sum = 0", "float sum = 9"))
    with pytest.raises(VerificationError, match=r"decides otherwise than torch in \d+ of 360 cases"):
        export(ticket.restore(), ticket, tmp_path / "t.c", test=DIGITS.read("test", 8))
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_the_file_is_written_and_unproven(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "COMPILERS", ("no-such-compiler",))
    exported = export(ticket.restore(), ticket, tmp_path / "t.c", test=DIGITS.read("test", 8))
    assert exported.compiler is None
    assert exported.agreement is None
    assert exported.max_abs_difference is None
    assert (tmp_path / "t.c").exists()


def test_the_same_ticket_gives_the_same_bytes(ticket: Ticket, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        export(ticket.restore(), ticket, tmp_path / folder / "t.c")
    for name in ("t.c", "t.h"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("name", ["t", "t.h", 'a"b.c', "a\nb.c"])
def test_names_that_no_c_file_has_are_refused(ticket: Ticket, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"must be a name such as ticket\.c"):
        check(ticket, tmp_path / name, CExportConfig())


def test_what_cannot_be_done_is_refused_before_any_work(ticket: Ticket, tmp_path: Path) -> None:
    path = tmp_path / "t.c"
    with pytest.raises(UsageError, match="`layout` must be one of rice, gap, signs, got 'zip'"):
        check(ticket, path, CExportConfig("zip"))
    uniform = make_ticket("lenet-300-100", 0.1, size=8, initialiser="uniform")
    with pytest.raises(UnreachableError, match=r"`layout=signs` needs weights of one magnitude.*use `layout=gap`"):
        check(uniform, path, CExportConfig("signs"))
    with pytest.raises(UnreachableError, match="several coats; use `format=onnx`"):
        check(rich_ticket(), path, CExportConfig())
    with pytest.raises(OutputError, match="does not exist"):
        export(nn.Flatten(), ticket, tmp_path / "no" / "t.c")


def test_whole_numbers_need_one_magnitude_images_and_a_compiler(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, config = tmp_path / "t.c", CExportConfig(arithmetic="fixed")
    with pytest.raises(UsageError, match="`arithmetic` must be one of float, fixed, got 'int4'"):
        check(ticket, path, CExportConfig(arithmetic="int4"))
    with pytest.raises(UsageError, match="`max_accuracy_drop` has no meaning for `arithmetic=float`"):
        check(ticket, path, CExportConfig(max_accuracy_drop=0.1))
    uniform = make_ticket("lenet-300-100", 0.1, size=8, initialiser="uniform")
    with pytest.raises(UnreachableError, match="`arithmetic=fixed` needs weights of one magnitude"):
        check(uniform, path, config)
    monkeypatch.setattr(proof, "compiler", lambda: "cc")
    with pytest.raises(UsageError, match=r"`arithmetic=fixed` needs data.*give `data_dir`"):
        export(ticket.restore(), ticket, path, config)
    monkeypatch.setattr(proof, "compiler", lambda: None)
    with pytest.raises(MissingPackageError, match=r"needs a C compiler \(cc, gcc, clang\)"):
        check(ticket, path, config)


@needs_compiler
def test_what_whole_numbers_lose_is_measured_and_limited(ticket: Ticket, tmp_path: Path) -> None:
    test, train = DIGITS.read("test", 8), DIGITS.read("train", 8)
    for limit, written in ((-0.5, False), (None, True)):
        config = CExportConfig(arithmetic="fixed", max_accuracy_drop=limit)
        with (
            contextlib.nullcontext() if written else pytest.raises(VerificationError, match="lowers the accuracy from")
        ):
            exported = export(ticket.restore(), ticket, tmp_path / "t.c", config, test=test, calibration=train)
        assert (tmp_path / "t.c").exists() == written
    assert exported.arena_bytes < 500
    program = compiled_file(tmp_path / "t.c", tmp_path / "sanitised", SANITISED)
    images = next(iter(test.batches(20)))[0]
    assert np.isfinite(program.run(images.permute(0, 2, 3, 1).numpy())).all()


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    ticket = ticket_of(Sequence(), Sequence.shape)
    several = replace(ticket, provenance=replace(ticket.provenance, inputs=ticket.provenance.inputs * 2))
    with pytest.raises(UnreachableError, match="networks with one input of float32, this one takes"):
        check(several, tmp_path / "t.c", CExportConfig())


@needs_compiler
def test_colours_are_read_as_cameras_have_them(tmp_path: Path) -> None:
    ticket = make_ticket("lenet-300-100", 0.2, size=6)
    module = ticket.restore()
    export(module, ticket, tmp_path / "t.c")
    images = torch.randint(256, (4, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module(preprocessing_of(ticket)(images)).numpy()
    program = compiled_file(tmp_path / "t.c", tmp_path / "program")
    assert np.allclose(program.run(images.permute(0, 2, 3, 1).numpy()), expected, atol=1e-4)
    split = TensorSplit(images, torch.from_numpy(expected.argmax(1)))
    exported = export(module, ticket, tmp_path / "t.c", test=split)
    assert exported.agreement
    assert exported.agreement.metric_onnx == 1.0


@needs_compiler
@pytest.mark.parametrize("kind", NETWORKS)
def test_whole_numbers_come_close_on_networks_of_ones_own(tmp_path: Path, kind: type[Everything]) -> None:
    torch.manual_seed(0)
    module = kind()
    ticket = ticket_of(module, kind.shape)
    restored = ticket.apply_to(module)
    inputs = torch.randn(64, *kind.shape)
    with torch.no_grad():
        split = TensorSplit(inputs, restored(inputs))
    task = recorded_task(ticket.provenance.task)
    config = CExportConfig(arithmetic="fixed", layout="signs", max_accuracy_drop=0.02)
    exported = export(restored, ticket, tmp_path / "own.c", config, test=split, calibration=split, task=task)
    assert exported.agreement
    assert exported.agreement.metric_torch == pytest.approx(1.0)
    assert exported.calibration_images == 64
    program = compiled_file(tmp_path / "own.c", tmp_path / "sanitised", SANITISED)
    program.selftest()
    found = program.run(10 * inputs.numpy())  # far out of the measured ranges, nothing overflows
    assert np.isfinite(found).all()
