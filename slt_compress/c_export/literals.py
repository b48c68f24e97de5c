"""Numbers and tables as C, and the words for them in templates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_WIDTH = 118  # characters of a line of numbers


def number(value: float) -> str:
    """Return a float32 as C, exactly; what is infinite becomes the largest number."""
    limited = np.clip(np.float32(value), -np.finfo(np.float32).max, np.finfo(np.float32).max)
    return f"{limited!s}f"


def braces(values: Sequence[int]) -> str:
    """Return numbers as an initialiser of C."""
    return "{" + ", ".join(map(str, values)) + "}"


def array(kind: str, name: str, values: Sequence[str], more: str = "") -> str:
    """Return a constant array as C; `more` is what its elements are arrays of."""
    lines, line = [], "   "
    for value in values:
        if len(line) + len(value) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return f"static const {kind} {name}[]{more} = {{\n" + "\n".join([*lines, line]) + "\n};\n"


@dataclass(frozen=True)
class Wording:
    """How the template of the convolution speaks of its numbers.

    Attributes:
        value: C type of the values of tensors.
        sum: of sums.
        sums: where those of a channel are made.
        input: C type of what is read.
        load: element {} of that, as a number to be added.
        arguments, passed: what `load` needs, declared and given.
        output_argument: what `finish` needs, declared.
        finish: from the sums of a channel to its values.
    """

    value: str
    sum: str
    sums: str
    input: str
    load: str
    arguments: str
    passed: str
    output_argument: str
    finish: str
