"""The steps of a network as calls of C functions, for a ticket that stores its weights instead of generating them.

Numbers stand in a table in the order in which the codes of the masks are walked over, as the ticket has them. Where
they are whole, the scales of their rows are part of the factors of the output channels, and cost nothing.

Left out: numbers of several types, and generated weights beside stored ones.
"""

import numpy as np
import numpy.typing as npt

from slt_compress.c_export.calls import Calls
from slt_compress.c_export.literals import array, number
from slt_compress.c_export.network import Layer, Network
from slt_compress.c_export.values import Weights, stored_type
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.ticket.stored import FP16, FP32, INT4, INT8, nibbles

_TABLES = {FP32: "float", FP16: "uint16_t", INT8: "int8_t", INT4: "uint8_t"}  # C types of the elements

_FIELD = "    uint32_t number; /* index of its value */\n"
_VALUES = {
    FP32: """
static inline float slt_value(const slt_walk *walk)
{
    return slt_numbers[walk->number];
}
""",
    FP16: """
static inline float slt_value(const slt_walk *walk) /* of a number of half precision */
{
    const uint32_t half = slt_numbers[walk->number], exponent = half >> 10 & 31, low = half & 1023;
    union { uint32_t bits; float value; } found;
    found.bits = (exponent + 112) << 23 | low << 13;
    if (!exponent)
        found.value = (float)low / 16777216.0f;
    return half >> 15 ? -found.value : found.value;
}
""",
    INT8: """
static inline float slt_value(const slt_walk *walk)
{
    return (float)slt_numbers[walk->number];
}
""",
    INT4: """
static inline float slt_value(const slt_walk *walk) /* of four bits, the first ones the low half of a byte */
{
    const uint32_t bits = (uint32_t)slt_numbers[walk->number >> 1] >> 4 * (walk->number & 1) & 15;
    return (float)((int32_t)(bits ^ 8) - 8);
}
""",
}


class StoredCalls(Calls):
    """As `Calls`, for a ticket whose weights are all stored as one type."""

    def __init__(self, network: Network, weights: Weights, layout: str, pixels: Preprocessing | None) -> None:
        self.numbers: list[npt.NDArray[np.generic]] = []
        self.type = stored_type(weights.ticket) or FP32
        super().__init__(network, weights, layout, pixels)
        self.table_bytes += self._table().nbytes

    def _drawn(self) -> str:
        return ""

    def _is_keyed(self) -> bool:
        return False

    def _table(self) -> npt.NDArray[np.generic]:
        """Return the elements of the table of numbers."""
        numbers = np.concatenate(self.numbers)
        if self.type == INT4:
            return np.frombuffer(nibbles(numbers.astype(np.int8)), np.uint8)
        return numbers.view(np.uint16) if self.type == FP16 else numbers

    def _constants(self) -> list[str]:
        table = self._table()
        shown = [number(float(value)) if self.type == FP32 else str(value) for value in table] or ["0"]
        return [array(_TABLES[self.type], "slt_numbers", shown), *super()._constants()]

    def _value_fields(self) -> list[str]:
        return ["uint32_t number"]

    def _value_places(self, layer: Layer) -> list[str]:
        begins = sum(numbers.size for numbers in self.numbers)
        self.numbers.append(self.weights.numbers(layer.weight))
        return [str(begins)]

    def _walk_fields(self) -> tuple[str, str, str]:
        return _FIELD, ", layer->number - 1", "    walk->number++;\n"

    def _value_text(self) -> str:
        return _VALUES[self.type]
