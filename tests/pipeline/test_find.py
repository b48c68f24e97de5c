"""Searches from names: what is measured is what a reader of the file gets."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from slt_compress.config import SearchConfig
from slt_compress.data.splits import IndexedSplit
from slt_compress.errors import DataError, OutputError, UnreachableError, UsageError
from slt_compress.evaluation.accuracy import Classifier, Evaluation, evaluate, torch_classifier
from slt_compress.pipeline import find, measure
from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt, find_ticket
from slt_compress.pipeline.images import images_for
from slt_compress.pipeline.prepare import OwnData, prepare
from slt_compress.prng import Freeze
from slt_compress.progress import SILENT, ProgressReporter
from slt_compress.tasks.task import CLASSIFY
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.training import batchnorm
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.search import FoundMask, search
from tests.support.contexts import Unconnected
from tests.support.images import predictions_of, preprocessing_of
from tests.support.reporters import RecordingReporter
from tests.support.tickets import make_ticket

LENET = "lenet-300-100"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """What a search of four steps has left after its second."""
    kept = Checkpoints(tmp_path_factory.mktemp("ckpt"), every=2)
    find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=4, batch_size=64), checkpoints=kept)
    return kept


def test_the_result_is_that_of_the_written_ticket() -> None:
    reporter = RecordingReporter()
    result = find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=30), reporter)
    assert "50,200 gated weights" in reporter.notes[0]
    assert len(reporter.steps) == 30
    assert reporter.counted["evaluating on test images"] == (360, 360)
    ticket = Ticket.from_bytes(result.ticket.to_bytes())
    split = images_for(NetworkRecord.of(ticket), "digits", None, reporter)
    again = evaluate(torch_classifier(ticket.restore(), CPU), split, preprocessing_of(ticket))
    assert again.accuracy == result.test.accuracy == ticket.provenance.metrics["accuracy"]
    assert again.loss == result.test.loss == ticket.provenance.metrics["loss"]
    assert ticket.provenance.metrics["validation_accuracy"] == result.validation.accuracy
    assert (ticket.provenance.method.steps, ticket.provenance.method.batch_size) == (30, 256)
    assert result.epochs == 6
    assert result.images_per_second == pytest.approx(30 * 256 / result.seconds)
    assert result.dense_bytes == 4 * (50_200 + 2 * 410) + 3 * 8


def test_a_ticket_with_fixed_gates_restores_to_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[FoundMask] = []

    def remember(*arguments: Any, **options: Any) -> FoundMask:
        found.append(search(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(find, "search", remember)
    freeze = Freeze(0.7, 0.1)
    config = SearchConfig(sparsity=0.8, method="edge-popup", options={"scope": "layer"}, freeze=freeze, max_steps=5)
    result = find_ticket(LENET, config)
    ticket = Ticket.from_bytes(result.ticket.to_bytes())
    assert ticket.freeze == freeze
    assert ticket.sparsity == pytest.approx(0.8, abs=0.0005)
    assert set(found[0].masks) == {layer.name for layer in ticket.layers}
    for name, mask in found[0].masks.items():
        assert torch.equal(torch.from_numpy(ticket.mask(name)), mask)
        assert torch.equal(ticket.restore().get_parameter(name) != 0, mask)
    assert ticket.provenance.method.settings["scope"] == "layer"


def test_a_ticket_with_seven_tenths_of_its_gates_fixed_stores_three_tenths_of_the_bits() -> None:
    whole = make_ticket("resnet18", 0.3, codec="raw")
    fixed = make_ticket("resnet18", 0.3, codec="raw", freeze=Freeze(0.7, 0.2))
    assert fixed.mask_bytes <= (0.30 * 1.02) * whole.mask_bytes
    assert fixed.sparsity == pytest.approx(0.7, abs=1e-5)


def test_fixed_gates_that_rule_the_sparsity_out_are_refused_before_the_search_is_announced() -> None:
    reporter = RecordingReporter()
    with pytest.raises(UnreachableError, match=r"sparsity 0\.9 cannot be reached"):
        find_ticket(LENET, SearchConfig(sparsity=0.9, freeze=Freeze(0.5, 0.2)), reporter)
    assert not reporter.notes


def test_the_published_crbg_has_its_own_weights_unless_others_are_asked_for() -> None:
    config = SearchConfig(sparsity=0.8, recipe="paper", max_steps=1)
    assert find_ticket(LENET, config).ticket.initialiser == "uniform"
    chosen = replace(config, initialiser="kaiming-normal")
    assert find_ticket(LENET, chosen).ticket.initialiser == "kaiming-normal"
    assert find_ticket(LENET, replace(config, recipe="default")).ticket.initialiser == "signed-constant"


@pytest.mark.parametrize("model", ["resnet20", "wide_resnet10_2", "test_vit", "test_convnext"])
def test_a_network_of_each_kind_is_searched_and_read_back(model: str) -> None:
    result = find_ticket(model, SearchConfig(sparsity=0.9, max_steps=3, batch_size=32))
    ticket = Ticket.from_bytes(result.ticket.to_bytes())
    assert ticket.sparsity == pytest.approx(0.9, abs=0.005)
    split = images_for(NetworkRecord.of(ticket), "digits", None)
    again = evaluate(torch_classifier(ticket.restore(), CPU), split, preprocessing_of(ticket))
    assert again.accuracy == result.test.accuracy


def test_the_arguments_of_a_network_are_in_its_ticket() -> None:
    config = SearchConfig(max_steps=3, batch_size=32, model_arguments={"depth": 2, "embed_dim": 48})
    ticket = Ticket.from_bytes(find_ticket("test_vit", config).ticket.to_bytes())
    assert ticket.version == 2
    assert ticket.provenance.model.title == "test_vit (depth=2, embed_dim=48)"
    restored = ticket.restore()
    assert restored.get_parameter("blocks.1.norm1.weight").shape == (48,)
    with pytest.raises(AttributeError):
        restored.get_submodule("blocks.2")


def test_the_state_of_torchs_generator_changes_no_ticket() -> None:
    """This network has dropout, which would draw from it."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(find_ticket("torchvision/squeezenet1_1", SearchConfig(sparsity=0.5, max_steps=2, batch_size=16)))
    assert found[0].ticket.to_bytes() == found[1].ticket.to_bytes()


