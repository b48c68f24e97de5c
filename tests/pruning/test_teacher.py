"""Distillation: the loss of the paper, and teachers of tickets and of files."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from slt_compress.errors import DataError, UsageError
from slt_compress.pruning.config import PruneConfig, TrainConfig
from slt_compress.pruning.prune import prune
from slt_compress.pruning.retrain import train_ticket
from slt_compress.pruning.teacher import SHARE, TEMPERATURE, Teacher, open_teacher, teacher_of
from slt_compress.tasks.task import task_of
from slt_compress.ticket.sample import sample_ticket
from tests.support.pruned import LENET, lenet_job, prepared_lenet

CPU = torch.device("cpu")


def test_the_loss_is_that_of_the_paper() -> None:
    """Hinton et al.: cross-entropy with softmax(z/T) of the teacher; minus its entropy, which no weight changes."""
    wanted, outputs = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([1, 2, 3, 4])
    soft = (wanted / TEMPERATURE).softmax(1)
    slow = -(soft * (outputs / TEMPERATURE).log_softmax(1)).sum(1).mean() + (soft * soft.log()).sum(1).mean()
    hard = nn.functional.cross_entropy(outputs, targets)
    loss = Teacher(nn.Identity(), "x").loss(lenet_job().run)(wanted, outputs, targets)
    assert loss.item() == pytest.approx(((1 - SHARE) * hard + SHARE * TEMPERATURE**2 * slow).item(), rel=1e-5)


def test_teachers_of_other_tasks_are_refused() -> None:
    run = lenet_job().run
    with pytest.raises(UsageError, match="`teacher` is for networks that classify, not for the loss mse"):
        Teacher(nn.Identity(), "x").loss(replace(run, task=task_of("mse")))
    loss = Teacher(nn.Identity(), "x").loss(run)
    with pytest.raises(UsageError, match=r"`teacher` gives outputs of shape \(3,\), the network of \(10,\)"):
        loss(torch.zeros(4, 3), torch.zeros(4, 10), torch.zeros(4))


def test_a_teacher_is_a_ticket_or_a_state_dict(tmp_path: Path) -> None:
    ready = prepared_lenet(40)
    run = replace(lenet_job(40).config)
    dense = prune(LENET, PruneConfig(run=run, method="magnitude", sparsity=0.0), prepared=ready).ticket
    dense.save(tmp_path / "t.safetensors")
    save_file(
        {name: one.contiguous() for name, one in dense.restore().state_dict().items()}, tmp_path / "w.safetensors"
    )
    of_ticket, of_file = (
        open_teacher(tmp_path / name, ready.source, CPU) for name in ("t.safetensors", "w.safetensors")
    )
    inputs = ready.run.feed(next(iter(ready.run.validation.batches(8)))[0])
    assert torch.equal(of_ticket.module(inputs), of_file.module(inputs))
    assert (of_ticket.name, of_file.name) == ("t.safetensors", "w.safetensors")
    assert teacher_of(dense, ready.source, CPU).name == "lenet-300-100"
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
        open_teacher(tmp_path / "x.pth", ready.source, CPU)
