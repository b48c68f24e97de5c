"""Methods outside a search."""

import torch

from slt_compress.methods.base import Method, Target


def make_target(density: float, steps: int, seed: int = 0) -> Target:
    """Return a target whose generator is fresh and seeded, on the CPU."""
    return Target(density, steps, seed, torch.Generator().manual_seed(seed))


def parameter_gradient(method: Method, step: int, gradient: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the parameter, at the gate of this step, for d loss/d z of searchable gates."""
    network = method._network
    network.set_gate(torch.ones_like(network.effective))
    network.grad.copy_(gradient / network.effective.where(network.searchable, 1.0))
    method.backward(step)
    return network.grad.clone()
