"""Steps of the weights, under a mask that is fixed for now or under gates that are optimised beside them."""

from collections.abc import Mapping

import torch

from slt_compress.data.batches import Tensors
from slt_compress.methods.base import Method
from slt_compress.pruning.names import VALUES
from slt_compress.pruning.network import TrainedNetwork
from slt_compress.pruning.quantise import round_rows
from slt_compress.pruning.recipes import WeightRecipe
from slt_compress.tasks.task import Targets
from slt_compress.training.checkpoint import grouped, moments, of_group, set_moments
from slt_compress.training.distillation import LossOf
from slt_compress.training.loop import TrainingRun, forward


class WeightTrainer:
    """Optimises the weights of a network, and its other parameters.

    Attributes:
        module: of the network.
        network: whose `mask` says which weights are kept.
        rounding: "int8" or "int4" where the network computes with weights that are rounded so; gradients pass through.
        loss: what is minimised.
    """

    def __init__(self, network: TrainedNetwork, run: TrainingRun, recipe: WeightRecipe) -> None:
        self.module = network.module
        self.network = network
        self.rounding: str | None = None
        self.loss: LossOf = lambda _, outputs, targets: run.task.mean_loss(outputs, targets)
        self._precision = run.precision
        self._recipe = recipe
        self._method: Method | None = None
        self._gate = torch.empty_like(network.effective)
        self.restart(0, run.budget.steps)

    def restart(self, first: int, steps: int, recipe: WeightRecipe | None = None) -> None:
        """Begin a schedule of so many steps, of which step `first` of the run is the first, with a new optimiser, and
        from now on by another recipe if one is given.
        """
        self._recipe = recipe or self._recipe
        self._optimiser = self._recipe.make(self.network.trained, self.network.others.values())
        self._first, self._steps = first, steps

    def soften(self, method: Method) -> None:
        """Optimise the gates of a method from now on; its step 0 is the first of the schedule."""
        self._method, self._gates = method, method.optimiser()

    def harden(self, mask: torch.Tensor) -> None:
        """Keep to a mask from now on, flat bool."""
        self._method = None
        self.network.mask = mask & self.network.searchable

    def step(self, step: int, inputs: Tensors, targets: Targets) -> torch.Tensor:
        network, method, place = self.network, self._method, step - self._first
        for group in self._optimiser.param_groups:
            group["lr"] = self._recipe.rate(place, self._steps)
        self._gate.copy_(network.mask if method is None else method.gate(place))
        self._show(self._gate)
        self._optimiser.zero_grad()
        loss = self.loss(inputs, forward(network.module, inputs, self._precision), targets)
        network.backward(loss)
        network.trained.grad = network.grad * self._gate
        if method is not None:
            for group in self._gates.param_groups:
                group["lr"] = method.learning_rate(place)
            method.backward(place)
            method.parameter.grad = network.grad
            self._gates.step()
        self._optimiser.step()
        return loss.detach()

    def show(self) -> float:
        mask = self.network.mask if self._method is None else self._method.hard_gate() & self.network.searchable
        self._show(mask)
        return self.network.sparsity(mask)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what changes from step to step, by name: the network, its mask, the schedule, the optimisers and the
        gates, if there are some.
        """
        rounding = VALUES.index(self.rounding) if self.rounding else -1
        found = {"schedule": torch.tensor([self._first, self._steps, rounding]), "mask": self.network.mask}
        found |= grouped("network", self.network.state()) | grouped("optimiser", moments(self._optimiser))
        if self._method is not None:
            found |= grouped("gates", self._method.state_dict()) | grouped("gates_optimiser", moments(self._gates))
        return found

    def load_state_dict(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state_dict` has returned, on any device. If it was of gates, they must be on the network."""
        first, steps, rounding = tensors["schedule"].tolist()
        self.restart(first, steps)
        self.rounding = VALUES[rounding] if rounding >= 0 else None
        self.network.load(of_group("network", tensors))
        self.network.mask = tensors["mask"].to(self.network.mask.device)
        set_moments(self._optimiser, of_group("optimiser", tensors))
        gates = of_group("gates", tensors)
        if not gates:
            self._method = None
            return
        assert self._method
        self._method.load_state_dict(gates)
        set_moments(self._gates, of_group("gates_optimiser", tensors))

    @torch.no_grad()
    def _show(self, gate: torch.Tensor) -> None:
        """Let the module compute with the gated weights."""
        network = self.network
        network.set_gate(gate)
        if self.rounding:
            for slot, part in zip(network.slots, network.split(network.effective), strict=True):
                part.copy_(round_rows(part.view(slot.shape), self.rounding).flatten())
