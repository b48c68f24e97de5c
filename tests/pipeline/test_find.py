"""Jobs from names: what is measured is what a reader of the file gets, and images must fit the network."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from slt_compress import pipeline
from slt_compress.config import SearchConfig
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import Split
from slt_compress.errors import DataError, OutputError, UnreachableError, UsageError
from slt_compress.evaluation.accuracy import Classifier, Evaluation, evaluate, torch_classifier
from slt_compress.pipeline import find_ticket, images_for, prepare
from slt_compress.prng import Freeze
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.distributed import DistributedContext
from slt_compress.training.search import FoundMask, search
from tests.support.reporters import RecordingReporter
from tests.support.tickets import make_ticket

LENET = "lenet-300-100"
RECORD = NetworkRecord("digits", list("0123456789"), Preprocessing(8, 1, (0.3,), (0.4,)), LENET, 0, 0.9, "ab12")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """What a search of four steps has left after its second."""
    kept = Checkpoints(tmp_path_factory.mktemp("ckpt"), every=2)
    find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=4, batch_size=64), checkpoints=kept)
    return kept


class Unconnected(DistributedContext):
    """One of several processes, which hears nothing of the others."""

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


def test_the_result_is_that_of_the_written_ticket() -> None:
    reporter = RecordingReporter()
    result = find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=30), reporter)
    assert "50,200 gated weights" in reporter.notes[0]
    assert len(reporter.steps) == 30
    assert reporter.counted["evaluating on test images"] == (360, 360)
    ticket = Ticket.from_bytes(result.ticket.to_bytes())
    split = images_for(NetworkRecord.of(ticket), "digits", None, reporter)
    again = evaluate(torch_classifier(ticket.restore(), torch.device("cpu")), split, ticket.provenance.preprocessing)
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

    monkeypatch.setattr(pipeline, "search", remember)
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


def test_what_is_prepared_serves_other_seeds_and_methods_with_the_same_result() -> None:
    shared = prepare(LENET, SearchConfig(max_steps=3))
    for config in (
        SearchConfig(max_steps=3, seed=5, augment="crop"),
        SearchConfig(max_steps=3, sparsity=0.5, method="edge-popup", recipe="paper"),
    ):
        together, alone = find_ticket(LENET, config, prepared=shared), find_ticket(LENET, config)
        assert together.ticket.to_bytes() == alone.ticket.to_bytes()


@pytest.mark.parametrize("model", ["resnet20", "wide_resnet10_2", "test_vit", "test_convnext"])
def test_a_network_of_each_kind_is_searched_and_read_back(model: str) -> None:
    result = find_ticket(model, SearchConfig(sparsity=0.9, max_steps=3, batch_size=32))
    ticket = Ticket.from_bytes(result.ticket.to_bytes())
    assert ticket.sparsity == pytest.approx(0.9, abs=0.005)
    split = images_for(NetworkRecord.of(ticket), "digits", None)
    again = evaluate(torch_classifier(ticket.restore(), torch.device("cpu")), split, ticket.provenance.preprocessing)
    assert again.accuracy == result.test.accuracy


def test_the_state_of_torchs_generator_changes_no_ticket() -> None:
    """This network has dropout, which would draw from it."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(find_ticket("torchvision/mnasnet0_5", SearchConfig(sparsity=0.5, max_steps=2, batch_size=16)))
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
    same = torch.equal(exact.validation.predictions, half.validation.predictions)
    assert result.ticket.half_statistics == same


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of every evaluation that a search makes: 143 held-out or 360 test ones."""
    calls: list[int] = []

    def count(classifier: Classifier, split: Split, *arguments: Any) -> Evaluation:
        calls.append(len(split))
        return evaluate(classifier, split, *arguments)

    monkeypatch.setattr(pipeline, "evaluate", count)
    return calls


@pytest.mark.parametrize(("statistics", "expected"), [("fp32", 1), ("fp16", 1), ("auto", 2)])
def test_the_test_split_is_evaluated_once_and_last(statistics: str, expected: int, evaluated: list[int]) -> None:
    find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=5, statistics=statistics))
    assert evaluated == [143] * expected + [360]


def test_a_changed_held_out_prediction_keeps_the_exact_statistics(
    monkeypatch: pytest.MonkeyPatch, evaluated: list[int]
) -> None:
    def crude(ticket: Ticket) -> Ticket:
        return replace(ticket, statistics={name: values * 0 + 1 for name, values in ticket.statistics.items()})

    config = SearchConfig(sparsity=0.8, max_steps=20)
    exact = find_ticket(LENET, replace(config, statistics="fp32"))
    evaluated.clear()
    monkeypatch.setattr(Ticket, "with_half_statistics", crude)
    result = find_ticket(LENET, config)
    assert evaluated == [143, 143, 360]
    assert result.ticket.to_bytes() == exact.ticket.to_bytes()
    assert not result.ticket.half_statistics
    assert len({float(values[0]) for values in result.ticket.statistics.values()}) > 1
    assert torch.equal(result.validation.predictions, exact.validation.predictions)


def test_a_test_image_has_no_say_in_the_form_of_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prediction on test images is another at each evaluation here."""
    turn = itertools.count()

    def disturb(classifier: Classifier, split: Split, *arguments: Any) -> Evaluation:
        found = evaluate(classifier, split, *arguments)
        held_out = len(split) == 143
        predictions = torch.full_like(found.predictions, 3 if held_out else next(turn))
        return replace(found, predictions=predictions)

    monkeypatch.setattr(pipeline, "evaluate", disturb)
    assert find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=5)).ticket.half_statistics