@pytest.mark.parametrize("statistics", ["fp32", "fp16", "auto"])
def test_shorter_statistics_are_taken_where_they_change_nothing(statistics: str) -> None:
    config = SearchConfig(sparsity=0.8, max_steps=20, statistics=statistics)
    result = find_ticket(LENET, config)
    if statistics != "auto":
        assert result.ticket.half_statistics == (statistics == "fp16")
        return
    exact = find_ticket(LENET, replace(config, statistics="fp32"))
    half = find_ticket(LENET, replace(config, statistics="fp16"))
    same = torch.equal(predictions_of(exact.validation), predictions_of(half.validation))
    assert result.ticket.half_statistics == same


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of every evaluation that a search makes: 143 held-out or 360 test ones."""
    calls: list[int] = []

    def count(classifier: Classifier, split: IndexedSplit, *arguments: Any, **options: Any) -> Evaluation:
        calls.append(len(split))
        return evaluate(classifier, split, *arguments, **options)

    monkeypatch.setattr(measure, "evaluate", count)
    return calls


@pytest.mark.parametrize(("statistics", "expected"), [("fp32", 1), ("fp16", 1), ("auto", 2)])
def test_the_test_split_is_evaluated_once_and_last(statistics: str, expected: int, evaluated: list[int]) -> None:
    find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=5, statistics=statistics))
    assert evaluated == [143] * expected + [360]


def test_a_changed_held_out_prediction_keeps_the_exact_statistics(
    monkeypatch: pytest.MonkeyPatch, evaluated: list[int]
) -> None:
    def crude(ticket: Ticket) -> Ticket:
        return ticket.with_statistics({name: values * 0 + 1 for name, values in ticket.statistics.items()})

    config = SearchConfig(sparsity=0.8, max_steps=20)
    exact = find_ticket(LENET, replace(config, statistics="fp32"))
    evaluated.clear()
    monkeypatch.setattr(Ticket, "with_half_statistics", crude)
    result = find_ticket(LENET, config)
    assert evaluated == [143, 143, 360]
    assert result.ticket.to_bytes() == exact.ticket.to_bytes()
    assert not result.ticket.half_statistics
    assert len({float(values[0]) for values in result.ticket.statistics.values()}) > 1
    assert torch.equal(predictions_of(result.validation), predictions_of(exact.validation))


def test_a_test_image_has_no_say_in_the_form_of_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prediction on test images is another at each evaluation here."""
    turn = itertools.count()

    def disturb(classifier: Classifier, split: IndexedSplit, *arguments: Any, **options: Any) -> Evaluation:
        found = evaluate(classifier, split, *arguments, **options)
        held_out = len(split) == 143
        predictions = torch.full_like(predictions_of(found), 3 if held_out else next(turn))
        return replace(found, predictions=predictions)

    monkeypatch.setattr(measure, "evaluate", disturb)
    assert find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=5)).ticket.half_statistics


def test_statistics_beyond_fp16_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, evaluated: list[int]) -> None:
    def refuse(_: Ticket) -> Ticket:
        raise UnreachableError("too large")

    monkeypatch.setattr(Ticket, "with_half_statistics", refuse)
    result = find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=5))
    assert not result.ticket.half_statistics
    assert evaluated == [143, 360]


