"""The document of version 2: whoever forges one, of whatever golden ticket, has it read as written or refused.

By the package, and by the reader that was written from the page alone: the two agree about each forgery.
"""

import copy
import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_compress.errors import SltError, TicketError
from slt_compress.models.spec import PythonModel
from slt_compress.ticket import container
from slt_compress.ticket.schema import SearchRecord
from slt_compress.ticket.stored import StoredTensor
from slt_compress.ticket.ticket import Ticket
from tests.independent_reader_2 import read as read_independently
from tests.support.documents import OWN, edited, rich_ticket

FOLDER = Path(__file__).parent.parent / "golden"
GOLDEN = sorted(FOLDER.glob("v2-*.safetensors"))
RICH = rich_ticket().to_bytes()
golden = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)

WRONG: tuple[Any, ...] = (None, True, -1, 0, 2**63, 2**200, 1.5, 1e300, "", "x", "../../x", [], [[]], {}, {"x": 1})
FREE = {("method", "settings"), ("metrics",)}  # what may have any fields


def document_of(content: bytes) -> dict[str, Any]:
    return container.unpack(content)[0]


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value in a document, but for those below a place that may hold anything."""
    if path:
        yield path
    if path not in FREE:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, one in inner:
            yield from places(one, (*path, key))


def read_whole(content: bytes) -> Ticket:
    """Read a ticket, and all that it holds."""
    ticket = Ticket.from_bytes(content)
    ticket.check()
    for layer in ticket.layers:
        ticket.weights(layer.name)
    return ticket


def read_again(content: bytes) -> bool:
    """Return whether a ticket is read; if so, it must be written again as it was. Anything but a refusal fails."""
    try:
        ticket = read_whole(content)
    except SltError:
        return False
    assert ticket.to_bytes() == content
    return True


def read_or_refused(content: bytes) -> bool:
    """Return whether a ticket is read, on which both readers must agree."""
    ours = read_again(content)
    if ours:
        read_independently(content)
    else:
        with pytest.raises(ValueError, match=r"\w"):
            read_independently(content)
    return ours


def test_the_rich_ticket_comes_back() -> None:
    ticket = read_whole(RICH)
    assert ticket.to_bytes() == RICH
    assert ticket.provenance == OWN
    assert ticket.constants == {"act.weight": 0.25}
    assert {name: stored.type for name, stored in ticket.parameters.items()} == {
        "norm.weight": "fp32",
        "norm.bias": "fp16",
    }
    assert [stored.type for stored in ticket.stored_statistics.values()] == [
        *["fp32", "fp32", "fp16"],
        *["uint8", "uint8-squared"],
    ]
    assert ticket.statistics["half"].shape == ()


@golden
def test_every_flipped_byte_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(TicketError):
            Ticket.from_bytes(bytes(damaged))


@golden
def test_every_truncation_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for length in range(len(content)):
        with pytest.raises(TicketError):
            Ticket.from_bytes(content[:length])
    with pytest.raises(TicketError):
        Ticket.from_bytes(content + b"\0")


@golden
def test_every_byte_of_the_tensors_is_read_or_refused_if_it_is_forged(path: Path) -> None:
    """With a correct digest. What is read is written again as it was, so no bit is without a meaning."""
    document, tensors = container.unpack(path.read_bytes())
    weights = {layer.name: read_whole(path.read_bytes()).weights(layer.name) for layer in Ticket.load(path).layers}
    for name, tensor in tensors.items():
        for position in range(0, tensor.size, 1 if tensor.size < 500 else 7):
            forged = tensor.copy()
            forged[position] ^= 1 << position % 8
            content = container.pack(document, {**tensors, name: forged}, 2)[0]
            if read_or_refused(content) and name == "masks":
                ticket = Ticket.from_bytes(content)
                assert any(not np.array_equal(ticket.weights(layer), found) for layer, found in weights.items())


@golden
def test_every_field_is_needed(path: Path) -> None:
    content = path.read_bytes()
    document = document_of(content)
    removed = 0
    for place in places(document):
        if len(place) > 1 and place[:1] == ("metrics",):
            continue
        if isinstance(place[-1], str) and place[-1] not in ("format", "version", "digest"):
            with pytest.raises(TicketError):
                read_whole(edited(content, place, ...))
            removed += 1
    assert removed >= 24


@golden
def test_no_field_may_be_added(path: Path) -> None:
    content = path.read_bytes()
    document = document_of(content)
    for place in [(), *places(document)]:
        holder = document
        for key in place:
            holder = holder[key]  # type: ignore[index]
        if isinstance(holder, dict) and place not in FREE:
            with pytest.raises(TicketError):
                read_whole(edited(content, (*place, "extra"), 1))


@golden
def test_every_value_may_be_wrong(path: Path) -> None:
    """Each place of the document gets values of all types, with a correct digest: read as written, or refused.

    Of the rows of a table, the first two get all of them, and each place of the others every fourth.
    """
    content = path.read_bytes()
    document = document_of(content)
    for number, place in enumerate(places(document)):
        if place[0] in ("format", "version", "digest"):
            continue
        further = len(place) > 1 and isinstance(place[1], int) and place[1] > 1
        for value in WRONG[number % 4 :: 4] if further else WRONG:
            read_or_refused(edited(content, place, value))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("rules",), "v2", "it needs the rules 'v2', which this release does not know: upgrade"),
        (("architecture",), "A" * 64, "its architecture should be a SHA-256"),
        (("weights",), "0" * 63, "its weights should be a SHA-256"),
        (("sections",), None, "a list as 'sections'"),
        (("masks",), {}, "a list as 'masks'"),
        (("layers",), [], "0 layers leave"),
        (("preprocessing",), [], "a dict or NoneType as 'preprocessing'"),
        (("preprocessing",), {"size": 0, "channels": 1, "mean": [0.0], "std": [1.0]}, "the size of its preprocessing"),
        (("preprocessing",), {"size": 8, "channels": 0, "mean": [], "std": []}, "the channels of its preprocessing"),
        (("preprocessing",), {"size": 8, "channels": 2, "mean": [0.0], "std": [1.0]}, "a value for each channel"),
        (("reference",), [], "1 to 64 histograms"),
        (("rewind_steps",), -1, "its rewind_steps should be from 0 to 2**53"),
        (("rewind_steps",), 2**53 + 1, "its rewind_steps should be from 0 to 2**53"),
        (("method", "steps"), -1, "its steps should be from 0 to 2**53"),
        (("method", "batch_size"), -1, "its batch_size should be from 0 to 2**53"),
        (("inputs",), [], "its inputs should be 1 to 16 tensors"),
        (("outputs", 0, "shape"), [0], "its outputs have an impossible shape"),
        (("task", "name"), "detection", "its task should be one of"),
        (("model", "name"), "nets/net.py:make", "a model of your own has an impossible name"),
        (("model", "classes"), 2, "must have the fields builder, name"),
        (("model",), {"builder": "timm", "name": "x"}, "its model lacks 'arguments'"),
        (("constants", 0), ["act.weight"], "a constant should be [name, value]"),
        (("constants", 0, 1), 0.1, "the constant act.weight should be written with nine digits, as 0.100000001"),
        (("constants", 0, 1), 1, "the constant act.weight should be a float32"),
        (("constants", 0, 0), "a b", "a constant has an impossible name"),
        (("constants", 0, 0), "norm.weight", "occurs twice"),
        (("parameters", 0), ["x"], "a parameter should be [name, shape, type]"),
        (("parameters", 0, 1), [2**31 + 1], "the parameter norm.weight has an impossible shape"),
        (("parameters", 0, 1), [1] * 9, "the parameter norm.weight has an impossible shape"),
        (("parameters", 0, 1), [3], "the parameter norm.bias of shape [2] reaches to byte 16, 12 are in the file"),
        (("parameters", 0, 1), [1], "its parameters take 8 bytes by their rows, 12 in the file"),
        (("parameters", 0, 2), "uint8", "the parameter norm.weight should be fp32 or fp16, found 'uint8'"),
        (("parameters", 0, 2), ["fp32"], "the parameter norm.weight should be"),
        (("statistics", 0, 2), "int8", "should be fp32 or fp16 or uint8 or uint8-squared, found 'int8'"),
        (("statistics", 0, 0), "n.running_var", "occurs twice"),
        (("statistics", 0, 1), [2**31], "reaches to byte"),
        (("statistics", 0, 1), [2**31] * 8, "the statistic n.running_mean has an impossible shape"),
        (("statistics", 0, 1), [0, 2**31, 2], "the statistic n.running_mean has an impossible shape"),
        (("freeze",), [0.5, 0.6], "its freeze should be"),
        (("freeze",), [0.5, -0.0], "its freeze should not have -0.0"),
        (
            ("dataset",),
            "hf:someone/x",
            "its dataset should be 1 to 100 of the characters a-z, 0-9 and -: 'hf:someone/x'",
        ),
        (("dataset",), "hf:/etc", "its dataset should be"),
        (("dataset",), "../x", "its dataset should be"),
        (("dataset",), "Digits", "its dataset should be"),
        (("dataset",), "digits\n", "its dataset should be"),
        (("dataset",), "", "its dataset should be"),
        (("dataset",), "x" * 101, "its dataset should be"),
        (("preprocessing",), {"size": 8, "channels": 1, "mean": [0.0], "std": [0.0]}, "std of its preprocessing"),
        (("preprocessing",), {"size": 8, "channels": 1, "mean": [0.0], "std": [-1.0]}, "std of its preprocessing"),
        (("library",), "x" * 1001, "a text should be at most 1000 Unicode characters"),
        (("tool",), "\ud800", "a text should be at most 1000 Unicode characters"),
        (("classes",), ["\udcff"], "a text should be at most 1000 Unicode characters"),
        (("metrics", "\ud800"), 1.0, "a text should be at most 1000 Unicode characters"),
        (("method", "settings", "x"), 2**64, "a whole number should be from -2**63 to 2**64 - 1"),
    ],
)
def test_edited_documents_say_what_is_wrong(place: tuple[str | int, ...], value: Any, words: str) -> None:
    with pytest.raises(TicketError, match=re.escape(words)):
        Ticket.from_bytes(edited(RICH, place, value))


def test_an_empty_tensor_may_be_long_but_not_too_long_to_make() -> None:
    for shape in ((0, 2**31), (2**15, 0, 2**16, 0)):
        ticket = rich_ticket(statistics={"empty": StoredTensor("fp32", shape, b"")})
        assert read_or_refused(ticket.to_bytes())
        assert ticket.statistics["empty"].shape == shape
    with pytest.raises(TicketError, match="the statistic empty has an impossible shape"):
        rich_ticket(statistics={"empty": StoredTensor("fp32", (0, 2**31, 2), b"")})


def nested(depth: int) -> Any:
    found: Any = 0
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"digest": "0" * 64}, "named 'digest'"),
        ({"deep": [{"digest": "a" * 64}]}, "named 'digest'"),
        ({'x"digest': ""}, "named 'digest'"),
        ({"x": float("nan")}, "cannot be written as JSON"),
        ({"x": {1, 2}}, "cannot be written as JSON"),
        ({"x": 1, 2: 3}, "cannot be written as JSON"),
        ({"x": 10**5000}, "cannot be written as JSON"),
        ({"x": 2**64}, "a whole number should be"),
        ({"x": -(2**63) - 1}, "a whole number should be"),
        ({"x": "y" * 1001}, "a text should be"),
        ({"x": nested(30)}, "nested more than 32 deep"),
        ({"x": nested(3000)}, "nested|cannot be written as JSON"),
        ({"x": nested(29), "digest": 1, "digests": "0" * 64, "y": 'digest":"', "z": ["digest", "0" * 64]}, ""),
    ],
    ids=range(13),
)
def test_no_setting_crashes_the_writer(setting: dict[Any, Any], words: str) -> None:
    provenance = replace(OWN, method=SearchRecord("mine", 1, 1, setting))
    if words:
        with pytest.raises(TicketError, match=words):
            rich_ticket(provenance=provenance)
    else:
        content = rich_ticket(provenance=provenance).to_bytes()
        assert read_or_refused(content)
        assert Ticket.from_bytes(content).provenance.method.settings == setting


def test_a_ticket_that_version_1_can_hold_is_not_written_in_version_2() -> None:
    content = (FOLDER / "v2-restored.safetensors").read_bytes()
    document, tensors = container.unpack(content)
    document["layers"] = [
        [*row[:2], [[0.5, [[place, None, 1]]]], 0, None] for place, row in enumerate(document["layers"])
    ]
    document["masks"] = [[1, 0, "raw", 0]] * len(document["layers"])
    document["parameters"] = document["statistics"] = []
    document["metrics"] = {}
    for classes, refused in ((document["classes"], True), (["a"], False)):
        document["classes"] = classes
        forged = container.pack(document, {"masks": tensors["masks"][:0]}, 2)[0]
        if refused:
            with pytest.raises(TicketError, match="though version 1 can hold it"):
                Ticket.from_bytes(forged)
        else:
            assert Ticket.from_bytes(forged).version == 2


def test_arguments_of_a_model_must_be_known() -> None:
    content = (FOLDER / "v2-restored.safetensors").read_bytes()
    for arguments, words in (
        ({"drop_rate": 3}, "its model needs the arguments 'drop_rate', which this release does not know: upgrade"),
        ({"depth": 257}, "the model's depth must be a whole number from 1 to 256, found 257"),
        ({"depth": 3.0}, "the model's depth must be a whole number from 1 to 256, found 3.0"),
        ({"pretrained": 1, "checkpoint_path": "/etc/passwd"}, "needs the arguments 'checkpoint_path', 'pretrained'"),
        ([], "arguments must be an object"),
    ):
        with pytest.raises(TicketError, match=re.escape(words)):
            Ticket.from_bytes(edited(content, ("model", "arguments"), arguments))


def test_a_name_of_a_network_leads_to_no_code(tmp_path: Path) -> None:
    """Restoring imports, opens and runs nothing, whatever the name: an audit hook of Python watches it."""
    names = ["os:system", "nets:make", "x:f", "__main__:<lambda>", "x.py", "subprocess:run", "..x:f"]
    impossible = ["../../x.py:f", "/tmp/x.py:f", "a\nb", "", "a" * 201]
    folder = tmp_path / "inner"
    folder.mkdir()
    for place in (tmp_path, folder):
        for file in ("x.py", "nets.py"):
            (place / file).write_text("raise SystemExit('the code ran')")
    for number, name in enumerate(names + impossible):
        (folder / f"{number}.safetensors").write_bytes(edited(RICH, ("model", "name"), name))
    command = [sys.executable, "-c", _WATCHED, str(len(names + impossible))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    errors, events = json.loads(done.stdout)
    assert events == []
    for name, error in zip(names, errors, strict=False):
        assert error.startswith(f"TicketError: the network of this ticket is your own, {name}: give the function")
    for error in errors[len(names) :]:
        assert error.startswith("TicketError: a model of your own has an impossible name")


_WATCHED = """
import json, sys
from slt_compress import Ticket
contents = [open(f"{number}.safetensors", "rb").read() for number in range(int(sys.argv[1]))]
events = []

