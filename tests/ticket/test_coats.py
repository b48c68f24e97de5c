"""The rows of masks and layers: whoever edits them finds a reader that says what is wrong."""

import re
from typing import Any

import numpy as np
import pytest

from slt_compress.errors import TicketError
from slt_compress.prng import SeedRecipe
from slt_compress.ticket import container
from slt_compress.ticket.assembly import CoatParts, LayerParts
from slt_compress.ticket.ticket import Ticket
from tests.support.documents import OWN, edited, rich_ticket

RICH = rich_ticket().to_bytes()
DOCUMENT = container.unpack(RICH)[0]


def test_the_rows_of_the_rich_ticket_are_as_the_page_has_them() -> None:
    assert [row[0] for row in DOCUMENT["masks"]] == [6, 29, 72, 4, 7, 6]
    first, following, whole, *_ = DOCUMENT["layers"]
    assert first[2] == [[0.5, [[0, 0, 1], [1, None, 1]]], [0.25, [[2, None, 1]]], [0.125, [[0, 0, 1]]]]
    assert following[2] == [[1.0, [[0, 1, 2], [3, 0, 2]]]]
    assert whole == ["full/fp32", [3, 5], [[1.0, []]], 15, "fp32"]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((0,), [6, 4, "raw"], "a mask should be [gates, open, codec, bytes]"),
        ((0,), None, "a mask should be [gates, open, codec, bytes]"),
        ((0, 0), -1, "a mask cannot have"),
        ((0, 0), 2**40 + 1, "a mask cannot have"),
        ((0, 0), 6.0, "a mask cannot have"),
        ((0, 1), 7, "a mask cannot have 7 of 6 gates open"),
        ((0, 1), True, "a mask cannot have"),
        ((0, 2), "zip", "a mask has an unknown codec"),
        ((0, 2), [], "a mask has an unknown codec"),
        ((0, 3), 2, "its masks take"),
        ((0, 3), -1, "a mask cannot have"),
        ((0, 3), 2**33, "a mask cannot have"),
        ((1, 0), 73, "does not fit axis None"),
        ((0, 0), 5, "does not fit axis 0"),
    ],
)
def test_other_masks_are_refused(place: tuple[int, ...], value: Any, words: str) -> None:
    with pytest.raises(TicketError, match=re.escape(words)):
        Ticket.from_bytes(edited(RICH, ("masks", *place), value))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((0,), [], "a layer should be"),
        ((0,), {}, "a layer should be"),
        ((0, 0), "a b", "a layer has an impossible name"),
        ((0, 0), "next.weight", "occurs twice"),
        ((0, 0), "norm.bias", "occurs twice"),
        ((0, 0), "half", "occurs twice"),
        ((0, 0), "act.weight", "occurs twice"),
        ((0, 1), [72], "impossible shape"),
        ((0, 1), [6] * 7, "impossible shape"),
        ((0, 1), [0, 3, 2, 2], "impossible shape"),
        ((0, 1), [2**40 + 1, 3], "impossible shape"),
        ((0, 1), [7, 3, 2, 2], "does not fit axis 0"),
        ((0, 2), [], "1 to 16 coats"),
        ((0, 2), [[1.0, []]] * 17, "1 to 16 coats"),
        ((0, 2), None, "1 to 16 coats"),
        ((0, 2, 0), [0.5], "a coat of the layer first.weight should be"),
        ((0, 2, 0, 0), 1, "should be a float32"),
        ((0, 2, 0, 0), 0.0, "impossible scale"),
        ((0, 2, 0, 0), 1 / 3, "should be written with nine digits, as 0.333333343"),
        ((0, 2, 0, 1), None, "a coat of the layer first.weight should be"),
        ((0, 2, 0, 1), [[0, 0, 1]] * 5, "with at most 4 uses"),
        ((0, 2, 0, 1), [[0, 0, 1], [0, 0, 1]], "uses a mask twice for the same"),
        ((0, 2, 0, 1), [[1, None, 1], [0, 0, 1]], "at most one mask of single weights, as its last"),
        ((0, 2, 0, 1), [[1, None, 1], [2, None, 1]], "at most one mask of single weights, as its last"),
        ((0, 2, 0, 1), [[1, None, 1]], "do not stand in the order"),
        ((0, 2, 0, 1), [[0, 0, 1]], "do not stand in the order"),
        ((0, 2, 1, 1), [[1, None, 1]], "do not stand in the order"),
        ((0, 2), [[0.5, [[0, 0, 1], [1, None, 1]]], [0.25, [[1, None, 1]]], [0.125, [[2, None, 1]]]], "used twice"),
        ((0, 2, 0, 1, 0), [0, 0], "a use of the layer first.weight should be"),
        ((0, 2, 0, 1, 0, 0), 6, "cannot use mask 6 of 6"),
        ((0, 2, 0, 1, 0, 0), -1, "cannot use mask -1"),
        ((0, 2, 0, 1, 0, 0), True, "cannot use mask True"),
        ((0, 2, 0, 1, 0, 1), 4, "does not fit axis 4"),
        ((0, 2, 0, 1, 0, 1), -1, "does not fit axis -1"),
        ((0, 2, 0, 1, 0, 1), 1, "does not fit axis 1"),
        ((0, 2, 0, 1, 0, 1), 0.0, "does not fit axis 0.0"),
        ((0, 2, 0, 1, 0, 2), 2, "does not fit axis 0"),
        ((0, 2, 0, 1, 0, 2), 0, "repeated 0 times"),
        ((0, 2, 0, 1, 0, 2), 1.0, "repeated 1.0 times"),
        ((0, 2, 0, 1, 1, 2), 2, "does not fit axis None"),
        ((0, 3), 73, "cannot keep 73 weights"),
        ((0, 3), -1, "cannot keep -1 weights"),
        ((0, 3), 48.0, "cannot keep 48.0 weights"),
        ((0, 4), "fp32", "should have one coat of scale 1.0"),
        ((1, 4), "uint8", "should have values of a type fp32 or fp16 or int8 or int4, found 'uint8'"),
        ((1, 4), ["fp32"], "should have values of a type"),
        ((1, 4), 0, "should have values of a type"),
        ((2, 2, 0, 0), 0.5, "should have one coat of scale 1.0"),
        ((2, 4), None, "bytes of values"),
        ((2, 4), "fp16", "bytes of values"),
        ((2, 3), 14, "bytes of values"),
        ((5, 3), 15, "bytes of values"),
    ],
)
def test_other_layers_are_refused(place: tuple[int, ...], value: Any, words: str) -> None:
    with pytest.raises(TicketError, match=re.escape(words)):
        Ticket.from_bytes(edited(RICH, ("layers", *place), value))


