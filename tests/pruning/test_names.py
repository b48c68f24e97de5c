"""Names of requests: they are those that other tables know."""

from slt_compress.methods import registry
from slt_compress.pruning import names
from slt_compress.ticket.stored import WEIGHT_TYPES


def test_names_are_those_of_the_tables() -> None:
    assert set(names.METHODS) - {names.MAGNITUDE} <= set(registry.METHODS)
    assert set(names.FINDERS) <= set(names.METHODS)
    assert set(names.RECIPES) == set(registry.recipes())
    assert names.VALUES == WEIGHT_TYPES
    scopes = registry.options()["scope"].choices
    assert set(names.SCOPES) == set(scopes)
