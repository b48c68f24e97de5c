"""What changes between the steps of a training, and what its checkpoints hold."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.training.checkpoint import grouped, of_group


class Follower(ABC):
    """Follows a training, and changes between two of its steps what is trained: the mask, the gates, the schedule.

    What it draws, it draws from `_generator`.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    @abstractmethod
    def begin(self, trainer: WeightTrainer) -> None:
        """Prepare the first step."""

    @abstractmethod
    def after(self, done: int, trainer: WeightTrainer) -> None:
        """Do what is due when so many steps are done."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what changes on the way, by name."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, tensors: Mapping[str, torch.Tensor], trainer: WeightTrainer) -> None:
        """Take over, after `begin`, what `state_dict` has returned, and put the same gates and recipe on the trainer as
        were there: their state, and the schedule, it then loads itself.
        """
        del trainer
        self._generator.set_state(tensors["generator"])


@dataclass(frozen=True)
class TrainingState:
    """All of a training that changes from step to step; the rest follows from the request and the step."""

    trainer: WeightTrainer
    follower: Follower | None = None

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all tensors that change from step to step, by name."""
        of_follower = self.follower.state_dict() if self.follower else {}
        found = grouped("follower", of_follower) | grouped("trainer", self.trainer.state_dict())
        return {name: value.detach().contiguous() for name, value in found.items()}

    def load_state_dict(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state_dict` returned, on the device of the training."""
        if self.follower:
            self.follower.load_state_dict(of_group("follower", tensors), self.trainer)
        self.trainer.load_state_dict(of_group("trainer", tensors))
