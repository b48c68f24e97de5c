"""Removal: outputs stay, all that is dead goes, and what is left are the values of the whole network."""

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress.errors import VerificationError
from slt_compress.structure import removal
from slt_compress.structure.neurons import find_neurons
from slt_compress.structure.removal import Smaller, remove_dead
from tests.support.families import FAMILIES, Family
from tests.support.neurons import close, difference, outputs, some_of_each, structure_of

SHUFFLED = ("shufflenet",)  # one of two channels that a shuffle brings together cannot go alone


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def removed(name: str, neurons: object, multiple: int = 1) -> tuple[nn.Module, Smaller]:
    """Return a family's module with these neurons closed, and the smaller one, which computes the same."""
    family = FAMILIES[name]
    module = family.module()
    close(module, structure_of(name), neurons)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    smaller = remove_dead(module, family.inputs(), name, multiple=multiple)
    for batch in (1, 2, 5):
        assert difference(*(outputs(one, family.inputs(batch)) for one in (module, smaller.module))) < 1e-4
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    return module, smaller


@pytest.mark.parametrize("name", FAMILIES)
def test_half_of_the_neurons_go(name: str) -> None:
    neurons = some_of_each(structure_of(name), 0.5)
    module, smaller = removed(name, neurons)
    assert smaller.neurons == structure_of(name).size
    assert smaller.removed == len(neurons) or name in SHUFFLED
    assert smaller.removed > 0
    assert parameters(smaller.module) < parameters(module)
    whole = module.state_dict()
    names = dict(smaller.module.named_parameters()) | dict(smaller.module.named_buffers())
    for key, cut in smaller.kept.items():
        values = whole[key]
        for axis, indices in cut.items():
            assert 0 < len(indices) < values.shape[axis]
            values = values.index_select(axis, torch.from_numpy(indices))
        assert torch.equal(names[key], values)
    for key, value in smaller.module.named_parameters():
        assert key in smaller.kept or torch.equal(value, whole[key])


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in (*SHUFFLED, "swin", "convnext", "vit")])
def test_all_but_one_of_each_group_go(name: str) -> None:
    """Where a group is wider at the end than at the start, as behind a padded shortcut, one stays at the start too."""
    neurons = some_of_each(structure_of(name), 1.0, seed=3)
    _, smaller = removed(name, neurons)
    assert smaller.removed >= len(neurons) - (name == "resnet20")


@pytest.mark.parametrize("name", ["mlp", "cnn", "fused", "halves"])
def test_few_and_many_go(name: str) -> None:
    structure = structure_of(name)
    for neurons in ([], [0], [structure.size - 1], some_of_each(structure, 0.9)):
        module, smaller = removed(name, neurons)
        assert smaller.removed >= len(neurons)
        assert len(neurons) or smaller.module is module


def test_what_is_left_weighs_what_arithmetic_says() -> None:
    _, smaller = removed("mlp", [*range(5), *range(12, 14)])  # of 48 - 12 - 7 - 4
    assert smaller.removed == 7
    assert parameters(smaller.module) == 48 * 7 + 7 + 7 * 5 + 5 + 5 * 4 + 4
    _, smaller = removed("cnn", [0, 1, 6, 14, 15, 16])  # of 6, 8 and 10
    assert parameters(smaller.module) == 27 * 4 + 4 + 2 * 4 + 4 * 9 * 7 + 7 + 7 * 9 * 7 + 7 + 7 * 4 + 4
    _, smaller = removed("matmul", [1, 3, 4])  # one of three heads, two of 20 hidden units
    whole = 6 * 12 + 12 + 2 * 12 + 13 * 36 + 13 * 12 + 13 * 20 + 21 * 12 + 13 * 4
    assert parameters(smaller.module) == whole - 3 * 4 * 13 - 4 * 12 - 2 * (13 + 12)


def test_one_neuron_of_a_group_stays() -> None:
    _, smaller = removed("mlp", range(19))
    assert smaller.removed == 17
    assert parameters(smaller.module) == 48 + 1 + 1 + 1 + 4 + 4


def test_what_only_makes_dead_neurons_is_dead() -> None:
    structure, family = structure_of("mlp"), FAMILIES["mlp"]
    module = family.module()
    module.get_parameter("3.weight").data[1:, :6] = 0  # six neurons are read by the first of the next layer alone
    close(module, structure, [12])
    assert remove_dead(module, family.inputs(), "mlp").removed == 7


