"""A network with a gate for each neuron and one for each weight: a weight counts where both are open."""

import torch

from slt_compress.errors import UnreachableError
from slt_compress.masking import topk
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.gates import Gates, Kind
from slt_compress.masking.ranking import Ranking, Wanted
from slt_compress.masking.topk import Scope
from slt_compress.structure.neuron_network import NeuronNetwork, shifted
from slt_compress.structure.neurons import Structure

_BEHIND = -1e6  # the score of a weight behind a closed neuron, far below all others


class JointNetwork(Gates):
    """The gates of all neurons, and behind them those of all weights, in one flat tensor.

    A step multiplies each weight by its own gate and by those of the neurons that it reads. The density that is asked
    for is that of weights; neurons have one of their own.
    """

    def __init__(self, network: FlatNetwork, structure: Structure, neuron_density: float) -> None:
        """Put gates on a network whose buffer has room for those of the neurons, see `room_for`."""
        self.neurons = NeuronNetwork(network, structure)
        self.network = network
        self.neuron_density = neuron_density
        self.module = network.module
        self.first = len(self.neurons.grad)  # of the weights
        self.slots = [*self.neurons.slots, *(shifted(slot, self.first) for slot in network.slots)]
        self.size = network.size
        self.searchable_count = self.neurons.searchable_count + network.searchable_count
        self.locked_count = 0
        device = network.weights.device
        length = self.first + network.weights.numel()
        self.weights = torch.ones(1, dtype=torch.int8, device=device).expand(length)
        self.locked = torch.zeros(1, dtype=torch.bool, device=device).expand(length)
        self.not_searchable = torch.cat([self.neurons.not_searchable, network.not_searchable + self.first])
        self.effective = self.grad = network.buffer
        self._neuron_gate = torch.ones(self.first, device=device)
        self._weight_gate = torch.ones(length - self.first, device=device)

    @property
    def has_branches(self) -> bool:
        return self.network.has_branches

    def ranking(self, density: float, *, layered: bool) -> Ranking:
        return JointRanking(self, density, layered=layered)

    def kinds(self) -> list[Kind]:
        return [*self.neurons.kinds(), Kind(self.first, self.weights.numel(), self.network.searchable_count)]

    def set_gate(self, gate: torch.Tensor) -> None:
        self._neuron_gate.copy_(gate[: self.first])
        self._weight_gate.copy_(gate[self.first :])
        whole = self.network.effective.copy_(self._weight_gate)
        self.neurons.spread(self._neuron_gate, whole, reads=True)
        self.network.set_gate(whole)
        if gate.dtype == torch.bool:
            self.neurons.spread(self._neuron_gate, whole, reads=False)

    def backward(self, loss: torch.Tensor) -> None:
        self.network.backward(loss)
        found = self.network.gate_gradient()
        self.grad[: self.first] = self.neurons.gather(found * self._weight_gate)
        self.neurons.spread(self._neuron_gate, found, reads=True)

    def gate_gradient(self) -> torch.Tensor:
        return self.grad

    def behind(self, opened: torch.Tensor) -> torch.Tensor:
        """Return which weights read or make a closed neuron; `opened` is bool, flat, of the neurons."""
        whole = torch.ones(self.weights.numel() - self.first, device=opened.device)
        for reads in (True, False):
            self.neurons.spread(opened, whole, reads=reads)
        return whole == 0

    def sparsity(self, gate: torch.Tensor) -> float:
        """Return the share of weights that 0/1 gates make zero."""
        left = gate[self.first :] & ~self.behind(gate[: self.first]) & self.network.searchable
        return 1 - int(left.sum()) / self.size


class JointRanking(Ranking):
    """Ranks neurons first, each group by itself or all together; then all weights that no closed neuron drops."""

    def __init__(self, gates: JointNetwork, density: float, *, layered: bool) -> None:
        """Raises UnreachableError if as many neurons as are to go leave fewer weights than are to stay."""
        self._joint = gates
        self._density = density
        self._of_neurons = gates.neurons.ranking(gates.neuron_density, layered=layered)
        self._count = topk.kept_count(gates.size, density)
        left = int(self._free(self._of_neurons.random_mask(0)).sum())  # other neurons leave about as many
        if left < self._count:
            raise UnreachableError(
                f"sparsity {1 - density:g} cannot be reached: removing the neurons alone makes it "
                f"{1 - left / gates.size:.4f}; raise `sparsity` or lower `neuron_sparsity`"
            )

    def densities(self) -> list[float]:
        return [*self._of_neurons.densities(), self._density]

    def thresholds(self, scores: torch.Tensor, wanted: Wanted) -> torch.Tensor:
        joint = self._joint
        neurons, weights = scores[: joint.first], scores[joint.first :]
        of_neurons = self._of_neurons.thresholds(neurons, wanted)
        free = self._free(neurons >= of_neurons)
        alive = int(free.sum())
        scope = Scope(joint.first, scores.numel(), alive, min(self._count, alive))
        of_weights = topk.threshold(weights.masked_fill(~free, _BEHIND), wanted(scope))
        return torch.cat([of_neurons.expand(joint.first), of_weights.expand(len(weights))])

    def mask(self, scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        joint = self._joint
        neurons = self._of_neurons.mask(scores[: joint.first], generator)
        return self._with_weights(neurons, scores[joint.first :], generator)

    def random_mask(self, seed: int) -> torch.Tensor:
        joint = self._joint
        neurons = self._of_neurons.random_mask(seed)
        drawn = topk.random_mask(joint.network, 0.5, seed)  # of which half of each tensor comes first
        generator = torch.Generator(neurons.device).manual_seed(seed & (2**63 - 1))
        return self._with_weights(neurons, drawn.float(), generator)

    def _with_weights(self, neurons: torch.Tensor, scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the mask with the best weights that these neurons leave; all, where they are fewer than wanted."""
        free = self._free(neurons)
        count = min(self._count, int(free.sum()))
        return torch.cat([neurons, topk.best_of(self._joint.network, scores, free, count, generator)])

    def _free(self, neurons: torch.Tensor) -> torch.Tensor:
        """Return which weights can be searched that no closed neuron drops."""
        return self._joint.network.searchable & ~self._joint.behind(neurons)
