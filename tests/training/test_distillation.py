"""Distillation: the loss of the paper."""

import pytest
import torch
from torch import nn

from slt_compress.errors import UsageError
from slt_compress.tasks.task import CLASSIFY, task_of
from slt_compress.training.distillation import SHARE, TEMPERATURE, Teacher


def test_the_loss_is_that_of_the_paper() -> None:
    """Hinton et al.: cross-entropy with softmax(z/T) of the teacher; minus its entropy, which no weight changes."""
    wanted, outputs = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([1, 2, 3, 4])
    soft = (wanted / TEMPERATURE).softmax(1)
    slow = -(soft * (outputs / TEMPERATURE).log_softmax(1)).sum(1).mean() + (soft * soft.log()).sum(1).mean()
    hard = nn.functional.cross_entropy(outputs, targets)
    loss = Teacher(nn.Identity(), "x").loss(CLASSIFY, CLASSIFY.mean_loss)(wanted, outputs, targets)
    assert loss.item() == pytest.approx(((1 - SHARE) * hard + SHARE * TEMPERATURE**2 * slow).item(), rel=1e-5)


def test_teachers_of_other_tasks_are_refused() -> None:
    with pytest.raises(UsageError, match="`teacher` is for networks that classify, not for the loss mse"):
        Teacher(nn.Identity(), "x").loss(task_of("mse"), CLASSIFY.mean_loss)
    loss = Teacher(nn.Identity(), "x").loss(CLASSIFY, CLASSIFY.mean_loss)
    with pytest.raises(UsageError, match=r"`teacher` gives outputs of shape \(3,\), the network of \(10,\)"):
        loss(torch.zeros(4, 3), torch.zeros(4, 10), torch.zeros(4))
