"""What a document of version 2 says of a network's purpose: task, inputs, outputs, and data to compare others with.

Reading is strict, as in `fields`.
"""

import itertools
import math
import re
from typing import Any

from slt_compress.errors import TicketError
from slt_compress.tasks.record import TASK_NAMES, TaskRecord, TensorRecord
from slt_compress.ticket.fields import check_fields, check_numbers, whole
from slt_compress.ticket.schema import Histogram

DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
MAX_ELEMENTS = 2**31  # of one example of an input or output
MAX_COUNT = 2**53

_TEXT = r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,100}"


def task_json(task: TaskRecord) -> dict[str, Any]:
    """Return a task as a document has it."""
    return dict(vars(task))


def read_task(row: object) -> TaskRecord:
    """Read what `task_json` wrote."""
    if not isinstance(row, dict):
        raise TicketError(f"its task should be an object, found {row!r}")
    check_fields("its task", row, {"name": str, "loss": str, "metric": str})
    if row["name"] not in TASK_NAMES:
        raise TicketError(f"its task should be one of {', '.join(TASK_NAMES)}, found {row['name']!r}")
    return TaskRecord(row["name"], _text(row["loss"], "its loss"), _text(row["metric"], "its metric"))


def tensors_json(tensors: tuple[TensorRecord, ...]) -> list[dict[str, Any]]:
    """Return inputs or outputs as a document has them."""
    return [{"shape": list(tensor.shape), "dtype": tensor.dtype} for tensor in tensors]


def read_tensors(rows: object, what: str) -> tuple[TensorRecord, ...]:
    """Read what `tensors_json` wrote; `what` is "inputs" or "outputs"."""
    if not isinstance(rows, list) or not 1 <= len(rows) <= 16:
        raise TicketError(f"its {what} should be 1 to 16 tensors, found {rows!r}")
    return tuple(_read_tensor(row, what) for row in rows)


def reference_json(reference: tuple[Histogram, ...]) -> list[dict[str, Any]] | None:
    """Return histograms as a document has them."""
    return [{"name": one.name, "edges": list(one.edges), "counts": list(one.counts)} for one in reference] or None


def read_reference(rows: list[object] | None) -> tuple[Histogram, ...]:
    """Read what `reference_json` wrote."""
    if rows is None:
        return ()
    if not 1 <= len(rows) <= 64:
        raise TicketError(f"its reference should be 1 to 64 histograms, found {len(rows)}")
    reference = tuple(map(_read_histogram, rows))
    if len({one.name for one in reference}) != len(rows):
        raise TicketError("two histograms of its reference have the same name")
    return reference


def _read_tensor(row: object, what: str) -> TensorRecord:
    if not isinstance(row, dict):
        raise TicketError(f"its {what} should be objects, found {row!r}")
    check_fields(f"its {what}", row, {"shape": list, "dtype": str})
    shape, dtype = row["shape"], row["dtype"]
    if len(shape) > 8 or not all(whole(length, 1, MAX_ELEMENTS) for length in shape):
        raise TicketError(f"its {what} have an impossible shape: {shape!r}")
    if math.prod(shape) > MAX_ELEMENTS or dtype not in DTYPES:
        raise TicketError(f"its {what} cannot have the shape {shape} and the dtype {dtype!r}")
    return TensorRecord(tuple(shape), dtype)


def _read_histogram(row: object) -> Histogram:
    if not isinstance(row, dict):
        raise TicketError(f"its reference should be objects, found {row!r}")
    check_fields("its reference", row, {"name": str, "edges": list, "counts": list})
    name, edges, counts = _text(row["name"], "the name in its reference"), row["edges"], row["counts"]
    check_numbers(f"the edges of its reference {name}", edges)
    if not 1 <= len(counts) <= 256 or len(edges) != len(counts) + 1:
        raise TicketError(f"its reference {name} should have 1 to 256 counts and an edge more, found {len(counts)}")
    if not all(low < high for low, high in itertools.pairwise(edges)):
        raise TicketError(f"the edges of its reference {name} should ascend, found {edges}")
    if not all(whole(count, 0, MAX_COUNT) for count in counts):
        raise TicketError(f"the counts of its reference {name} should be from 0 to 2**53, found {counts!r}")
    return Histogram(name, tuple(edges), tuple(counts))


def _text(value: str, what: str) -> str:
    if not re.fullmatch(_TEXT, value):
        raise TicketError(f"{what} should be at most 100 characters without control characters, found {value!r}")
    return value