def test_statistics_beyond_fp16_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, evaluated: list[int]) -> None:
    def refuse(_: Ticket) -> Ticket:
        raise UnreachableError("too large")

    monkeypatch.setattr(Ticket, "with_half_statistics", refuse)
    result = find_ticket(LENET, SearchConfig(sparsity=0.8, max_steps=5))
    assert not result.ticket.half_statistics
    assert evaluated == [143, 360]


def test_images_of_other_channels_are_refused() -> None:
    record = replace(RECORD, preprocessing=Preprocessing(8, 3, (0.5,) * 3, (0.5,) * 3))
    with pytest.raises(DataError, match="takes 3 channels, the images have 1"):
        images_for(record, "digits", None)


def test_images_of_other_classes_are_refused() -> None:
    record = replace(RECORD, classes=["cat", "dog"])
    with pytest.raises(DataError, match=r"tells apart 2 classes \(cat, dog\), digits has 10 \(0, 1, 2, 3, …\)"):
        images_for(record, "digits", None)


def test_of_many_images_the_same_few_are_drawn() -> None:
    whole, few, again = (images_for(RECORD, "digits", None, most=most) for most in (None, 20, 20))
    assert (len(whole), len(few)) == (360, 20)
    (images, labels), (same, _) = next(few.batches(20)), next(again.batches(20))
    assert torch.equal(images, same)
    every, truth = next(whole.batches(360))
    where = [int((every == image).all((1, 2, 3)).nonzero()[0]) for image in images]
    assert len(set(where)) == 20
    assert torch.equal(truth[where], labels)
    assert len(images_for(RECORD, "digits", None, most=1000)) == 360
    assert len(images_for(RECORD, "digits", None, part="train")) == 1437


def test_a_network_that_cannot_take_the_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot take images of 8 px .* such as 224"):
        find_ticket("mixer_s32_224", SearchConfig(sparsity=0.8, max_steps=1))


def test_more_processes_than_images_to_measure_are_refused() -> None:
    """Digits: 143 images are held out."""
    config = SearchConfig(sparsity=0.8, batch_size=1000)
    with pytest.raises(UsageError, match=r"200 processes need at least as many .* found 143 and 360; start fewer"):
        prepare(LENET, config, RecordingReporter(), Unconnected(3, 200))


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
