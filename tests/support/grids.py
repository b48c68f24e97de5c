"""Rows and results of comparisons that nobody has run."""

from dataclasses import replace
from typing import Any

import numpy as np

from slt_compress.comparison.results import ComparisonResult, Row

ROW = Row(
    method="crbg",
    target_sparsity=0.9,
    sparsity=0.9001,
    seed=0,
    accuracy=0.98,
    validation_accuracy=0.97,
    loss=0.1,
    bytes=6326,
    mask_bytes=2910,
    seconds=1.5,
    images_per_second=25_000.0,
    ticket="tickets/a",
    digest="ab12",
)
ENVIRONMENT = {"machine": "a machine", "python": "3.11", "torch": "2.9", "timm": "1.0"}
SETTINGS = {
    "model": "lenet-300-100",
    "dataset": "digits",
    "tool": "1",
    "augment": "none",
    "precision": "fp32",
    "steps": 60,
    "batch_size": 256,
    "epochs": 12,
    "preprocessing": {"size": 8},
    "pictures": {"train": 1294, "validation": 143, "test": 360},
}
RNG = np.random.default_rng(0)


def rows() -> list[Row]:
    """Three seeds of two methods at two sparsities, and of the dense network."""
    made = [
        replace(
            ROW,
            method=method,
            options=options,
            target_sparsity=sparsity,
            seed=seed,
            accuracy=float(RNG.random()),
            validation_accuracy=float(RNG.random()),
            bytes=int(RNG.integers(5000, 9000)),
        )
        for method, options in (("crbg", {}), ("edge-popup", {"scope": "global"}))
        for sparsity in (0.95, 0.5)
        for seed in range(3)
    ]
    dense = replace(ROW, method="dense", target_sparsity=0.0, sparsity=0.0, mask_bytes=None, ticket=None, digest=None)
    return [*made, *(replace(dense, seed=seed, accuracy=float(RNG.random()), bytes=204_104) for seed in range(3))]


def result_of(
    *found: Row,
    cells: int = 15,
    failed: dict[str, str] | None = None,
    dense_learning_rate: float | None = None,
    **settings: Any,
) -> ComparisonResult:
    """Return the result of a grid whose finished runs are these."""
    return ComparisonResult(
        command="slt-compress compare lenet-300-100",
        settings={**SETTINGS, **settings},
        environments=(ENVIRONMENT,),
        seeds=3,
        dense_learning_rate=dense_learning_rate,
        dense_recipe="all weights trained somehow.",
        learning_rates=(0.001, 0.01) if dense_learning_rate is None else (dense_learning_rate,),
        cells=cells,
        rows=found,
        failed=failed or {},
    )
