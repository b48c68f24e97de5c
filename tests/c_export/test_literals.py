"""Numbers and tables as C."""

import numpy as np

from slt_compress.c_export.literals import array, braces, number


def test_numbers_are_exact_and_finite() -> None:
    for value in (1 / 3, 1e-40, -16777216.0):
        assert np.float32(number(value).removesuffix("f")) == np.float32(value)
    assert number(float("inf")) == "3.4028235e+38f"


def test_tables_have_all_their_numbers_in_lines_of_some_length() -> None:
    text = array("uint8_t", "some", [str(value) for value in range(256)])
    assert text.startswith("static const uint8_t some[] = {\n")
    inner = text[text.index("{") + 1 : text.index("}")]
    assert [int(one) for one in inner.replace("\n", "").split(",")[:-1]] == list(range(256))
    assert max(map(len, text.splitlines())) <= 120
    assert braces([1, 2]) == "{1, 2}"