def test_a_checkpoint_that_not_every_process_finds_is_refused(tmp_path: Path) -> None:
    """The main process tells of no checkpoint here, so that another one that finds one is on its own."""
    config = SearchConfig(sparsity=0.8, max_steps=4, batch_size=64)
    find_ticket(LENET, config, checkpoints=Checkpoints(tmp_path / "ckpt", every=2))
    follower = Checkpoints(tmp_path / "ckpt", resume=True)
    with pytest.raises(OutputError, match=r"the main process's checkpoint is not in .*ckpt here: share the folder"):
        find_ticket(LENET, config, checkpoints=follower, context=Unconnected(1, 2))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"sparsity": 0.7}, "density"),
        ({"seed": 1}, "seed"),
        ({"learning_rate": 0.5}, "learning rate"),
        ({"augment": "crop"}, "augmentation"),
        ({"recipe": "paper"}, "recipe"),
        ({"method": "edge-popup"}, "method"),
        ({"freeze": Freeze(0.3, 0.1)}, "freezing"),
        ({"initialiser": "uniform"}, "initialiser"),
        ({"max_steps": 5}, "number of steps"),
        ({"batch_size": 32}, "batch size"),
        ({"precision": "bf16"}, "precision"),
        ({"input_size": 10}, "model"),
    ],
)
def test_the_checkpoint_of_another_search_is_refused(change: dict[str, Any], key: str, checkpoint: Checkpoints) -> None:
    config = replace(SearchConfig(sparsity=0.8, max_steps=4, batch_size=64), **change)
    with pytest.raises(UsageError, match=f"belongs to another search: its {key} is "):
        find_ticket(LENET, config, checkpoints=replace(checkpoint, resume=True))


def test_the_options_of_a_method_are_part_of_what_a_checkpoint_is_for(tmp_path: Path) -> None:
    config = SearchConfig(method="edge-popup", options={"scope": "layer"}, max_steps=4, batch_size=64)
    checkpoints = Checkpoints(tmp_path / "ckpt", every=2)
    find_ticket(LENET, config, checkpoints=checkpoints)
    with pytest.raises(UsageError, match="belongs to another search: its options is "):
        find_ticket(LENET, replace(config, options={}), checkpoints=replace(checkpoints, resume=True))


class _BrokenError(Exception):
    """Nobody expects it."""


@pytest.mark.parametrize("when", [143, 360])
@pytest.mark.parametrize("error", [DataError("no such image"), _BrokenError("first\nsecond"), MemoryError()])
def test_a_ticket_that_cannot_be_measured_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, when: int, error: Exception
) -> None:
    """On held-out images or on test images."""
    config = SearchConfig(sparsity=0.8, max_steps=5, statistics="fp16")
    whole = find_ticket(LENET, config).ticket

    def fail(classifier: Classifier, split: IndexedSplit, *arguments: Any, **options: Any) -> Evaluation:
        if len(split) == when:
            raise error
        return evaluate(classifier, split, *arguments, **options)

    monkeypatch.setattr(measure, "evaluate", fail)
    with pytest.raises(UnmeasuredError, match=r"a ticket was found, but measuring it has failed \(") as caught:
        find_ticket(LENET, config)
    assert caught.value.__cause__ is error
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    name = "no such image" if isinstance(error, DataError) else type(error).__name__
    assert caught.value.reason.startswith(name)
    kept = Ticket.from_bytes(caught.value.ticket.to_bytes())
    assert kept.provenance.metrics == {}
    for layer in whole.layers:
        assert np.array_equal(kept.mask(layer.name), whole.mask(layer.name))
    assert kept.half_statistics == (when == 360)


def test_an_interrupt_while_it_is_measured_carries_the_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SearchConfig(max_steps=3)
    whole = find_ticket(LENET, config).ticket

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "evaluate", interrupt)
    with pytest.raises(UnmeasuredInterrupt) as caught:
        find_ticket(LENET, config)
    assert isinstance(caught.value, KeyboardInterrupt)
    kept = Ticket.from_bytes(caught.value.ticket.to_bytes())
    assert all(np.array_equal(kept.mask(layer.name), whole.mask(layer.name)) for layer in whole.layers)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("no such image")])
