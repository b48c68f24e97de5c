"""The pages docs/ticket-format.md and docs/ticket-format-2.md are enough to read a ticket: a reader written from them
agrees with ours, bit for bit. And what they say in numbers is right.

That the two readers of version 2 also refuse the same files is tested in tests/ticket/test_version2.py.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_compress.errors import TicketError
from slt_compress.prng import SeedRecipe
from slt_compress.tasks.record import TASK_NAMES
from slt_compress.ticket import container, version2
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts
from slt_compress.ticket.held_out import QUANTITIES, Reference
from slt_compress.ticket.purpose import DTYPES
from slt_compress.ticket.stored import BUFFER_TYPES, WEIGHT_TYPES, StoredTensor, StoredWeights
from slt_compress.ticket.ticket import Ticket
from tests.independent_reader import Contents, initialise, read, stream, words
from tests.independent_reader_2 import Data, Reference2, read_reference, version_1_size
from tests.independent_reader_2 import read as read_2
from tests.support.documents import OWN, PROVENANCE, small_ticket
from tests.support.structures import stored_values, structures
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


def compare_2(content: bytes) -> None:
    ticket, found = Ticket.from_bytes(content), read_2(content)
    names = [layer.name for layer in ticket.layers]
    same([np.packbits(ticket.mask(name)) for name in names], [np.packbits(mask) for mask in found.masks.values()])
    same([ticket.weights(name) for name in names], found.weights.values())
    same(ticket.statistics.values(), found.statistics.values())
    same([stored.values() for stored in ticket.parameters.values()], found.parameters.values())
    same(map(np.float32, ticket.constants.values()), found.constants.values())
    assert [list(found.masks), list(found.weights)] == [names] * 2
    assert list(found.statistics) == list(ticket.statistics)
    assert list(found.parameters) == list(ticket.parameters)
    assert list(found.constants) == list(ticket.constants)
    same_reference(ticket.provenance.held_out, found.reference)


def same_reference(ours: Reference | None, theirs: Reference2 | None) -> None:
    assert (ours is None) == (theirs is None)
    if ours and theirs:
        assert {QUANTITIES[place]: found for place, found in theirs.quantities.items()} == {
            name: (list(bins.edges), list(bins.counts)) for name, bins in ours.quantities.items()
        }
        assert (theirs.images, theirs.groups) == (ours.images, list(ours.classes))
        assert theirs.right == (None if ours.correct is None else list(ours.correct))


def test_both_readers_read_the_reference_of_the_page() -> None:
    (text,) = re.findall(r"the bytes `([0-9a-f \n]+)` are a reference of five images", PAGE_2)
    content = bytes.fromhex(text)
    same_reference(Reference.from_bytes(content), read_reference(Data(content), 2))
    assert Reference.from_bytes(content).accuracy == 0.8


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_both_readers_take_or_refuse_a_changed_reference(seed: int, changes: int) -> None:
    content = bytearray.fromhex("0500020102 0001003802000300 020200bc003c010001000300 04000100 01000300")
    assert len(Reference.from_bytes(bytes(content)).quantities) == 2
    generator = np.random.default_rng(seed)
    for _ in range(changes):
        content[generator.integers(len(content))] = generator.choice([0, 1, 2, 3, 4, 5, 48, 0x3C, 0x7E, 0xFF])
    try:
        ours: Reference | None = Reference.from_bytes(bytes(content))
    except TicketError:
        ours = None
    data = Data(bytes(content))
    try:
        theirs: Reference2 | None = read_reference(data, 2)
    except ValueError:
        theirs = None
    if theirs and data.left():
        theirs = None
    if ours and len(ours.classes) != 2:  # which the document is compared with
        ours = None
    same_reference(ours, theirs)


def same(ours: Iterable[Any], theirs: Iterable[Any]) -> None:
    """Fail unless arrays have the same shapes, types and bits."""
    for one, other in zip(ours, theirs, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("path", GOLDEN_2, ids=lambda path: path.stem)
def test_both_readers_agree_on_golden_tickets_of_version_2(path: Path) -> None:
    compare_2(path.read_bytes())


@settings(max_examples=200, deadline=None)
@given(structures(), stored_values())
def test_both_readers_agree_on_random_tickets_of_version_2(
    structure: tuple[list[LayerParts], SeedRecipe], stored: dict[str, Any]
) -> None:
    layers, recipe = structure
    compare_2(Ticket.assemble(layers, OWN, origin=recipe, **stored).to_bytes())


@pytest.mark.parametrize("path", GOLDEN_2, ids=lambda path: path.stem)
def test_the_independent_reader_of_version_2_notices_damage(path: Path) -> None:
    """Each byte with a bit flipped, and every length."""
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        for wrong in (bytes(damaged), content[:position]):
            with pytest.raises(ValueError, match=r"\w"):
                read_2(wrong)
    with pytest.raises(ValueError, match="does not end with its last tensor"):
        read_2(content + b"\0")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_version_1_can_hold_is_not_read_in_version_2(path: Path) -> None:
    """Both readers refuse it, and the page tells how long the file of version 1 would be."""
    ticket = Ticket.load(path)
    if ticket.granularity == "neuron" and ticket.freeze.ratio:
        with pytest.raises(TicketError, match="only version 1 can hold such masks"):
            version2.write(ticket)
        return
    content = container.pack(*version2.write(ticket), 2)[0]
    with pytest.raises(TicketError, match="though version 1 can hold it"):
        Ticket.from_bytes(content)
    with pytest.raises(ValueError, match="has to be written in version 1"):
        read_2(content)
    document = container.unpack(content)[0]
    assert version_1_size(document, ticket.granularity) == path.stat().st_size


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
def test_both_readers_agree_on_what_version_1_has_no_room_for(granularity: str) -> None:
    def ticket(columns: int) -> Ticket:
        masks, scales = {"w": np.zeros((1, columns), bool)}, {"w": 0.5}
        provenance = replace(PROVENANCE, architecture="0" * 64)
        return small_ticket(masks=masks, scales=scales, provenance=provenance, granularity=granularity, codec="rice")

    most = 4096 * len(ticket(4_000_000).to_bytes())
    content = container.pack(*version2.write(ticket(most)), 2)[0]
    with pytest.raises(ValueError, match="has to be written in version 1"):
        read_2(content)
    compare_2(ticket(most + 1).to_bytes())


@pytest.mark.parametrize("name", ["independent_reader", "independent_reader_2"])
def test_the_independent_readers_share_no_code_with_the_package(name: str) -> None:
    assert "slt_compress" not in Path(__file__).with_name(f"{name}.py").read_text()


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
