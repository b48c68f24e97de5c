"""Labels by name, as targets; and test rows drawn so that training lacks no label."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.data.labels import check_forms, check_known, draw_test, same_name, targets, task_for
from slt_compress.errors import DataError, few


def test_one_label_is_a_class_and_several_are_zeros_and_ones() -> None:
    one = targets([["b"], ["a"]], ["a", "b"], str, several=False)
    assert (one.tolist(), one.dtype) == ([1, 0], torch.int64)
    some = targets([["b", "a"], [], ["c"]], ["a", "b", "c"], str, several=True)
    assert (some.tolist(), some.dtype) == ([[1, 1, 0], [0, 0, 0], [0, 0, 1]], torch.float32)
    assert targets([[], []], ["a"], str, several=True).tolist() == [[0], [0]]
    assert [task_for(several).record.metric for several in (False, True)] == ["accuracy", "f1"]


def test_a_label_that_is_no_class_is_named_with_its_place() -> None:
    with pytest.raises(DataError, match=r"^line 1: the label 'c' is in no training row$"):
        targets([["a"], ["c"]], ["a", "b"], lambda index: f"line {index}", several=False)


@given(st.lists(st.sets(st.integers(0, 9)), max_size=60))
def test_training_keeps_every_label(rows: list[set[int]]) -> None:
    train, test = draw_test(rows)
    assert sorted([*train, *test]) == list(range(len(rows)))
    assert train == sorted(train)
    assert test == sorted(test)
    assert len(test) <= max(1, len(rows) // 5)
    labels = {label for row in rows for label in row}
    assert {label for index in train for label in rows[index]} == labels
    assert draw_test(rows) == (train, test)


def test_every_fifth_row_is_drawn_where_no_label_is_rare() -> None:
    train, test = draw_test([["a"], ["b"]] * 50)
    assert (len(train), len(test)) == (80, 20)
    assert test != list(range(0, 100, 5))
    assert draw_test([["a"], ["b"]]) == ([0, 1], [])


@pytest.mark.parametrize(
    ("name", "others", "words"),
    [
        ("cat", ["dog", "cat"], ""),
        ("cat", ["Cat"], "'cat' and 'Cat', which differ only in upper and lower case"),
        ("a\u030a", ["x", "\u00e5"], r"'a\u030a' and '\xe5', one text in two forms of Unicode"),
        ("A\u030a", ["\u00e5"], "which differ only in upper and lower case"),
        ("ffi", ["\ufb03"], "which differ only in upper and lower case"),
        ("a", ["b", "\u0430"], ""),  # Cyrillic
    ],
)
def test_names_that_a_person_reads_as_one_are_known(name: str, others: list[str], words: str) -> None:
    found = same_name(name, others)
    assert words in found
    assert bool(found) == bool(words)


def test_one_name_in_two_forms_is_an_error_and_in_two_cases_is_not() -> None:
    check_forms("here", ["a", "A", "b"])
    with pytest.raises(DataError, match=r"^here has two names for one class, 'e\\u0301' and '\\xe9', one text in two"):
        check_forms("here", ["a", "\u00e9", "e\u0301"])


def test_unknown_classes_are_named() -> None:
    check_known("csv", ["b", "a", "b"], ["a", "b", "c"])
    words = r"^the network tells apart 2 classes \(a, b\), csv has 3 \(a, x, y\); it does not know x, y$"
    with pytest.raises(DataError, match=words):
        check_known("csv", ["y", "x", "a", "x"], ["a", "b"])
    assert few(list("abcde")) == "a, b, c, d, …"
