"""Statistics without those of closed channels come back bit for bit, and are left as they are where that is no gain."""

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_compress.errors import TicketError
from slt_compress.prng import SeedRecipe
from slt_compress.ticket import container, version1
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts
from slt_compress.ticket.open_channels import OpenStatistic, without_closed
from slt_compress.ticket.stored import StoredTensor
from slt_compress.ticket.ticket import Ticket
from tests.independent_reader_2 import read as read_independently
from tests.support.documents import OWN, SEED, edited
from tests.support.neuron_tickets import make_neuron_ticket
from tests.support.tickets import make_ticket

CHANNELS = np.arange(24) % 3 > 0  # two of three are open


def two_layers(channels: Any = CHANNELS) -> list[LayerParts]:
    """Return layers of which one makes channels and the other reads them, each of two columns, by weights too."""
    weights = np.random.default_rng(0).random((5, 2 * len(channels))) < 0.5
    weights &= np.repeat(channels, 2)
    return [
        LayerParts("make.weight", (len(channels), 4), [CoatParts(slices=[AxisGates(channels)])]),
        LayerParts("read.weight", weights.shape, [CoatParts(weights, [AxisGates(channels, 1, 2)])]),
    ]


def ticket_of(statistics: dict[str, Any], channels: Any = CHANNELS) -> Ticket:
    return Ticket.assemble(two_layers(channels), OWN, origin=SeedRecipe(SEED), statistics=statistics)


def closed_to_zero(values: Any, repeat: int = 1) -> Any:
    return np.where(np.repeat(CHANNELS, repeat), values, np.float32(0)).astype(np.float32)


def statistics() -> dict[str, Any]:
    draw = np.random.default_rng(1)
    return {
        "n.running_mean": closed_to_zero(draw.standard_normal(24)),
        "n.running_var": closed_to_zero(draw.random(24)),
        "wide": closed_to_zero(draw.random(48), 2),
    }


def test_closed_channels_are_not_in_the_file() -> None:
    ticket = ticket_of(statistics())
    assert all(isinstance(stored, OpenStatistic) for stored in ticket.stored_statistics.values())
    assert ticket.statistics_bytes == 4 * (16 + 16 + 32)
    document, _ = container.unpack(ticket.to_bytes())
    assert document["sections"] == ["open_channels"]
    assert document["statistics"][0] == ["n.running_mean", [24], "fp32", 0]
    half = ticket.with_half_statistics()
    assert half.statistics_bytes == 2 * (16 + 16 + 32)
    for one in (ticket, half):
        again = Ticket.from_bytes(one.to_bytes())
        assert again.to_bytes() == one.to_bytes()
        for name, values in one.statistics.items():
            assert again.statistics[name].tobytes() == values.tobytes()
            assert read_independently(one.to_bytes()).statistics[name].tobytes() == values.tobytes()
    for name, values in statistics().items():
        assert ticket.statistics[name].tobytes() == values.tobytes()


