"""Names from a ticket end neither a string nor a comment, and probes are those that the C code makes."""

import re
from dataclasses import replace

import numpy as np

from slt_compress.c_export import text
from slt_compress.c_export.graph import read
from slt_compress.c_export.values import Weights
from slt_compress.onnx_export.trace import trace
from slt_compress.ticket.record import NetworkRecord
from tests.support.tickets import make_ticket

TICKET = make_ticket("lenet-300-100", 0.1, size=8, channels=1, classes=3)
RECORD = NetworkRecord.of(TICKET)
NETWORK = read(trace(TICKET.restore(), RECORD, 20), {layer.name: layer.scale for layer in TICKET.layers})
EXPECTED = np.zeros((text.PROBES, 3), np.float32)


def code_of(record: NetworkRecord, *, main: bool = False) -> text.Code:
    return text.write(text.Content(NETWORK, Weights(TICKET), record, "rice", main, "net", EXPECTED))


def test_strings_are_plain_characters() -> None:
    assert text.string("cat") == '"cat"'
    assert text.string('a"b\\c\n??/é') == '"a\\042b\\134c\\012\\077\\077/\\303\\251"'


def test_names_cannot_leave_comments_and_strings() -> None:
    evil = "*/ int evil; /* \\\n??/"
    code = code_of(replace(RECORD, dataset=evil, model=evil, classes=['"; int evil; "', evil, "é"]))
    assert "evil" not in re.sub(r'"[^"\n]*"|/\*.*?\*/', "", code.source, flags=re.DOTALL)
    assert "??" not in code.source


def test_the_file_says_what_it_needs() -> None:
    code = code_of(RECORD)
    assert f"{code.arena_bytes} bytes of static memory" in code.source
    assert f"#define SLT_ARENA_BYTES {code.arena_bytes}" in code.header
    assert code.arena_bytes == code.bound_bytes == 4 * 400
    assert f"{code.table_bytes} bytes of tables" in code.source
    assert TICKET.digest in code.source


def test_main_is_there_if_asked_for() -> None:
    assert "int main" not in code_of(RECORD).source
    assert "#include <stdio.h>" not in code_of(RECORD).source
    assert "int main" in code_of(RECORD, main=True).source


def test_only_a_classifier_has_classes() -> None:
    other = replace(RECORD, task=replace(RECORD.task, name="regression"), classes=[])
    assert "slt_classify" in code_of(RECORD).header
    assert "slt_classify" not in code_of(other).header + code_of(other).source
    assert "slt_class_names" not in code_of(other).header + code_of(other).source


def test_probes_are_noise_from_the_seed() -> None:
    found = text.probes(TICKET, RECORD)
    assert found.shape == (text.PROBES, 8, 8, 1)
    assert found.dtype == np.uint8
    assert np.array_equal(found, text.probes(TICKET, RECORD))
    numbers = text.probes(TICKET, replace(RECORD, preprocessing=None))
    assert numbers.shape == (text.PROBES, 1, 8, 8)
    assert numbers.dtype == np.float32
    assert -1 <= numbers.min() < 0 < numbers.max() < 1
