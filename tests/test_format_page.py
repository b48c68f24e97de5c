"""The page docs/ticket-format.md is enough to read a ticket: a reader written from it agrees with ours, bit for bit.

And what docs/ticket-format-2.md says in numbers is right.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from slt_compress.prng import SeedRecipe
from slt_compress.tasks.record import TASK_NAMES
from slt_compress.ticket import container
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts
from slt_compress.ticket.purpose import DTYPES
from slt_compress.ticket.stored import BUFFER_TYPES, WEIGHT_TYPES, StoredTensor, StoredWeights
from slt_compress.ticket.ticket import Ticket
from tests.independent_reader import Contents, initialise, read, stream, words
from tests.support.documents import OWN
from tests.support.tickets import make_ticket

DOCS, FOLDER = Path(__file__).parent.parent / "docs", Path(__file__).parent / "golden"
PAGE, PAGE_2 = ((DOCS / name).read_text() for name in ("ticket-format.md", "ticket-format-2.md"))
GOLDEN, GOLDEN_2 = (sorted(FOLDER.glob(f"v{version}-*.safetensors")) for version in (1, 2))


def compare(content: bytes) -> Contents:
    ticket, found = Ticket.from_bytes(content), read(content)
    assert list(found.masks) == [layer.name for layer in ticket.layers]
    for layer in ticket.layers:
        assert np.array_equal(found.masks[layer.name], ticket.mask(layer.name))
        ours = ticket.weights(layer.name)
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


def text_2(start: str) -> str:
    """The paragraph of the page of version 2 that starts so, in one line."""
    (found,) = [block for block in PAGE_2.split("\n\n") if block.startswith(start)]
    return " ".join(found.split())


def numbers(text: str) -> list[np.float32]:
    return [np.float32(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)]


def test_the_example_of_slices_is_right() -> None:
    assert "a layer of shape [4, 6] has a coat with the uses [0, 0, 1], [1, 1, 2] and [2, null, 1]" in PAGE_2
    slices = [AxisGates(np.array([1, 0, 1, 1], bool)), AxisGates(np.array([0, 1, 1], bool), 1, 2)]
    layer = LayerParts("w", (4, 6), [CoatParts(np.ones((4, 6), bool), slices)])
    document = container.unpack(Ticket.assemble([layer], OWN, origin=SeedRecipe()).to_bytes())[0]
    assert document["layers"][0][2][0][1] == [[0, 0, 1], [1, 1, 2], [2, None, 1]]
    assert document["layers"][0][3] == 12
    assert [row[0] for row in document["masks"]] == [4, 3, 12]


def test_the_example_of_coats_is_right() -> None:
    paragraph = text_2("Example: seed 42")
    coats = [
        CoatParts(np.array([[1, 1], [0, 0]], bool), scale=0.5),
        CoatParts(np.array([[1, 0], [1, 0]], bool), scale=0.1),
    ]
    layer = LayerParts("layer.weight", (2, 2), coats)
    ticket = Ticket.assemble([layer], OWN, origin=SeedRecipe(42, "kaiming-uniform"))
    expected = numbers(paragraph.partition("The weights are ")[2].partition("(")[0])
    assert ticket.weights("layer.weight").ravel().tolist() == expected


def test_the_example_of_int4_is_right() -> None:
    paragraph = text_2("Example: `int4`")
    data = bytes.fromhex(re.findall(r"`([0-9a-f ]{20,})`", paragraph)[0])
    mask = np.ones((2, 2), bool)
    weights = StoredWeights("int4", data).weights(mask)
    assert weights.ravel().tolist() == numbers(paragraph.partition("the weights ")[2].replace(". ", ""))


def test_the_examples_of_uint8_are_right() -> None:
    paragraph = text_2("Example: `uint8`")
    found = re.findall(r"`([0-9a-f ]{30,})`.*?values (?:are )?([-\d., ]+ and [-\d.]+\d)", paragraph)
    assert len(found) == 2
    for kind, (data, values) in zip(("uint8", "uint8-squared"), found, strict=True):
        assert StoredTensor(kind, (3,), bytes.fromhex(data)).values().tolist() == numbers(values)


def test_the_page_of_version_2_names_every_field_and_value() -> None:
    table = PAGE_2.partition("## 2.")[2].partition("## 3.")[0]
    for path in GOLDEN_2:
        document = container.unpack(path.read_bytes())[0]
        assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(document)
        for holder in ("model", "preprocessing", "method", "task"):
            for field in document[holder] or ():
                assert f"`{field}`" in PAGE_2
    for value in (*TASK_NAMES, *DTYPES, *BUFFER_TYPES, *WEIGHT_TYPES):
        assert f"`{value}`" in PAGE_2
