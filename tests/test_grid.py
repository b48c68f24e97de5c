"""What a comparison is asked for: lists, methods with options, and the cells they make."""

import pytest

from slt_compress.errors import UsageError
from slt_compress.grid import Cell, Contender, Plan
from slt_compress.jobs import Request

REQUEST = Request("lenet-300-100", "digits", 1.0, max_steps=7)


def test_cells_come_seed_by_seed_and_carry_their_request() -> None:
    plan = Plan.parse(REQUEST, "crbg, random", "0.9,0", 2, dense=True)
    assert [cell.name for cell in plan.cells()] == [
        *("crbg-0.9-0", "random-0.9-0", "crbg-0.0-0", "random-0.0-0", "dense-0"),
        *("crbg-0.9-1", "random-0.9-1", "crbg-0.0-1", "random-0.0-1", "dense-1"),
    ]
    request = plan.cells()[6].request(REQUEST)
    assert (request.method, request.density, request.seed) == ("random", 1 - 0.9, 1)
    assert (request.model, request.max_steps) == ("lenet-300-100", 7)
    assert not [cell for cell in Plan.parse(REQUEST, "crbg", "0.9", 1, dense=False).cells() if cell.is_dense]


def test_options_of_a_method_reach_its_request() -> None:
    for text in ("edge-popup:global:paper", "edge-popup:paper:global"):
        cell = Cell(Contender.parse(text), 0.9, 3)
        request = cell.request(REQUEST)
        assert (request.method, request.scope, request.recipe) == ("edge-popup", "global", "paper")
        assert (cell.contender.label, cell.name) == ("edge-popup:global:paper", "edge-popup-global-paper-0.9-3")
    with pytest.raises(UsageError, match="gives the scope twice"):
        Contender.parse("edge-popup:global:layer")
    with pytest.raises(UsageError, match="--methods names edge-popup:global:paper twice"):
        Plan.parse(REQUEST, "edge-popup:global:paper,edge-popup:paper:global", "0.9", 1, dense=False)
    with pytest.raises(UsageError, match="--scope is for --method edge-popup alone"):
        Contender.parse("crbg:global")


@pytest.mark.parametrize(
    ("methods", "sparsities", "seeds", "words"),
    [
        ("crgb", "0.9", 1, r"unknown method 'crgb' in --methods: did you mean crbg\?"),
        ("magic", "0.9", 1, "known: crbg, .*random"),
        ("crbg:fast", "0.9", 1, "unknown option 'fast' of 'crbg:fast' in --methods; known: "),
        ("", "0.9", 1, "--methods must be a list with commas between its members, got ''"),
        ("crbg,,random", "0.9", 1, "got 'crbg,,random'"),
        ("crbg,crbg", "0.9", 1, "--methods names crbg twice"),
        ("dense", "0.9", 1, "unknown method 'dense'"),
        ("crbg", "", 1, "--sparsities must be a list"),
        ("crbg", "0.9,1", 1, "--sparsities must be numbers of at least 0 and below 1, got 1"),
        ("crbg", "-0.1", 1, "got -0.1"),
        ("crbg", "nan", 1, "got nan"),
        ("crbg", "half", 1, "got half"),
        ("crbg", "0.9,0.90", 1, "--sparsities names 0.9 twice"),
        ("crbg", "0.9", 0, "--seeds must be at least 1, got 0"),
    ],
)
def test_bad_lists_are_refused(methods: str, sparsities: str, seeds: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Plan.parse(REQUEST, methods, sparsities, seeds, dense=True)
