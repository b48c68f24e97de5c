"""Tickets without a network behind them, and files whose document somebody edited: `small_ticket` for version 1, and
`rich_ticket` with all that version 2 has.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.models.spec import ModelSpec, PythonModel
from slt_compress.prng import Freeze, SeedRecipe, fixed_gates
from slt_compress.tasks.record import TaskRecord, TensorRecord
from slt_compress.ticket import container
from slt_compress.ticket.assembly import AxisGates, CoatParts, LayerParts
from slt_compress.ticket.schema import Histogram, Provenance, SearchRecord
from slt_compress.ticket.stored import StoredTensor
from slt_compress.ticket.ticket import Ticket

SEED = 5
PREPROCESSING = Preprocessing(8, 1, (0.5,), (0.5,))
PROVENANCE = Provenance(
    model=ModelSpec("slt", "x", classes=2, channels=1, input_size=8),
    library="none 1",
    architecture="",
    dataset="digits",
    classes=["a", "b"],
    preprocessing=PREPROCESSING,
    method=SearchRecord("random", 0, 256, {}),
    metrics={},
)
OWN = replace(
    PROVENANCE,
    model=PythonModel("nets:Net.<locals>.make"),
    architecture="a" * 64,
    classes=[],
    preprocessing=None,
    inputs=(TensorRecord((7,), "int64"), TensorRecord(())),
    outputs=(TensorRecord((3, 4)),),
    task=TaskRecord("regression", "smooth_l1", "größte Abweichung"),
    rewind_steps=500,
    reference=(Histogram("input 0", (-1.0, 0.0, 2.5), (3, 0)),),
)
_RNG = np.random.default_rng(0)
MASKS = {"a.weight": _RNG.random((7, 5)) < 0.5, "b.weight": _RNG.random((3, 2, 3, 3)) < 0.1}
SCALES = {"a.weight": float(np.float32(0.1)), "b.weight": float(np.float32(1 / 3))}
STATISTICS = {"n.running_mean": np.array([1.5, -2], np.float32), "n.running_var": np.array([1, 2], np.float32)}


def small_ticket(**changes: Any) -> Ticket:
    """Return the ticket of version 1, or with other arguments of `Ticket.pack`."""
    arguments: dict[str, Any] = {
        "masks": MASKS,
        "scales": SCALES,
        "statistics": STATISTICS,
        "provenance": PROVENANCE,
        "origin": SeedRecipe(SEED),
        "codec": "raw",
    }
    return Ticket.pack(**{**arguments, **changes})


def rich_layers(freeze: Freeze = Freeze(0.5, 0.1)) -> list[LayerParts]:
    """Return layers with shared channels, coats, stored values of all types, and gates that the seed fixes."""
    draw = np.random.default_rng(1)

    def random(*shape: int, density: float = 0.4) -> Any:
        return draw.random(shape) < density

    def agreeing(name: str, *shape: int) -> Any:
        locked, pruned = fixed_gates(SEED, name, int(np.prod(shape)), freeze)
        return ((random(*shape).ravel() | locked) & ~pruned).reshape(shape)

    def values(*shape: int) -> Any:
        return draw.standard_normal(shape).astype(np.float32)

    channels, heads = random(6, density=0.6), random(4)
    return [
        LayerParts(
            "first.weight",
            (6, 3, 2, 2),
            [
                CoatParts(agreeing("first.weight", 6, 3, 2, 2), [AxisGates(channels)], 0.5),
                CoatParts(random(6, 3, 2, 2, density=0.1), scale=0.25),
                CoatParts(slices=[AxisGates(channels)], scale=0.125),
            ],
        ),
        LayerParts("next.weight", (8, 12), [CoatParts(slices=[AxisGates(channels, 1, 2), AxisGates(heads, 0, 2)])]),
        LayerParts("full/fp32", (3, 5), [CoatParts()], values(3, 5)),
        LayerParts("fp16.weight", (3, 5), [CoatParts(agreeing("fp16.weight", 3, 5))], values(3, 5), "fp16"),
        LayerParts("int8.weight", (6, 4), [CoatParts(slices=[AxisGates(channels)])], values(6, 4), "int8"),
        LayerParts("int4.weight", (3, 5), [CoatParts(agreeing("int4.weight", 3, 5))], values(3, 5), "int4"),
    ]


def rich_ticket(**changes: Any) -> Ticket:
    """Return the ticket of version 2, or with other arguments of `Ticket.assemble`."""
    arguments: dict[str, Any] = {
        "layers": rich_layers(),
        "provenance": OWN,
        "origin": SeedRecipe(SEED, "kaiming-normal", Freeze(0.5, 0.1)),
        "statistics": {
            **STATISTICS,
            "half": StoredTensor.of(np.float32(0.1), "fp16"),
            "levels": StoredTensor.of([[-1, 0.3, 2]], "uint8"),
            "spread": StoredTensor.of([0, 1e-3, 4], "uint8-squared"),
        },
        "parameters": {"norm.weight": np.array([1, 0.5], np.float32), "norm.bias": StoredTensor.of([0.1, -2], "fp16")},
        "constants": {"act.weight": 0.25},
    }
    return Ticket.assemble(**{**arguments, **changes})


def edited(content: bytes, path: tuple[str | int, ...], value: Any) -> bytes:
    """Return a file with another value at a place in its document, digested anew. `...` removes the place."""
    document, tensors = container.unpack(content)
    *folders, last = path
    holder: Any = document
    for folder in folders:
        holder = holder[folder]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return container.pack(document, tensors, document["version"])[0]


def rewritten(**changes: Any) -> bytes:
    """Return the file of the small ticket whose document was edited and digested anew."""
    document, tensors = container.unpack(small_ticket().to_bytes())
    return container.pack({**document, **changes}, tensors, 1)[0]


def layer_rows(**changes: Any) -> list[list[Any]]:
    """Return the rows of the two layers of the small ticket as its document holds them, the first one changed."""
    row = {"name": "a.weight", "shape": [7, 5], "scale": 0.1, "codec": "raw"}
    row |= {"kept": int(MASKS["a.weight"].sum()), "bytes": 5}
    return [list({**row, **changes}.values()), ["b.weight", [3, 2, 3, 3], 0.33333334, "raw", 7, 7]]
