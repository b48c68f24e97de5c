"""Tickets with gates of neurons, without a search."""

import torch

from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.gates import Gates
from slt_compress.masking.parameters import statistic_names
from slt_compress.pipeline.gates import Searched
from slt_compress.structure.joint_network import JointNetwork
from slt_compress.structure.neuron_network import NeuronNetwork, room_for
from slt_compress.structure.neurons import find_neurons
from slt_compress.ticket.ticket import Ticket
from tests.support.tickets import make_ticket, measure_statistics

CPU = torch.device("cpu")


def gates_of(sample: Ticket, neuron_density: float, *, joint: bool) -> Searched:
    """Put gates on the neurons of a ticket's network, and on its weights too if they are joint."""
    module = sample.restore()
    preprocessing = sample.provenance.preprocessing
    assert preprocessing
    examples = [torch.zeros(2, preprocessing.channels, preprocessing.size, preprocessing.size)]
    structure = find_neurons(module, examples, "the network")
    network = FlatNetwork(module, sample.seed, 0.5, CPU, sample.initialiser, room=room_for(structure) if joint else 0)
    gates: Gates = NeuronNetwork(network, structure)
    if joint:
        gates = JointNetwork(network, structure, neuron_density)
    return Searched(network, gates, structure)


def make_neuron_ticket(
    name: str, neuron_density: float, *, size: int = 32, density: float | None = None, seed: int = 0
) -> Ticket:
    """Return a ticket of a network that keeps random neurons, and of its weights a random share `density`, if any."""
    sample = make_ticket(name, 1.0, size=size, seed=seed)
    searched = gates_of(sample, neuron_density, joint=density is not None)
    gates = searched.gates
    mask = gates.ranking(neuron_density if density is None else density, layered=True).random_mask(seed)
    gates.set_gate(mask)
    masks = {slot.name: part.view(slot.shape) for slot, part in zip(gates.slots, gates.split(mask), strict=True)}
    preprocessing = sample.provenance.preprocessing
    assert preprocessing
    measure_statistics(gates.module, preprocessing.channels, preprocessing.size)
    statistics = {name: gates.module.get_buffer(name).numpy().copy() for name in statistic_names(gates.module)}
    return Ticket.assemble(searched.layers(masks), sample.provenance, origin=sample.origin, statistics=statistics)
