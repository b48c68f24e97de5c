"""Random networks of many blocks: closed neurons have no effect, and what is left without them computes the same."""

import pytest

from slt_compress.errors import UnreachableError
from slt_compress.structure.neurons import find_neurons
from slt_compress.structure.removal import remove_dead
from tests.support.composed import composed
from tests.support.neurons import close, difference, outputs, some_of_each

COUNT = 16


@pytest.mark.parametrize("seed", range(COUNT))
def test_random_networks(seed: int) -> None:
    family = composed(seed)
    try:
        structure = find_neurons(family.module(), family.inputs(), "it")
    except UnreachableError:  # all of it is tied together
        return
    neurons = some_of_each(structure, 0.3 + 0.4 * (seed % 2), seed)
    module, drawn = family.module(), family.module()
    close(module, structure, neurons)
    close(drawn, structure, neurons, drawn=1)
    whole = outputs(module, family.inputs(3))
    assert difference(whole, outputs(drawn, family.inputs(3))) < 1e-5
    smaller = remove_dead(module, family.inputs(), "it")
    for batch in (1, 2, 5):
        assert difference(*(outputs(one, family.inputs(batch)) for one in (module, smaller.module))) < 1e-4
