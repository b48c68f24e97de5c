"""Jobs from names: what is measured is what a reader of the file gets, and pictures must fit the network."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from slt_compress import jobs
from slt_compress.errors import DataError, UnreachableError, UsageError
from slt_compress.evaluate import evaluate, torch_classifier
from slt_compress.jobs import Request, choose_device, find_ticket, pictures_for, recorded
from slt_compress.parallel import Team
from slt_compress.search import Progress
from slt_compress.ticket import Freeze, Ticket
from tests.conftest import make_ticket


class Diary:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[Progress] = []
        self.counted: dict[str, tuple[int, int]] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextlib.contextmanager
    def counter(self, what: str) -> Iterator[Any]:
        yield lambda done, total: self.counted.update({what: (done, total)})

    @contextlib.contextmanager
    def search_progress(self) -> Iterator[Any]:
        yield self.steps.append


class Lonely(Team):
    """A process of a team that hears nothing of the others."""

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


def test_the_outcome_is_that_of_the_written_ticket() -> None:
    diary = Diary()
    outcome = find_ticket(Request("lenet-300-100", "digits", 0.2, max_steps=30), diary)
    assert "50,200 gated weights" in diary.notes[0]
    assert len(diary.steps) == 30
    assert diary.counted["evaluating on test pictures"] == (360, 360)
    ticket = Ticket.from_bytes(outcome.ticket.to_bytes())
    split, preprocessing = pictures_for(recorded(ticket), "digits", None, diary)
    again = evaluate(torch_classifier(ticket.restore(), torch.device("cpu")), split, preprocessing)
    assert again.accuracy == outcome.test.accuracy == ticket.provenance.metrics["accuracy"]
    assert outcome.dense_bytes == 4 * (50_200 + 2 * 410) + 3 * 8


def test_a_frozen_ticket_restores_to_what_was_found() -> None:
    freeze = Freeze(0.7, 0.1)
    request = Request("lenet-300-100", "digits", 0.2, "edge-popup", scope="layer", freeze=freeze, max_steps=5)
    outcome = find_ticket(request, Diary())
    ticket = Ticket.from_bytes(outcome.ticket.to_bytes())
    assert ticket.freeze == freeze
    assert ticket.sparsity == pytest.approx(0.8, abs=0.0005)
    for name, mask in outcome.found.masks.items():
        assert torch.equal(torch.from_numpy(ticket.mask(name)), mask)
        assert torch.equal(ticket.restore().get_parameter(name) != 0, mask)
    assert ticket.provenance.method["settings"]["scope"] == "layer"


def test_a_ticket_frozen_by_seven_tenths_stores_three_tenths_of_the_bits() -> None:
    whole = make_ticket("resnet18", 0.3, codec="raw")
    frozen = make_ticket("resnet18", 0.3, codec="raw", freeze=Freeze(0.7, 0.2))
    assert frozen.mask_bytes <= (0.30 * 1.02) * whole.mask_bytes
    assert frozen.sparsity == pytest.approx(0.7, abs=1e-5)


def test_frozen_gates_that_rule_the_sparsity_out_are_refused_before_any_picture_is_read() -> None:
    diary = Diary()
    with pytest.raises(UnreachableError, match=r"sparsity 0\.9 cannot be reached"):
        find_ticket(Request("lenet-300-100", "digits", 0.1, freeze=Freeze(0.5, 0.2)), diary)
    assert not diary.notes


def test_the_published_crbg_has_its_own_weights_unless_others_are_asked_for() -> None:
    request = Request("lenet-300-100", "digits", 0.2, recipe="paper", max_steps=1)
    assert find_ticket(request, Diary()).ticket.initialiser == "uniform"
    asked = replace(request, initialiser="kaiming-normal")
    assert find_ticket(asked, Diary()).ticket.initialiser == "kaiming-normal"
    assert find_ticket(replace(request, recipe="default"), Diary()).ticket.initialiser == "signed-constant"


@pytest.mark.parametrize("model", ["resnet20", "wide_resnet10_2", "test_vit", "test_convnext"])
def test_a_network_of_each_kind_is_searched_and_read_back(model: str) -> None:
    outcome = find_ticket(Request(model, "digits", 0.1, max_steps=3, batch_size=32), Diary())
    ticket = Ticket.from_bytes(outcome.ticket.to_bytes())
    assert ticket.sparsity == pytest.approx(0.9, abs=0.005)
    split, preprocessing = pictures_for(recorded(ticket), "digits", None, Diary())
    again = evaluate(torch_classifier(ticket.restore(), torch.device("cpu")), split, preprocessing)
    assert again.accuracy == outcome.test.accuracy


def test_the_state_of_torchs_generator_changes_no_ticket() -> None:
    """This network has dropout, which would draw from it."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(find_ticket(Request("torchvision/mnasnet0_5", "digits", 0.5, max_steps=2, batch_size=16), Diary()))
    assert found[0].ticket.to_bytes() == found[1].ticket.to_bytes()


@pytest.mark.parametrize("statistics", ["fp32", "fp16", "auto"])
def test_shorter_statistics_are_taken_where_they_change_nothing(statistics: str) -> None:
    request = Request("lenet-300-100", "digits", 0.2, max_steps=20, statistics=statistics)
    outcome = find_ticket(request, Diary())
    if statistics != "auto":
        assert outcome.ticket.half_statistics == (statistics == "fp16")
        return
    exact = find_ticket(replace(request, statistics="fp32"), Diary())
    half = find_ticket(replace(request, statistics="fp16"), Diary())
    same = torch.equal(exact.test.predictions, half.test.predictions)
    same &= torch.equal(exact.validation.predictions, half.validation.predictions)
    assert outcome.ticket.half_statistics == same


def test_a_changed_prediction_keeps_the_exact_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    def crude(ticket: Ticket) -> Ticket:
        return replace(ticket, statistics={name: values * 0 + 1 for name, values in ticket.statistics.items()})

    monkeypatch.setattr(Ticket, "with_half_statistics", crude)
    outcome = find_ticket(Request("lenet-300-100", "digits", 0.2, max_steps=20), Diary())
    assert not outcome.ticket.half_statistics
    assert len({float(values[0]) for values in outcome.ticket.statistics.values()}) > 1


def test_pictures_of_other_channels_are_refused(ticket: Ticket) -> None:
    origin = recorded(ticket)
    origin["preprocessing"] = {"size": 8, "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
    with pytest.raises(DataError, match="takes 3 channels, the pictures have 1"):
        pictures_for(origin, "digits", None, Diary())


def test_a_network_that_cannot_take_the_pictures_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot take pictures of 8 px .* such as 224"):
        find_ticket(Request("mixer_s32_224", "digits", 0.2, max_steps=1), Diary())


def test_more_processes_than_pictures_to_measure_are_refused() -> None:
    """Digits: 143 pictures are held out."""
    with pytest.raises(UsageError, match=r"200 processes need at least as many .* found 143 and 360; lower --nproc"):
        jobs.prepare(Request("lenet-300-100", "digits", 0.2, batch_size=1000), Diary(), Lonely(3, 200))


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="--device cuda: torch finds none"):
            choose_device("cuda")


def test_the_default_epochs_are_those_the_help_names() -> None:
    assert jobs.DEFAULT_EPOCHS == 12