@settings(deadline=None)
@given(st.data())
def test_any_statistics_come_back_bit_for_bit(data: st.DataObject) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    channels = draw.random(data.draw(st.integers(1, 40))) < data.draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    found = {}
    for index in range(data.draw(st.integers(1, 4))):
        size = data.draw(st.sampled_from([1, len(channels), 2 * len(channels), 7]))
        values = draw.standard_normal(size).astype(np.float32)
        if size % len(channels) == 0 and data.draw(st.booleans()):
            values[~np.repeat(channels, size // len(channels))] = data.draw(st.sampled_from([0.0, -0.0, 1e-40, np.inf]))
        found[f"s{index}"] = (
            StoredTensor.of(values, data.draw(st.sampled_from(["fp32", "fp16", "uint8"])))
            if np.isfinite(values).all()
            else StoredTensor.of(values)
        )
    ticket = ticket_of(found, channels)
    content = ticket.to_bytes()
    again = Ticket.from_bytes(content)
    assert again.to_bytes() == content
    other = read_independently(content)
    for name, stored in found.items():
        assert again.statistics[name].tobytes() == stored.values().tobytes() == other.statistics[name].tobytes()


@pytest.mark.parametrize("value", [-0.0, 1e-40, 1.0])
def test_what_is_not_zero_is_stored(value: float) -> None:
    given = statistics()
    given["n.running_mean"][0] = value
    given["levels"] = StoredTensor.of(given["wide"], "uint8")
    given["plane"] = given["wide"].reshape(24, 2)
    ticket = ticket_of(given)
    kept = {name for name, stored in ticket.stored_statistics.items() if isinstance(stored, OpenStatistic)}
    assert kept == {"n.running_var", "wide"}
    assert ticket.statistics["n.running_mean"].tobytes() == given["n.running_mean"].tobytes()


def test_without_a_gain_files_are_as_before() -> None:
    open_channels = np.ones(24, np.bool_)
    assert b"open_channels" not in ticket_of(statistics(), open_channels).to_bytes()
    few = np.arange(24) > 0
    little = ticket_of({"n.running_mean": few.astype(np.float32)}, few)  # a mark of 16 bytes for 4
    assert b"open_channels" not in little.to_bytes()
    weights = make_ticket("lenet-5", 0.1, size=28)
    assert weights.version == 1
    assert without_closed(weights.stored_statistics, weights.layers) == weights.stored_statistics


def test_version_1_has_no_such_statistics() -> None:
    ticket = make_neuron_ticket("lenet-300-100", 0.5, size=8)
    own = [replace(layer, coats=layer.coats[:1]) for layer in ticket.layers]
    assert not version1.expresses(replace(ticket, layers=tuple(own)))


WRONG = [
    (("statistics", 0, 3), 1, "should name a mask of whole slices, found 1"),
    (("statistics", 0, 3), 2, "should name a mask of whole slices, found 2"),
    (("statistics", 0, 3), -1, "should name a mask of whole slices, found -1"),
    (("statistics", 0, 3), True, "should name a mask of whole slices, found True"),
    (("statistics", 0, 3), None, "should name a mask of whole slices, found None"),
    (("statistics", 0, 1), [12], "closes nothing of the statistic n.running_mean"),
    (("statistics", 0, 1), [0], "closes nothing"),
    (("statistics", 0, 1), [25], "closes nothing"),
    (("statistics", 0, 1), [24, 1], "closes nothing"),
    (("statistics", 0, 1), [24 * 2**20], "reaches to byte"),
    (("statistics", 0), ["n.running_mean", [24], "fp32", 0, 0], r"should be \[name, shape, type\]"),
    (("sections",), [], r"its sections are \[\]"),
    (("sections",), ["open_channels", "open_channels"], "its sections are"),
    (("sections",), ["held_out", "open_channels"], "its sections are"),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG)
def test_forged_rows_are_refused(path: tuple[str | int, ...], value: object, words: str) -> None:
    content = edited(ticket_of(statistics()).to_bytes(), path, value)
    with pytest.raises(TicketError, match=words):
        Ticket.from_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        read_independently(content)


def test_a_mask_without_a_closed_channel_shortens_nothing() -> None:
    content = ticket_of(statistics(), np.ones(24, np.bool_)).to_bytes()
    document, tensors = container.unpack(content)
    rows = [[*row, 0] for row in document["statistics"]]
    forged = container.pack({**document, "statistics": rows, "sections": ["open_channels"]}, tensors, 2)[0]
    for read in (Ticket.from_bytes, read_independently):
        with pytest.raises(ValueError if read is read_independently else TicketError, match=r"\w"):
            read(forged)


def test_every_truncation_and_every_flipped_byte_is_noticed() -> None:
    content = ticket_of(statistics()).to_bytes()
    for length in range(0, len(content), 7):
        with pytest.raises(TicketError):
            Ticket.from_bytes(content[:length])
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(TicketError):
            Ticket.from_bytes(bytes(damaged))


def test_a_small_file_cannot_ask_for_much_memory() -> None:
    """A mask of many channels, all closed, for many statistics of which the file has nothing."""
    ticket = ticket_of(statistics(), np.zeros(24, np.bool_))
    document = {**container.unpack(ticket.to_bytes())[0], "sections": ["open_channels"]}
    count = 2**21
    first, second = document["layers"]
    first[1][0], second[1][1], second[2][0][1][0][2] = count, 2 * count, 2
    document["masks"] = [[count, 0, "rice", 1], [0, 0, "raw", 0]]
    document["statistics"] = [[f"s{index}", [count], "fp32", 0] for index in range(50)]
    codes = np.frombuffer(struct.pack("B", 0), np.uint8)
    content = container.pack(document, {"masks": codes}, 2)[0]
    with pytest.raises(TicketError, match="more than masks could describe"):
        Ticket.from_bytes(content)
    with pytest.raises(ValueError, match="too small for so many weights"):
        read_independently(content)


@pytest.mark.parametrize("name", ["lenet-5", "resnet20", "wide_resnet10_1"])
def test_restored_networks_compute_the_same_bit_for_bit(name: str) -> None:
    size = 28 if name == "lenet-5" else 32
    ticket = make_neuron_ticket(name, 0.5, size=size)
    full = replace(
        ticket, stored_statistics={key: StoredTensor.of(values) for key, values in ticket.statistics.items()}
    )
    assert len(ticket.to_bytes()) < len(full.to_bytes())
    shortened = [one for one in ticket.stored_statistics.values() if isinstance(one, OpenStatistic)]
    assert len(shortened) >= 4
    preprocessing = ticket.provenance.preprocessing
    assert preprocessing
    inputs = torch.randn(2, preprocessing.channels, size, size)
    for compact in (False, True):
        outputs = [
            Ticket.from_bytes(one.to_bytes()).restore(compact=compact)(inputs).detach() for one in (ticket, full)
        ]
        assert torch.equal(*outputs)