class Loop(nn.Module):
    """A sum, and a branch that reads it and adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.there, self.back, self.last = (nn.Linear(*size) for size in ((6, 4), (4, 2), (2, 4), (4, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        out: torch.Tensor = self.last(x + self.back(self.there(x).relu()))
        return out


@pytest.mark.parametrize(
    ("there", "back", "removed"),
    [
        ([[0, 0, 0, 1], [0, 0, 0, 1]], [[1, 1], [1, 1], [1, 1], [0, 0]], 2),
        ([[0, 1, 1, 1], [0, 0, 0, 0]], [[0, 0], [0, 1], [0, 1], [0, 1]], 1),  # what nothing makes is zero here
    ],
)
def test_what_stays_of_an_empty_group_may_keep_others_alive(
    there: list[list[int]], back: list[list[int]], removed: int
) -> None:
    """Nothing reads the sum but the branch, which reads some of it and adds to others."""
    family = Family(Loop, ((6,),))
    module = family.module()
    for name, pattern in (("last", [0]), ("there", there), ("back", back)):
        module.get_parameter(f"{name}.weight").data.mul_(torch.tensor(pattern))
    smaller = remove_dead(module, family.inputs(), "it")
    assert difference(outputs(module, family.inputs(3)), outputs(smaller.module, family.inputs(3))) < 1e-6
    assert smaller.removed == removed


@pytest.mark.parametrize("multiple", [2, 4, 8])
def test_a_multiple_is_left_where_dead_neurons_can_fill_it_up(multiple: int) -> None:
    family = Family(lambda: nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 17), nn.ReLU(), nn.Linear(17, 3)))
    family = Family(family.build, ((6,),))
    structure = find_neurons(family.module(), family.inputs(), "it")
    for seed, share in enumerate((0.1, 0.5, 0.9)):
        module, neurons = family.module(), some_of_each(structure, share, seed)
        close(module, structure, neurons)
        smaller = remove_dead(module, family.inputs(), "it", multiple=multiple)
        for layer, width in (("0", 20), ("2", 17)):
            left = smaller.module.get_parameter(f"{layer}.weight").shape[0]
            alive = width - int(np.isin(range(20) if layer == "0" else range(20, 37), neurons).sum())
            assert left == min(width, -(-alive // multiple) * multiple)


def test_heads_count_by_their_width_in_a_multiple() -> None:
    _, smaller = removed("fused", [0, 3], multiple=8)  # two heads of 4 are left, and 20 hidden units stay
    assert smaller.module.get_parameter("project.weight").shape == (12, 8)
    assert smaller.module.get_parameter("rise.weight").shape == (20, 12)
    assert smaller.removed == 1


def test_a_network_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    family, structure = FAMILIES["mlp"], structure_of("mlp")
    alive = np.zeros(structure.size, np.bool_)
    alive[3] = True
    monkeypatch.setattr(removal, "_dead", lambda *_: alive.copy())
    with pytest.raises(VerificationError, match=r"^mlp without its dead neurons differs by \S+ of its largest output$"):
        remove_dead(family.module(), family.inputs(), "mlp")


def test_choices_among_outputs_are_not_compared() -> None:
    """They may follow from rounding, but their shape does not."""

    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.last(self.one(x).relu())
            return logits > 0, logits.argmax(1)

    family = Family(Choosing, ((6,),))
    structure = find_neurons(family.module(), family.inputs(), "it")
    module = family.module()
    close(module, structure, [2, 3])
    smaller = remove_dead(module, family.inputs(), "it")
    assert smaller.removed == 2
    assert all(map(torch.equal, outputs(module, family.inputs(4)), outputs(smaller.module, family.inputs(4))))


def test_what_nothing_makes_is_dead_where_it_is_zero() -> None:
    """Behind a ReLU a hidden unit without weights is 0, behind a sigmoid it is ½, which what follows reads."""
    for activation, removed in ((nn.ReLU(), 3), (nn.Sigmoid(), 0)):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(6, 8, bias=False), activation, nn.Linear(8, 4)).eval()
        with torch.no_grad():
            module.get_parameter("0.weight")[[1, 4, 6]] = 0
        found = remove_dead(module, [torch.zeros(2, 6)], "the network")
        assert found.removed == removed
        images = torch.randn(5, 6)
        with torch.no_grad():
            assert torch.allclose(module(images), found.module(images), atol=1e-6)


def test_what_only_reads_dead_neurons_is_dead() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 5, bias=False), nn.ReLU(), nn.Linear(5, 4)]
    module = nn.Sequential(*layers).eval()
    with torch.no_grad():
        module.get_parameter("0.weight")[:2] = 0
        module.get_parameter("2.weight")[0, 2:] = 0  # it reads the two that nothing makes
    assert remove_dead(module, [torch.zeros(2, 6)], "the network").removed == 3
