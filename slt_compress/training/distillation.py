"""Distillation: the outputs of a trained network as soft targets (Hinton et al., arXiv:1503.02531)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from slt_compress.data.batches import Tensors
from slt_compress.errors import UsageError
from slt_compress.tasks.task import CLASSIFY, Outputs, Targets, Task
from slt_compress.training.device import FP32
from slt_compress.training.loop import forward

TEMPERATURE = 4.0
SHARE = 0.7  # of the soft targets in the loss

LossOf = Callable[[Tensors, Outputs, Targets], torch.Tensor]  # inputs, outputs, targets -> mean over a batch, a scalar


@dataclass(frozen=True)
class Teacher:
    """A trained classifier whose logits are learnt from.

    Attributes:
        module: takes the same inputs, in evaluation mode, on the device of the training.
        name: for people, and for the ticket.
        precision: of its arithmetic, as in `training.loop.forward`.
    """

    module: nn.Module
    name: str
    precision: str = FP32

    def settings(self) -> dict[str, Any]:
        """Return what a ticket records of it."""
        return {"name": self.name, "temperature": TEMPERATURE, "share": SHARE}

    def loss(self, task: Task, plain: Callable[[Outputs, Targets], torch.Tensor]) -> LossOf:
        """Return (1 - a)·plain + a·T²·KL(teacher at temperature T ‖ network at temperature T), for a task with classes.

        Raises UsageError for another task.
        """
        if task.record.loss != CLASSIFY.record.loss:
            raise UsageError(f"`teacher` is for networks that classify, not for the loss {task.record.loss}")

        def distil(inputs: Tensors, outputs: Outputs, targets: Targets) -> torch.Tensor:
            with torch.no_grad():
                wanted = forward(self.module, inputs, self.precision)
            if wanted.shape != outputs.shape:
                raise UsageError(
                    f"`teacher` gives outputs of shape {tuple(wanted.shape[1:])}, the network of "
                    f"{tuple(outputs.shape[1:])}: give one for the same classes"
                )
            soft = F.kl_div(
                F.log_softmax(outputs / TEMPERATURE, 1),
                F.log_softmax(wanted / TEMPERATURE, 1),
                log_target=True,
                reduction="batchmean",
            )
            return (1 - SHARE) * plain(outputs, targets) + SHARE * TEMPERATURE**2 * soft

        return distil
