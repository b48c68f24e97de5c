"""What is common to messages: they are one line, whatever names are in them."""

import pickle

import pytest

from slt_compress.errors import DataError, MissingDatasetError, SltError, few, one_line, reason


def test_escapes() -> None:
    assert one_line("a\tb\n\x1b\udcff \u202e é") == "a\\tb\\n\\x1b\\xff \\u202e é"
    assert one_line("plain") == "plain"
    assert one_line(one_line("a\nb")) == one_line("a\nb")


@pytest.mark.parametrize(
    "error", [SltError("no file a\nb"), DataError("no file a\nb"), MissingDatasetError("x", "no file a\nb")]
)
def test_a_message_is_one_line(error: SltError) -> None:
    assert str(error) == "no file a\\nb"
    if type(error) is not MissingDatasetError:
        assert str(pickle.loads(pickle.dumps(error))) == str(error)  # as from a process that reads data


def test_what_has_failed_is_said_in_a_line() -> None:
    assert reason(DataError("no file")) == "no file"
    assert reason(RuntimeError("first\nsecond")) == "RuntimeError: first"
    assert reason(MemoryError()) == "MemoryError"
    assert few(["a", "b"]) == "a, b"
    assert few("abcde") == "a, b, c, d, …"
