"""Teachers of tickets and of files, of trained weights and of a search."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slt_compress.config import SearchConfig
from slt_compress.errors import DataError, HubError, SltError, UsageError
from slt_compress.pipeline.find import find_ticket
from slt_compress.pipeline.teacher import open_teacher, teacher_of
from slt_compress.pruning.config import PruneConfig, TrainConfig
from slt_compress.pruning.prune import prune
from slt_compress.pruning.retrain import train_ticket
from slt_compress.ticket.sample import sample_ticket
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.distillation import SHARE, TEMPERATURE
from tests.support.pruned import LENET, lenet_job, prepared_lenet


def test_a_teacher_is_a_ticket_or_a_state_dict(tmp_path: Path) -> None:
    ready = prepared_lenet(40)
    run = replace(lenet_job(40).config)
    dense = prune(LENET, PruneConfig(run=run, method="magnitude", sparsity=0.0), prepared=ready).ticket
    dense.save(tmp_path / "t.safetensors")
    save_file(
        {name: one.contiguous() for name, one in dense.restore().state_dict().items()}, tmp_path / "w.safetensors"
    )
    of_ticket, of_file = (open_teacher(tmp_path / name, ready) for name in ("t.safetensors", "w.safetensors"))
    inputs = ready.run.feed(next(iter(ready.run.validation.batches(8)))[0])
    assert torch.equal(of_ticket.module(inputs), of_file.module(inputs))
    assert (of_ticket.name, of_file.name) == ("t.safetensors", "w.safetensors")
    assert teacher_of(dense, ready).name == "lenet-300-100"
    student = sample_ticket(LENET, 0.1, input_size=8, channels=1)
    result = train_ticket(student, TrainConfig(run=run), prepared=ready, teacher=of_ticket)
    assert result.ticket.provenance.method.settings["teacher"] == {
        "name": "t.safetensors",
        "temperature": TEMPERATURE,
        "share": SHARE,
    }
    assert result.accuracy > 0.7
    (tmp_path / "x.pth").write_bytes(b"x")
    with pytest.raises(DataError, match=r"x\.pth cannot be read"):
        open_teacher(tmp_path / "x.pth", ready)


def test_a_search_learns_from_a_teacher_and_trains_no_weight(tmp_path: Path) -> None:
    ready = prepared_lenet(40)
    prune(LENET, PruneConfig(run=lenet_job(40).config, method="magnitude", sparsity=0.0), prepared=ready).ticket.save(
        tmp_path / "t.safetensors"
    )
    config = SearchConfig(max_steps=30, sparsity=0.8)
    plain = find_ticket(LENET, config)
    taught = find_ticket(LENET, replace(config, teacher=tmp_path / "t.safetensors"))
    assert taught.ticket.provenance.method.settings["teacher"]["name"] == "t.safetensors"
    assert taught.ticket.weights_digest == plain.ticket.weights_digest
    assert not any(layer.values for layer in taught.ticket.layers)
    assert any((taught.ticket.mask(one.name) != plain.ticket.mask(one.name)).any() for one in plain.ticket.layers)
    assert taught.accuracy > 0.7
    with pytest.raises(UsageError, match="`teacher` has no meaning for `method=random`"):
        find_ticket(LENET, SearchConfig(method="random", teacher=tmp_path / "t.safetensors"))
    with pytest.raises(UsageError, match="does not exist, expected tensors by name"):
        find_ticket(LENET, replace(config, teacher=tmp_path / "none"))


def test_a_teacher_that_cannot_teach_is_refused_before_the_first_step() -> None:
    ready = prepared_lenet(40)
    cases = {
        r"takes images of 12 px with 1 channels, the network of 8 px with 1": sample_ticket(
            "lenet-5", 0.1, input_size=12, channels=1
        ),
        r"the tensors of `teacher` are not those of lenet-300-100: missing": {"x": torch.zeros(1)},
        "`teacher` holds no state dict": {"x": [1.0]},
    }
    for message, given in cases.items():
        with pytest.raises(SltError, match=message):
            teacher_of(given, ready)  # type: ignore[arg-type]
    values = {
        name: torch.full_like(one, 1e38 if one.is_floating_point() else 0)
        for name, one in ready.source.build().state_dict().items()
    }
    with pytest.raises(UsageError, match="`teacher`, lenet-300-100, gives logits that are not finite"):
        teacher_of(values, ready)
    other = replace(ready, preprocessing=None)
    with pytest.raises(UsageError, match=r"`teacher`, lenet-5, cannot take what the network takes \(RuntimeError: "):
        teacher_of(sample_ticket("lenet-5", 0.1, input_size=12, channels=1), other)


@pytest.mark.usefixtures("hub")
def test_a_teacher_may_be_on_the_hub() -> None:
    ticket = sample_ticket(LENET, 0.1, input_size=8, channels=1)
    ticket.push_to_hub("me/net")
    ready = prepared_lenet(40)
    assert open_teacher(Path("hf://me/net"), ready).name == "ticket.safetensors"
    config = SearchConfig(max_steps=2, teacher=Path("hf://me/net"))
    found = find_ticket(LENET, config, checkpoints=Checkpoints(Path("unused"))).ticket
    assert found.provenance.method.settings["teacher"]["name"] == "ticket.safetensors"
    with pytest.raises(HubError, match="none"):
        open_teacher(Path("hf://me/none"), ready)