def test_a_search_without_checkpoints_is_not_lost_after_its_last_step(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """While the statistics of the norms are measured: the ticket has others, which is said."""
    whole = find_ticket(LENET, SearchConfig(max_steps=3)).ticket

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(batchnorm, "_measure", fail)
    reporter = RecordingReporter()
    with pytest.raises((UnmeasuredInterrupt, UnmeasuredError)) as caught:
        find_ticket(LENET, SearchConfig(max_steps=3), reporter)
    assert isinstance(caught.value, KeyboardInterrupt) == isinstance(error, KeyboardInterrupt)
    assert caught.value.__cause__ is error
    kept = Ticket.from_bytes(caught.value.ticket.to_bytes())  # type: ignore[attr-defined]
    assert all(np.array_equal(kept.mask(layer.name), whole.mask(layer.name)) for layer in whole.layers)
    assert reporter.notes[-1] == "the statistics of the norms are not measured: the ticket has those of the steps"
    with pytest.raises(type(error)) as caught:
        find_ticket(LENET, SearchConfig(method="random", sparsity=0.5))  # where there is nothing to lose
    assert caught.value is error


def test_an_interrupt_while_a_ticket_is_packed_carries_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find_ticket(LENET, SearchConfig(max_steps=3)).ticket
    calls = itertools.count()
    assemble = Ticket.assemble

    def interrupt(*arguments: Any, **options: Any) -> Ticket:
        if next(calls) == 1:  # the first is made before the search, to see whether a ticket can hold the network
            raise KeyboardInterrupt
        return assemble(*arguments, **options)

    monkeypatch.setattr(Ticket, "assemble", interrupt)
    with pytest.raises(UnmeasuredInterrupt) as caught:
        find_ticket(LENET, SearchConfig(max_steps=3))
    kept = caught.value.ticket
    assert all(np.array_equal(kept.mask(layer.name), whole.mask(layer.name)) for layer in whole.layers)


def few(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, 8, generator=torch.Generator().manual_seed(0)), torch.arange(count) % 2)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(few(6))


@pytest.mark.parametrize("validation", [few(1), few(2), DataLoader(few(3), batch_size=1), DataLoader(Stream())])
def test_who_watches_changes_nothing(validation: Any) -> None:
    """However few held-out examples there are to show, and however they are read; the network has a BatchNorm."""

    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))

    def found(reporter: ProgressReporter) -> Ticket:
        config = SearchConfig(max_steps=3, batch_size=16)
        data = OwnData(few(48), few(8), validation)
        return find_ticket(net, config, reporter, data=data, task=CLASSIFY).ticket

    watched = RecordingReporter()
    assert found(watched).digest == found(SILENT).digest
    assert len(watched.steps) == 3


@pytest.mark.parametrize("freeze", [Freeze(), Freeze(0.5, 0.1)])
def test_classes_that_no_reader_would_accept_are_known_before_the_search(
    freeze: Freeze, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SearchConfig(max_steps=2, freeze=freeze, sparsity=0.6)
    prepared = prepare(LENET, config)
    monkeypatch.setattr(find, "search", lambda *_, **__: pytest.fail("the search has begun"))
    for classes in ([f"{index:01000}" for index in range(5000)], ["x" * 5_000_000]):
        named = replace(prepared, classes=(*classes,))
        with pytest.raises(DataError, match="a reader accepts 4,194,304: there are too many classes, or their names"):
            find_ticket(LENET, config, prepared=named)


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        (LENET, {"statistics": "fp16"}, ""),
        (LENET, {"batch_size": 64}, ""),
        ("test_vit", {}, ""),
        (
            "test_vit",
            {"batch_size": 64},
            r"^`batch_size` has no meaning where nothing is optimised and the network, ",
        ),
        (
            "test_vit",
            {"statistics": "fp32"},
            r"^`statistics` has no meaning for test_vit, which has none",
        ),
    ],
)
def test_settings_of_statistics_need_a_network_that_has_some(model: str, given: dict[str, Any], words: str) -> None:
    config = SearchConfig(method="random", sparsity=0.5, **given)
    with pytest.raises(UsageError, match=words) if words else contextlib.nullcontext():
        find_ticket(model, config)


def test_what_has_no_effect_is_said_where_a_size_decides(tmp_path: Path) -> None:
    reporter = RecordingReporter()
    config = SearchConfig(max_steps=2, batch_size=16, input_size=4)
    find_ticket("lenet-5", config, reporter, checkpoints=Checkpoints(tmp_path / "ckpt", every=2))
    assert "`input_size=4` is too small for lenet-5: its images have 12 px" in reporter.notes
    assert "`checkpoint_every=2` keeps nothing of a search of 2 steps" in reporter.notes
    with pytest.raises(UsageError, match=r"^`augment=crop` has no meaning for images of 7 px, an eighth of which"):
        prepare("lenet-300-100", SearchConfig(input_size=7, augment="crop"))


@pytest.mark.parametrize("given", [{"every": 2}, {"resume": True}])
def test_checkpoints_of_a_search_without_steps_are_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no meaning for `method=random`, which optimises nothing"):
        find_ticket(LENET, SearchConfig(method="random"), checkpoints=Checkpoints(tmp_path / "ckpt", **given))
