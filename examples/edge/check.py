"""Check that a runtime computes an exported network right. Needs numpy, and for the command onnxruntime.

    python check.py ticket.onnx …

Every exported file says how to make two inputs, and what the network computes of them. The command runs them with
onnxruntime and prints "right", "differs by x" or "wrong" (exit code 1). For any other runtime, whose format the file
may have been converted to:

    import check
    print(check.check(lambda inputs: model(inputs[0]), "ticket.onnx"))

`check` calls its first argument with a list of arrays, one an input of the graph, in batches of one, and expects an
array or several, one an output. x is the largest difference from fp32 on the recorded values, as a share of the
largest output. Up to 0.001 is right: runtimes add in different orders. Up to 0.1 is what fewer bits make of numbers, as
in bfloat16; see whether the accuracy is still what you need. More is wrong. An int8 file has its own limit, twice the
difference that it had under onnxruntime, and is wrong beyond 0.1 or twice that.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

RIGHT, WRONG = 1e-3, 0.1  # of the largest output

Array = npt.NDArray[Any]


class Verdict(NamedTuple):
    """What was found: the largest difference, as a share of the largest output, and what to think of it."""

    difference: float
    text: str

    def __str__(self) -> str:
        return self.text


def check(run: Callable[[list[Array]], Any], file: str | Path) -> Verdict:
    """Run the probes of a file. Raises ValueError if it has none, and what `run` raises."""
    recorded = metadata(file)
    probes = recorded.get("probes")
    if not probes:
        raise ValueError(f"{file} records no probes: export it again with slt-compress")
    worst = 0.0
    for index, arrays in enumerate(inputs(recorded)):
        found = run(arrays)
        found = list(found) if isinstance(found, (list, tuple)) else [found]
        for output, wanted in zip(found, probes["outputs"], strict=True):
            values = np.asarray(output, np.float64).ravel()
            kept = np.array(wanted["values"][index])
            if values.size < kept.size:
                return Verdict(math.inf, f"wrong: an output has {values.size} values")
            distance = np.abs(values[np.arange(kept.size) * values.size // kept.size] - kept).max()
            worst = max(worst, float(distance) / (wanted["largest"] or 1.0)) if np.isfinite(distance) else math.inf
    right = probes.get("tolerance", RIGHT)
    if worst <= right:
        return Verdict(worst, "right")
    limit = max(WRONG, 2 * right)
    return Verdict(worst, f"differs by {worst:.2g}" if worst <= limit else f"wrong, differs by {worst:.2g}")


def inputs(recorded: dict[str, Any]) -> Iterator[list[Array]]:
    """Yield the inputs of each probe, as the graph takes them."""
    image = recorded["preprocessing"]
    if image:
        tensors = [((image["size"], image["size"], image["channels"]), "pixels")]
    else:
        tensors = [(tuple(one["shape"]), one["dtype"]) for one in recorded["inputs"]]
    start = recorded["seed"]
    for _ in recorded["probes"]["outputs"][0]["values"]:
        arrays = []
        for shape, kind in tensors:
            drawn = words(start, math.prod(shape)).reshape(1, *shape)
            start += drawn.size
            if kind == "pixels":
                arrays.append(as_images((drawn >> np.uint32(24)).astype(np.uint8), recorded))
            elif "float" in kind:
                arrays.append(((drawn >> np.uint32(8)) / np.float64(2**22) - 2).astype(kind))
            else:
                arrays.append((drawn >> np.uint32(31)).astype(kind))
        yield arrays


def words(start: int, count: int) -> npt.NDArray[np.uint32]:
    """Return uint32 of shape (count,): the generator's mixer of start, start + 1, … modulo 2**32."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(start % 2**32)
    for shift, multiplier in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(multiplier)
    return x ^ (x >> np.uint32(15))


def as_images(pixels: Array, recorded: dict[str, Any]) -> Array:
    """Return pixels, uint8 (1, size, size, channels), as the graph takes them."""
    if recorded["input"] == "pixels":
        return pixels
    mean, std = (np.array(recorded["preprocessing"][key], np.float32) for key in ("mean", "std"))
    return np.ascontiguousarray(((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))


def metadata(file: str | Path) -> dict[str, Any]:
    """Return what slt-compress has recorded in a file. Raises ValueError if there is nothing."""
    for field, content in fields(memoryview(Path(file).read_bytes())):
        if field == 14:  # metadata_props of a ModelProto: key 1, value 2
            entry = dict(fields(content))
            if bytes(entry.get(1, b"")) == b"slt_compress":
                recorded: dict[str, Any] = json.loads(bytes(entry[2]))
                return recorded
    raise ValueError(f"{file} was not exported by slt-compress")


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and bytes of the fields of a message of protobuf that have a length."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    try:
        while at < len(message):
            tag = varint()
            if tag & 7 == 0:
                varint()
                continue
            length = varint() if tag & 7 == 2 else {1: 8, 5: 4}[tag & 7]
            if tag & 7 == 2:
                yield tag >> 3, message[at : at + length]
            at += length
    except (IndexError, KeyError) as error:
        raise ValueError("this is no ONNX file") from error


def onnxruntime_runner(file: str) -> Callable[[list[Array]], Any]:
    import onnxruntime  # not needed for other runtimes

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def main(files: list[str]) -> int:
    bad = 0
    for file in files:
        try:
            verdict = check(onnxruntime_runner(file), file)
        except Exception as error:  # onnxruntime's errors share no base class
            print(f"{file}: cannot be checked: {str(error).splitlines()[0]}")
            bad += 1
            continue
        print(f"{file}: {verdict}")
        bad += verdict.text.startswith("wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
