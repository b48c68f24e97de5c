"""Distillation: the outputs of a trained network as soft targets (Hinton et al., arXiv:1503.02531)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from slt_compress.data.batches import Tensors, call
from slt_compress.errors import UsageError
from slt_compress.models.source import NetworkSource
from slt_compress.models.spec import ModelSpec
from slt_compress.pruning.trainer import LossOf
from slt_compress.pruning.weights_file import holds_ticket, read_weights, set_values
from slt_compress.tasks.task import CLASSIFY, Outputs, Targets
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.loop import TrainingRun

TEMPERATURE = 4.0
SHARE = 0.7  # of the soft targets in the loss


@dataclass(frozen=True)
class Teacher:
    """A trained classifier whose logits are learnt from.

    Attributes:
        module: takes the same inputs, in evaluation mode, on the device of the training.
        name: for people, and for the ticket.
    """

    module: nn.Module
    name: str

    def settings(self) -> dict[str, Any]:
        """Return what a ticket records of it."""
        return {"name": self.name, "temperature": TEMPERATURE, "share": SHARE}

    def loss(self, run: TrainingRun) -> LossOf:
        """Return (1 - a)·cross-entropy + a·T²·KL(teacher at temperature T ‖ network at temperature T).

        Raises UsageError for a task without classes.
        """
        if run.task.record.loss != CLASSIFY.record.loss:
            raise UsageError(f"`teacher` is for networks that classify, not for the loss {run.task.record.loss}")

        def distil(inputs: Tensors, outputs: Outputs, targets: Targets) -> torch.Tensor:
            with torch.no_grad():
                wanted = call(self.module, inputs)
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
            return (1 - SHARE) * run.task.mean_loss(outputs, targets) + SHARE * TEMPERATURE**2 * soft

        return distil


def open_teacher(path: Path, source: NetworkSource, device: torch.device) -> Teacher:
    """Return the teacher of a file: a ticket, or trained weights of the same network.

    Raises DataError if it cannot be read, UsageError if these weights are not the network's.
    """
    given = Ticket.load(path) if holds_ticket(path) else read_weights(path)
    return teacher_of(given, source, device, path.name)


def teacher_of(
    given: Ticket | Mapping[str, torch.Tensor], source: NetworkSource, device: torch.device, name: str = ""
) -> Teacher:
    """Return the teacher of a ticket, or of trained weights of the same network."""
    if isinstance(given, Ticket):
        named = isinstance(given.provenance.model, ModelSpec)
        module = given.restore() if named else given.apply_to(source.build())
        return Teacher(module.to(device).eval(), name or given.provenance.model.title)
    module = source.build()
    set_values(module, given, source.name)
    return Teacher(module.to(device).eval(), name or source.name)
