"""A second reader of tickets of version 2, written from docs/ticket-format-2.md alone; none of the package's code."""

import hashlib
import itertools
import json
import math
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.independent_reader import FIELDS as FIELDS_1
from tests.independent_reader import check, initialise, parse, read_raw, read_rice, stream, words

FIELDS = """architecture classes constants dataset digest format freeze generator initialiser inputs layers library
masks method metrics model outputs parameters preprocessing reference rewind_steps rules sections seed statistics task
tool version weights"""
INITIALISERS = ("signed-constant", "kaiming-uniform", "uniform", "kaiming-normal")
TENSORS = ("held_out", "masks", "parameters", "statistics", "values")
DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
TASKS = ("classification", "multi-label", "regression", "segmentation", "other")
NAME = "[!-~]{1,256}"
WORDS = "[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]{0,100}"
LARGEST = float(np.finfo(np.float32).max)

Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Contents2:
    """What a ticket holds: the document, and by name everything that restoring a network sets."""

    document: dict[str, Any]
    masks: dict[str, Bits]
    weights: dict[str, Floats]
    statistics: dict[str, Floats]
    parameters: dict[str, Floats]
    constants: dict[str, np.float32]
    reference: "Reference2 | None"


def read(content: bytes) -> Contents2:
    """Everything in the ticket `content`; a ValueError if it breaks the rules of the page."""
    document, tensors = read_file(content)
    check_document(document)
    shortened = [row for row in document["statistics"] if len(check_list(row, 3, 4)) == 4]
    check(("open_channels" in document["sections"]) == bool(shortened), "other sections than content")
    channels = sum(check_integer(side, 0, 1 << 31) for row in shortened for side in check_list(row[1], 1, 1))
    check_layers(document["layers"], document["masks"], channels, len(content))
    parameters = [read_numbers(row, tensors["parameters"], 2) for row in document["parameters"]]
    constants = [(check_match(NAME, name), np.float32(check_float32(value))) for name, value in document["constants"]]
    decoder = Masks(document["masks"], tensors["masks"])
    masks: dict[str, Bits] = {}
    weights: dict[str, Floats] = {}
    digest = hashlib.sha256()
    for row in document["layers"]:
        name, _, _, kept, values = row
        masks[name], sums = decoder.layer(row, document["seed"], document["freeze"])
        check(np.count_nonzero(masks[name]) == kept, "a layer keeps another number of weights")
        if values is not None:
            weights[name] = read_values(values, kept, masks[name], tensors["values"])
            continue
        elements, covered = initialise(document["initialiser"], document["seed"], name, sums.size)
        digest.update(covered)
        weights[name] = np.where(masks[name], elements.reshape(sums.shape) * sums, np.float32(0))
    buffers = dict(read_statistic(row, tensors["statistics"], decoder) for row in document["statistics"])
    named = [row[0] for key in ("layers", "parameters", "constants", "statistics") for row in document[key]]
    check(len(set(named)) == len(named), "a name occurs twice")
    finite = all(np.isfinite(values).all() for values in buffers.values())
    check(not (finite and fits_version_1(document)), "the ticket has to be written in version 1")
    held_out = "held_out" in document["sections"]
    reference = read_reference(tensors["held_out"], len(document["classes"])) if held_out else None
    for key in TENSORS:
        check(tensors[key].left() == 0, f"the tensor {key} holds more than its rows")
    check(digest.hexdigest() == document["weights"], "the digest of the weights is another")
    return Contents2(document, masks, weights, buffers, dict(parameters), dict(constants), reference)


@dataclass(frozen=True)
class Reference2:
    """How the network saw held-out images: edges and counts by the number of the quantity, groups, right images."""

    images: int
    quantities: dict[int, tuple[list[float], list[int]]]
    groups: list[int]
    right: list[int] | None


