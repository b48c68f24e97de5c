"""A ticket of two small layers, without a network behind it, and files whose document somebody edited."""

from typing import Any

import numpy as np

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.models.spec import ModelSpec
from slt_compress.prng import SeedRecipe
from slt_compress.ticket import container
from slt_compress.ticket.schema import Provenance, SearchRecord
from slt_compress.ticket.ticket import Ticket

SEED = 5
PROVENANCE = Provenance(
    model=ModelSpec("slt", "x", classes=2, channels=1, input_size=8),
    library="none 1",
    architecture="",
    dataset="digits",
    classes=["a", "b"],
    preprocessing=Preprocessing(8, 1, (0.5,), (0.5,)),
    method=SearchRecord("random", 0, 256, {}),
    metrics={},
)
_RNG = np.random.default_rng(0)
MASKS = {"a.weight": _RNG.random((7, 5)) < 0.5, "b.weight": _RNG.random((3, 2, 3, 3)) < 0.1}
SCALES = {"a.weight": float(np.float32(0.1)), "b.weight": float(np.float32(1 / 3))}
STATISTICS = {"n.running_mean": np.array([1.5, -2], np.float32), "n.running_var": np.array([1, 2], np.float32)}


def small_ticket(**changes: Any) -> Ticket:
    """Return the ticket with other arguments of `Ticket.pack`."""
    arguments: dict[str, Any] = {
        "masks": MASKS,
        "scales": SCALES,
        "statistics": STATISTICS,
        "provenance": PROVENANCE,
        "origin": SeedRecipe(SEED),
        "codec": "raw",
    }
    return Ticket.pack(**{**arguments, **changes})


def rewritten(**changes: Any) -> bytes:
    """Return the file of the ticket whose document was edited and digested anew."""
    document, masks, statistics = container.unpack(small_ticket().to_bytes())
    return container.pack({**document, **changes}, masks, statistics)[0]


def layer_rows(**changes: Any) -> list[list[Any]]:
    """Return the rows of the two layers as a document holds them, the first one changed."""
    row = {"name": "a.weight", "shape": [7, 5], "scale": 0.1, "codec": "raw"}
    row |= {"kept": int(MASKS["a.weight"].sum()), "bytes": 5}
    return [list({**row, **changes}.values()), ["b.weight", [3, 2, 3, 3], 0.33333334, "raw", 7, 7]]
