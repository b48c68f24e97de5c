"""Templates say what they need."""

import pytest

from slt_compress.c_export import kernels


def test_a_missing_value_is_an_error() -> None:
    assert "int32_t pixels = 0" in kernels.fill(kernels.LINEAR_PIXELS, term="pixel", sum="int32_t", enter="")
    with pytest.raises(KeyError, match="term"):
        kernels.fill(kernels.LINEAR_PIXELS, sum="int32_t", enter="")


def test_layouts_have_the_same_parts() -> None:
    assert kernels.NEXT.keys() == kernels.WALK_FIELDS.keys() == kernels.READS.keys() == {"rice", "gap", "signs"}
    for layout, text in kernels.NEXT.items():
        ahead, every = kernels.READS[layout]
        assert "walk->number++;" in kernels.fill(text, step="walk->number++;", every=every, ahead=ahead)