def watch(event, arguments):
    if event in ("import", "open", "exec", "compile", "os.system", "os.exec", "subprocess.Popen", "ctypes.dlopen"):
        events.append([event, repr(arguments)[:200]])

def restore(content):
    try:
        Ticket.from_bytes(content).restore()
    except Exception as caught:
        return f"{type(caught).__name__}: {caught}"

restore(contents[0])  # what this imports for any ticket: torch, and the package's own modules
sys.addaudithook(watch)
errors = [restore(content) for content in contents]
found = list(events)
print(json.dumps([errors, found]))
"""


def test_forged_sizes_ask_for_no_memory() -> None:
    """Every number of the document becomes a large one: what is not refused at once stays within 64 MB."""
    huge = [2**20, 2**26, 2**31, 2**40]
    tracemalloc.start()
    try:
        for place in places(document_of(RICH)):
            holder: Any = document_of(RICH)
            for key in place:
                holder = holder[key]
            if type(holder) is int and place[0] not in ("seed", "version"):
                for value in huge:
                    read_again(edited(RICH, place, value))
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
PLACES = sorted(places(document_of(RICH)), key=str)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PLACES), json_values)
def test_any_value_at_any_place_is_read_or_refused(place: tuple[str | int, ...], value: Any) -> None:
    if place[0] in ("format", "version", "digest"):
        return
    try:
        content = edited(RICH, place, value)
    except TicketError:  # NaN and infinity are no JSON: nobody could have written them
        return
    read_or_refused(content)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_rows_that_change_places_are_read_or_refused(data: st.DataObject) -> None:
    """Two values of one document are exchanged, or one is doubled."""
    document, tensors = container.unpack(RICH)
    document = copy.deepcopy(document)
    lists = [place for place in PLACES if isinstance(_at(document, place), list) and len(_at(document, place)) > 1]
    holder = _at(document, data.draw(st.sampled_from(lists)))
    one, other = (data.draw(st.integers(0, len(holder) - 1)) for _ in range(2))
    if data.draw(st.booleans()):
        holder[one], holder[other] = holder[other], holder[one]
    else:
        holder.insert(one, copy.deepcopy(holder[other]))
    read_or_refused(container.pack(document, tensors, 2)[0])


def _at(document: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        document = document[key]
    return document


def test_a_name_for_people_is_all_that_a_ticket_has_of_a_users_network() -> None:
    assert document_of(RICH)["model"] == {"builder": "python", "name": "nets:Net.<locals>.make"}
    assert isinstance(Ticket.from_bytes(RICH).provenance.model, PythonModel)
