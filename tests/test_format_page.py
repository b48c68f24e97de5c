"""The page docs/ticket-format.md is enough to read a ticket: a reader written from it agrees with ours, bit for bit."""

import re
from pathlib import Path

import numpy as np
import pytest

from slt_compress.ticket.restore import masked_weights
from slt_compress.ticket.ticket import Ticket
from tests.independent_reader import Contents, initialise, read, stream, words
from tests.support.tickets import make_ticket

PAGE = (Path(__file__).parent.parent / "docs" / "ticket-format.md").read_text()
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.safetensors"))


def compare(content: bytes) -> Contents:
    ticket, found = Ticket.from_bytes(content), read(content)
    assert list(found.masks) == [layer.name for layer in ticket.layers]
    for layer in ticket.layers:
        assert np.array_equal(found.masks[layer.name], ticket.mask(layer.name))
        ours = masked_weights(ticket, layer)
        assert np.array_equal(found.weights[layer.name], ours)
        assert not np.signbit(ours[ours == 0]).any()
    assert found.statistics.keys() == ticket.statistics.keys()
    for name, values in ticket.statistics.items():
        assert np.array_equal(found.statistics[name], values)
    return found


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_both_readers_agree_on_golden_tickets(path: Path) -> None:
    compare(path.read_bytes())


@pytest.mark.parametrize("density", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("initialiser", ["signed-constant", "kaiming-normal"])
def test_both_readers_agree_on_random_tickets(density: float, initialiser: str) -> None:
    ticket = make_ticket("lenet-5", density, size=28, channels=1, initialiser=initialiser)
    module = ticket.restore()
    found = compare(ticket.to_bytes())
    for name, weights in found.weights.items():
        assert np.array_equal(module.get_parameter(name).detach().numpy(), weights)


def test_the_independent_reader_notices_damage() -> None:
    content = bytearray(GOLDEN[0].read_bytes())
    content[-1] ^= 1
    with pytest.raises(ValueError, match="digest"):
        read(bytes(content))
    for length in (0, 7, 100, len(content) - 1):
        with pytest.raises(ValueError, match=r"\w"):
            read(bytes(content[:length]))


def test_the_vectors_on_the_page_are_right() -> None:
    rows = re.findall(r"^\| (\d+) \| `(.{8})` \| `(.{8})` \| " + r"`(.{8})` \| ?" * 4 + "$", PAGE, re.MULTILINE)
    assert len(rows) == 3
    for seed, *expected in rows:
        keys = stream(int(seed), "signs", "conv1.weight")
        assert [f"{word:08x}" for word in (*keys, *words(keys, 4).tolist())] == expected
    rows = re.findall(r"^\| `([a-z-]+)` \| ([-\d., e]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for initialiser, values in rows:
        expected_values = [np.float32(value) for value in values.split(",")]
        assert initialise(initialiser, 42, "layer.weight", 4)[0].tolist() == expected_values


def test_the_page_names_every_field() -> None:
    document = read(GOLDEN[0].read_bytes()).document
    for field in document:
        assert f"| `{field}` |" in PAGE
    for holder in ("model", "preprocessing", "method"):
        for field in document[holder]:
            assert f"`{field}`" in PAGE