@pytest.mark.parametrize("shape", [[2**40, 2**40], [2**20, 2**20], [6, 2**30], [2**30, 3, 2, 2]], ids=str)
def test_a_small_file_cannot_claim_many_weights(shape: list[int]) -> None:
    for row in (["w", shape, [[1.0, []]], 0, None], ["w", shape, [[1.0, [[5, None, 1]]]], 0, None]):
        with pytest.raises(
            TicketError, match=r"claim \d+ weights and gates: more than masks could describe|used twice|order"
        ):
            Ticket.from_bytes(edited(RICH, ("layers",), [*DOCUMENT["layers"], row]))


def test_whole_slices_may_stand_for_more_weights_than_single_gates() -> None:
    """VGG-16 with gates for channels alone has 138 million weights in 4.6 kB; ones for weights need a byte for 4096."""
    content = container.pack(*_with_layers([["w", [1000, 80_000], [[1.0, []]], 80_000_000, None]]))[0]
    assert len(content) < 2000
    assert Ticket.from_bytes(content).weight_count == 80_000_000
    masks = [[0, 0, "raw", 0]]
    own = [["w", [1000, 80_000], [[1.0, [[0, None, 1]]]], 0, None]]
    with pytest.raises(TicketError, match="claim 80000000 weights"):
        Ticket.from_bytes(container.pack(*_with_layers(own, masks))[0])
    with pytest.raises(TicketError, match="claim 10000000 weights"):
        Ticket.from_bytes(container.pack(*_with_layers([[*own[0][:2], [[1.0, []]] * 2, 0, None]]))[0])


def test_gates_of_slices_count_as_weights_do() -> None:
    """An empty code of one byte may stand for any number of them."""
    for gates, refused in ((1_000_000, False), (9_000_000, True)):
        masks = [[gates, 0, "rice", 1]] * 2
        layer = ["w", [gates, 2], [[1.0, [[0, 0, 1], [1, 0, 1]]]], 0, None]
        document, _, version = _with_layers([layer], masks)
        content = container.pack(document, {"masks": np.zeros(2, np.uint8)}, version)[0]
        if refused:
            with pytest.raises(TicketError, match="claim 19125000 weights and gates"):
                Ticket.from_bytes(content)
        else:
            assert Ticket.from_bytes(content).weight_count == 2 * gates


@pytest.mark.parametrize(
    ("scale", "read"), [(1e-30, False), (1.0000001e-30, True), (9.99999939e29, True), (1.00000002e30, False)]
)
def test_scales_are_compared_as_they_are_written(scale: float, read: bool) -> None:
    """The float32 nearest to 1e-30 is larger than it."""
    content = edited(RICH, ("layers", 0, 2, 0, 0), scale)
    if read:
        assert Ticket.from_bytes(content).layers[0].scale == np.float32(scale)
    else:
        with pytest.raises(TicketError, match="impossible scale"):
            Ticket.from_bytes(content)


def test_a_scale_is_rounded_to_float32_when_it_is_written() -> None:
    layer = LayerParts("w", (2, 2), [CoatParts(np.eye(2, dtype=bool), scale=0.1)])
    ticket = Ticket.assemble([layer], OWN, origin=SeedRecipe(1))
    assert container.unpack(ticket.to_bytes())[0]["layers"][0][2][0][0] == 0.100000001
    packed = Ticket.pack({"w": np.eye(2, dtype=bool)}, {"w": 0.1}, {}, OWN, origin=SeedRecipe(1))
    assert packed.to_bytes() == ticket.to_bytes()


def _with_layers(layers: list[Any], masks: list[Any] | None = None) -> tuple[dict[str, Any], dict[str, Any], int]:
    document = {**DOCUMENT, "layers": layers, "masks": masks or [], "parameters": [], "statistics": []}
    return document, {"masks": np.empty(0, np.uint8)}, 2


def test_a_mask_that_codes_other_gates_than_remain_is_noticed() -> None:
    """The seed and the channels decide how many they are; only reading them all tells."""
    ticket = Ticket.from_bytes(edited(edited(RICH, ("masks", 1, 0), 30), ("masks", 1, 2), "raw"))
    with pytest.raises(TicketError, match="a mask should have 29 coded gates, it has 30"):
        ticket.check()