class Data:
    """The bytes of a tensor, taken from its start."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def left(self) -> int:
        return len(self.content) - self.position

    def take(self, count: int) -> bytes:
        check(count <= self.left(), "a tensor is too short")
        self.position += count
        return self.content[self.position - count : self.position]


# Section 1: the file


def read_file(content: bytes) -> tuple[dict[str, Any], dict[str, Data]]:
    """The document, whose spelling and digest are right, and the tensors (empty where they are not there)."""
    check(8 <= len(content) <= 1 << 32, "the file is too short or too long")
    (length,) = struct.unpack("<Q", content[:8])
    check(length <= min(4 << 20, len(content) - 8), "the header is too long")
    text, data = content[8 : 8 + length], content[8 + length :]
    check(text.startswith(b"{") and text.rstrip(b" ").endswith(b"}"), "the header is not JSON filled up with spaces")
    header = parse(text.decode())
    metadata = header.pop("__metadata__", None)
    check(isinstance(metadata, dict) and set(metadata) == {"ticket"}, "the metadata has other keys")
    check("masks" in header and set(header) <= set(TENSORS), "the header has other keys")
    tensors, end = {key: Data(b"") for key in TENSORS}, 0
    for key in TENSORS:
        if key in header:
            entry = check_fields(header[key], "dtype", "shape", "data_offsets")
            (size,) = check_list(entry["shape"], 1, 1)
            size = check_integer(size, 0 if key == "masks" else 1, len(data) - end)
            check(entry["dtype"] == "U8", "a tensor has another type")
            offsets = [check_integer(offset, 0, len(data)) for offset in check_list(entry["data_offsets"], 2, 2)]
            check(offsets == [end, end + size], "a tensor lies elsewhere")
            tensors[key] = Data(data[end : end + size])
            end += size
    check(end == len(data), "the file does not end with its last tensor")
    written = check_text(metadata["ticket"])
    document = parse(written)
    check(document.get("version") == 2 and type(document["version"]) is int, "another version of the format")
    try:
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise ValueError("the document is nested too deeply") from None
    check(canonical == written, "the document is spelled in another way")
    digest = check_match("[0-9a-f]{64}", document.get("digest"))
    field = rb"\"digest\":\"%s\"" % digest.encode()
    check(text.count(field) == text.count(rb"\"digest\":\"") == 1, "the digest does not stand in the header once")
    blank = text.replace(field, rb"\"digest\":\"%s\"" % (b"0" * 64))
    check(hashlib.sha256(content[:8] + blank + data).hexdigest() == digest, "the digest of the file is another")
    return document, tensors


# Section 2: the document


def check_integer(value: Any, low: int, high: int) -> int:
    check(type(value) is int and low <= value <= high, "not an integer, or one out of range")
    return int(value)


def check_text(value: Any) -> str:
    check(isinstance(value, str), "not a string")
    return str(value)


def check_list(value: Any, low: int = 0, high: float = math.inf) -> list[Any]:
    check(isinstance(value, list) and low <= len(value) <= high, "not a list, or one of another length")
    return list(value)


def check_floats(value: Any, count: int) -> list[float]:
    check(all(type(part) is float for part in check_list(value, count, count)), "not a list of floats")
    return list(value)


def check_fields(value: Any, *names: str) -> dict[str, Any]:
    check(isinstance(value, dict) and set(value) == set(names), f"not an object of {names}")
    return dict(value)


def check_match(pattern: str, value: Any) -> str:
    check(re.fullmatch(pattern, check_text(value)) is not None, "a string is not as it has to be")
    return str(value)


def check_float32(value: Any) -> float:
    """The float32 number as a double, if it is spelled as its float32 is."""
    check(type(value) is float, "not a float")
    try:
        (single,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        raise ValueError("a number is too large for float32") from None
    check(float(f"{single:.9g}") == value, "a float32 number is spelled in another way")
    return float(value)


def check_values(value: Any, depth: int = 1) -> None:
    """What holds at any depth."""
    if type(value) is int:
        check_integer(value, -(1 << 63), (1 << 64) - 1)
    elif isinstance(value, str):
        check_match("[^\ud800-\udfff]{0,1000}", value)
    elif isinstance(value, dict | list):
        check(depth <= 32, "the document is nested too deeply")
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            check_values(part, depth + 1)


def check_document(document: dict[str, Any]) -> None:
    """All of section 2 but the four lists of rows."""
    check_values(document)
    check_fields(document, *FIELDS.split())
    check(document["format"] == "slt-compress ticket", "another format")
    sections: tuple[list[str], ...] = ([], ["held_out"], ["open_channels"], ["held_out", "open_channels"])
    check(document["sections"] in sections and document["rules"] == "v1", "other sections or rules")
    check_integer(document["seed"], 0, (1 << 64) - 1)
    check(document["generator"] == "hash32x2" and document["initialiser"] in INITIALISERS, "another generator")
    ratio, lock = check_floats(document["freeze"], 2)
    check(0 <= lock <= ratio <= 1 and "-0.0" not in map(str, document["freeze"]), "freeze is out of range")
    for rows in (document["masks"], document["parameters"], document["statistics"]):
        check_list(rows)
    for row in check_list(document["constants"]):
        check_list(row, 2, 2)
    check_list(document["layers"], 1)
    for key in ("weights", "architecture"):
        check_match("[0-9a-f]{64}", document[key])
    check_match("[a-z0-9-]{1,100}", document["dataset"])
    for text in [document["library"], document["tool"], *check_list(document["classes"])]:
        check_text(text)
    for tensor in check_list(document["inputs"], 1, 16) + check_list(document["outputs"], 1, 16):
        shape = check_list(check_fields(tensor, "shape", "dtype")["shape"], 0, 8)
        check(math.prod(check_integer(side, 1, 1 << 31) for side in shape) <= 1 << 31, "a tensor is too large")
        check(tensor["dtype"] in DTYPES, "another dtype")
    check_model(document["model"])
    task = check_fields(document["task"], "name", "loss", "metric")
    check(task["name"] in TASKS, "another task")
    check_match(WORDS, task["loss"])
    check_match(WORDS, task["metric"])
    if document["preprocessing"] is not None:
        preprocessing = check_fields(document["preprocessing"], "size", "channels", "mean", "std")
        check_integer(preprocessing["size"], 1, 4096)
        channels = check_integer(preprocessing["channels"], 1, 64)
        check_floats(preprocessing["mean"], channels)
        check(all(deviation > 0 for deviation in check_floats(preprocessing["std"], channels)), "std is not above 0")
    method = check_fields(document["method"], "name", "steps", "batch_size", "settings")
    check_text(method["name"])
    check(isinstance(method["settings"], dict), "settings is not an object")
    for count in (method["steps"], method["batch_size"], document["rewind_steps"]):
        check_integer(count, 0, 1 << 53)
    check(isinstance(document["metrics"], dict), "metrics is not an object")
    check_floats(list(document["metrics"].values()), len(document["metrics"]))
    histograms = [] if document["reference"] is None else check_list(document["reference"], 1, 64)
    for histogram in histograms:
        check_match(WORDS, check_fields(histogram, "name", "edges", "counts")["name"])
        counts = [check_integer(count, 0, 1 << 53) for count in check_list(histogram["counts"], 1, 256)]
        edges = check_floats(histogram["edges"], len(counts) + 1)
        check(all(a < b for a, b in itertools.pairwise(edges)), "edges do not grow")
    check(len({histogram["name"] for histogram in histograms}) == len(histograms), "two histograms have one name")


MOST = {
    "depth": 256,
    "embed_dim": 8192,
    "mlp_ratio": 16,
    "num_heads": 256,
    "patch_size": 512,
    "window_size": 16,
}  # of the arguments


def check_model(model: Any) -> None:
    check(isinstance(model, dict), "model is not an object")
    if model.get("builder") == "python":
        check_match("[A-Za-z0-9_.:<>-]{1,200}", check_fields(model, "builder", "name")["name"])
        return
    check_fields(model, "builder", "name", "classes", "channels", "input_size", "small_input", "arguments")
    check(model["builder"] in ("slt", "timm", "torchvision"), "another builder")
    check_text(model["name"])
    check_integer(model["classes"], 2, 100000)
    check_integer(model["channels"], 1, 64)
    check_integer(model["input_size"], 1, 4096)
    check(isinstance(model["small_input"], bool), "small_input is not a boolean")
    check(isinstance(model["arguments"], dict), "arguments are not an object")
    for name, value in model["arguments"].items():
        check(name in MOST, "an unknown argument")
        check_integer(value, 1, MOST[name])


# Sections 3 and 4: the masks and layers


def check_layers(layers: list[Any], masks: list[Any], channels: int, size: int) -> None:
    """The rows of the masks and layers, all that holds between them, and the limit for a file of `size` bytes with so
    many `channels` in rows of statistics that name a mask.
    """
    for gates, opened, codec, length in (check_list(row, 4, 4) for row in masks):
        check_integer(opened, 0, check_integer(gates, 0, 1 << 40))
        check_integer(length, 0, 1 << 32)
        check(codec in ("raw", "rice"), "another codec")
    used, count = 0, 0
    single: set[int] = set()
    for name, shape, coats, kept, values in (check_list(row, 5, 5) for row in layers):
        check_match(NAME, name)
        n = math.prod(check_integer(side, 1, 1 << 40) for side in check_list(shape, 2, 6))
        check_integer(kept, 0, n)
        check(values in (None, "fp32", "fp16", "int8", "int4"), "another type of values")
        for scale, uses in (check_list(coat, 2, 2) for coat in check_list(coats, 1, 16)):
            check(1e-30 < check_float32(scale) < 1e30, "a scale is out of range")
            check(values is None or (len(coats) == 1 and scale == 1), "a layer with values has not one plain coat")
            places: list[tuple[int, int | None]] = []
            for mask, axis, repeat in (check_list(use, 3, 3) for use in check_list(uses, 0, 4)):
                check_integer(mask, 0, min(used, len(masks) - 1))
                check(mask not in single, "a mask with the axis null is used again")
                check(not any(other is None for _, other in places), "a use with the axis null is not the last one")
                check((mask, axis) not in places, "a coat uses a mask twice for the same axis")
                places.append((mask, axis))
                if axis is None:
                    check(mask == used and check_integer(repeat, 1, 1) == 1, "a mask with the axis null is used again")
                    check(masks[mask][0] <= n, "a mask has more gates than its layer has weights")
                    single.add(mask)
                else:
                    side = shape[check_integer(axis, 0, len(shape) - 1)]
                    check(masks[mask][0] * check_integer(repeat, 1, side) == side, "a mask does not fit its axis")
                    count += masks[mask][0] if mask == used else 0
                used = max(used, mask + 1)
            count += n if any(axis is None for _, axis in places) else n // 16
    check(used == len(masks), "a mask is not used")
    check(count + channels <= 4096 * size, "the file is too small for so many weights")


class Masks:
    """Decodes the masks in the order of their rows, which is the order of their first uses."""

    def __init__(self, rows: list[Any], data: Data) -> None:
        check(sum(length for _, _, _, length in rows) == data.left(), "the codes do not fill the tensor masks")
        self.rows, self.data = rows, data
        self.known: dict[int, Bits] = {}

    def decode(self, mask: int) -> Bits:
        gates, opened, codec, length = self.rows[mask]
        return (read_raw if codec == "raw" else read_rice)(self.data.take(length), gates, opened)

    def layer(self, row: list[Any], seed: int, freeze: list[float]) -> tuple[Bits, Floats]:
        """Which weights a coat keeps, and for each weight the sum of the scales of the coats that keep it."""
        name, shape, coats = row[:3]
        kept, sums = np.zeros(shape, np.bool_), np.zeros(shape, np.float32)
        for number, (scale, uses) in enumerate(coats):
            keeps = np.ones(shape, np.bool_)
            for mask, axis, repeat in uses:
                if axis is None:
                    fixed = freeze if number == 0 else [0.0, 0.0]
                    self.each(mask, keeps.reshape(-1), stream(seed, "freeze", name), *fixed)
                else:
                    if mask not in self.known:
                        self.known[mask] = self.decode(mask)
                    sides = [-1 if k == axis else 1 for k in range(len(shape))]
                    keeps &= np.repeat(self.known[mask], repeat).reshape(sides)
            kept |= keeps
            np.add(sums, np.float32(scale), out=sums, where=keeps)
        return kept, sums

    def each(self, mask: int, keeps: Bits, keys: tuple[int, int], ratio: float, lock: float) -> None:
        """Clears in `keeps` what a mask with a gate for each weight drops."""
        coded = keeps.copy()
        if ratio > 0:
            u = words(keys, keeps.size).astype(np.uint64)
            keeps &= u < np.uint64(round(lock * 2**32))
            coded &= u >= np.uint64(round(ratio * 2**32))
        check(np.count_nonzero(coded) == self.rows[mask][0], "a mask has another number of gates")
        keeps[coded] = self.decode(mask)


# Sections 5 and 6: stored weights, parameters and statistics


def read_values(kind: str, kept: int, mask: Bits, data: Data) -> Floats:
    """The stored weights of a layer, in its shape."""
    if kind in ("fp32", "fp16"):
        values = read_floats(data, kept, kind)
    else:
        scales = read_floats(data, mask.shape[0], "fp32")
        check(bool(np.all(np.isfinite(scales) & (scales > 0))), "a scale is not finite or not larger than 0")
        packed = np.frombuffer(data.take(kept if kind == "int8" else -(-kept // 2)), np.int8)
        if kind == "int4":
            packed = np.stack([packed << 4, packed], axis=1).reshape(-1) >> 4
            check(not packed[kept:].any(), "the last four bits are not zero")
        numbers = packed[:kept]
        check(bool(np.all(numbers != (-128 if kind == "int8" else -8))), "the smallest number is used")
        with np.errstate(over="ignore"):
            values = scales[np.nonzero(mask)[0]] * numbers.astype(np.float32)
    check(bool(np.all(np.isfinite(values))), "a weight is not finite")
    check(not np.any(np.signbit(values) & (values == 0)), "a weight is -0")
    weights = np.zeros(mask.shape, np.float32)
    weights[mask] = values
    return weights


def read_floats(data: Data, count: int, kind: str) -> Floats:
    size, dtype = (2, "<f2") if kind == "fp16" else (4, "<f4")
    return np.frombuffer(data.take(count * size), dtype).astype(np.float32)


def read_numbers(row: Any, data: Data, kinds: int) -> tuple[str, Floats]:
    """The name and the numbers of a row of parameters or statistics, which has one of the first `kinds` types."""
    name, shape, kind = check_list(row, 3, 3)
    check_match(NAME, name)
    check(kind in ("fp32", "fp16", "uint8", "uint8-squared")[:kinds], "another type of numbers")
    sides = [check_integer(side, 0, 1 << 31) for side in check_list(shape, 0, 8)]
    check(math.prod(side for side in sides if side) <= 1 << 31, "a shape is too large")
    size = math.prod(sides)
    if kind in ("fp32", "fp16"):
        values = read_floats(data, size, kind)
        check(not np.isnan(values).any(), "a number is NaN")
        return name, values.reshape(shape)
    low, high = struct.unpack("<ff", data.take(8))
    check(math.isfinite(low) and math.isfinite(high) and low <= high, "low and high are not finite or not in order")
    check(kind == "uint8" or (low >= 0 and high * high <= LARGEST), "low or high is out of range")
    exact = (high - low) * np.frombuffer(data.take(size), np.uint8).astype(np.float64) / 255 + low
    return name, (exact * exact if kind == "uint8-squared" else exact).astype(np.float32).reshape(shape)


def read_statistic(row: Any, data: Data, masks: Masks) -> tuple[str, Floats]:
    """The name and the numbers of a row of statistics; zeros where the mask that it may name is closed."""
    if len(row) == 3:
        return read_numbers(row, data, 4)
    name, (channels,), kind, place = row
    check(type(place) is int and place in masks.known, "a statistic names no mask along an axis")
    gates = masks.known[place]
    check(0 < gates.size <= channels and channels % gates.size == 0, "a mask does not fit a statistic")
    check(not gates.all(), "a mask closes nothing of a statistic")
    values = np.zeros(channels, np.float32)
    opened = np.repeat(gates, channels // gates.size)
    values[opened] = read_numbers([name, [int(opened.sum())], kind], data, 4)[1]
    return name, values


# Section 8: when version 1 is written


def fits_version_1(document: dict[str, Any]) -> bool:
    """Whether version 1 can hold the ticket, whose statistics are finite, so that version 2 must not."""
    model, preprocessing, rows = document["model"], document["preprocessing"], document["statistics"]
    if model["builder"] == "python" or preprocessing is None:
        return False
    size = preprocessing["size"]
    inputs = [{"dtype": "float32", "shape": [preprocessing["channels"], size, size]}]
    outputs = [{"dtype": "float32", "shape": [len(document["classes"])]}]
    task = {"name": "classification", "loss": "cross-entropy", "metric": "accuracy"}
    if (document["inputs"], document["outputs"], document["task"]) != (inputs, outputs, task):
        return False
    if any(document[key] for key in ("rewind_steps", "reference", "sections", "parameters", "constants")):
        return False
    uses = []
    for name, _, coats, _, values in document["layers"]:
        if len(coats) != 1 or len(coats[0][1]) != 1 or values is not None or not re.fullmatch("[A-Za-z0-9_.]+", name):
            return False
        uses += coats[0][1]
    neurons = uses == [[place, 0, 1] for place in range(len(uses))] and document["freeze"][0] == 0
    if not neurons and not all(axis is None for _, axis, _ in uses):
        return False
    for mean, variance in zip(rows[::2], rows[1::2], strict=False):
        names = mean[0].endswith(".running_mean") and variance[0] == mean[0].removesuffix("mean") + "var"
        if not names or variance[1] != mean[1] or len(mean[1]) != 1 or mean[1][0] == 0:
            return False
    if len(rows) % 2 or {row[2] for row in rows} not in (set(), {"fp32"}, {"fp16"}):
        return False
    weights = sum(math.prod(shape) for _, shape, *_ in document["layers"])
    return bool(weights <= 4096 * version_1_size(document, "neuron" if neurons else "weight"))


def version_1_size(document: dict[str, Any], granularity: str) -> int:
    """The length of the file of version 1."""
    masks, rows = document["masks"], document["statistics"]
    old = {key: document[key] for key in FIELDS_1 if key in document}
    old |= {"version": 1, "granularity": granularity}
    old["model"] = {key: value for key, value in document["model"].items() if key != "arguments"}
    old["layers"] = [
        [name, shape, coats[0][0], mask[2], kept, mask[3]]
        for (name, shape, coats, kept, _), mask in zip(document["layers"], masks, strict=True)
    ]
    old["statistics"] = [[row[0].removesuffix(".running_mean"), *row[1]] for row in rows[::2]]
    dtype, width = ("F16", 2) if rows and rows[0][2] == "fp16" else ("F32", 4)
    count, codes = int(sum(row[1][0] for row in rows)), int(sum(row[3] for row in masks))
    middle, end = width * count, width * count + codes
    header = {
        "__metadata__": {"ticket": json.dumps(old, sort_keys=True, separators=(",", ":"))},
        "statistics": {"dtype": dtype, "shape": [count], "data_offsets": [0, middle]},
        "masks": {"dtype": "U8", "shape": [codes], "data_offsets": [middle, end]},
    }
    return 8 + -(-len(json.dumps(header, separators=(",", ":"))) // 8) * 8 + end


# Section 9: the reference


def read_reference(data: Data, classes: int) -> Reference2:
    images, groups, labelled, number = struct.unpack("<HBBB", data.take(5))
    check(images >= 1 and groups == min(classes, 48) and labelled in (0, 1), "a reference is of something else")

    def counts(length: int) -> list[int]:
        return list(struct.unpack(f"<{length}H", data.take(2 * length)))

    quantities: dict[int, tuple[list[float], list[int]]] = {}
    for _ in range(number):
        quantity, count = data.take(2)
        check(max(quantities, default=-1) < quantity <= 8, "a quantity is not known, or not in order")
        edges = list(struct.unpack(f"<{count}e", data.take(2 * count)))
        check(all(map(math.isfinite, edges)), "an edge is not finite")
        check(all(a < b for a, b in itertools.pairwise(edges)), "edges do not grow")
        quantities[quantity] = edges, counts(count + 1)
    found = counts(groups)
    for numbers in (found, *(numbers for _, numbers in quantities.values())):
        check(sum(numbers) == images, "counts do not add up to the images")
    right = None
    if labelled:
        check(0 in quantities, "a reference has right images without a probability")
        right = counts(len(quantities[0][1]))
        check(all(a <= b for a, b in zip(right, quantities[0][1], strict=True)), "a bin has too many right images")
    return Reference2(images, quantities, found, right)
