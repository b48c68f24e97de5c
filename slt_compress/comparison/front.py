"""The front door for Python: compare.

>>> result = slt_compress.compare("conv4", "cifar10", output="conv4", methods=["crbg", "random"], sparsities=[0.9])
>>> fastnets = ["fastnet-32-128-128", "fastnet"]
>>> found = slt_compress.compare(fastnets, "cifar10", output="sizes", methods=["crbg"], bytes=[30_000, 100_000])
>>> [(point.model, point.summary.accuracy) for point in found.points]

The command line is a thin layer above the same functions. They print nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from slt_compress.comparison.frontier import FrontierResult, compare_models
from slt_compress.comparison.grid import Plan
from slt_compress.comparison.results import ComparisonResult
from slt_compress.comparison.run import compare as compare_model
from slt_compress.config import SearchConfig, search_config
from slt_compress.errors import UsageError
from slt_compress.progress import SILENT_GRID, GridReporter


@overload
def compare(
    model: str, dataset: str | None = None, *, output: str | Path, methods: Sequence[str], **settings: Any
) -> ComparisonResult: ...
@overload
def compare(
    model: Sequence[str], dataset: str | None = None, *, output: str | Path, methods: Sequence[str], **settings: Any
) -> FrontierResult: ...
def compare(
    model: str | Sequence[str],
    dataset: str | None = None,
    *,
    output: str | Path,
    methods: Sequence[str],
    config: SearchConfig | None = None,
    reporter: GridReporter = SILENT_GRID,
    **settings: Any,
) -> ComparisonResult | FrontierResult:
    """Run methods at all targets and seeds, and train the dense network; finished runs in the folder are kept.

    Args:
        model: name of a network, or several: which is best where.
        dataset: its name; "digits" if none is given.
        output: folder for tickets, tables and plots.
        methods: as the command line has them: NAME[:OPTION…].
        config: what all searches share; its method, recipe, options, sparsity and seed are ignored.
        settings: `sparsities`, in [0, 1), or `bytes`, largest sizes of a ticket's file; other fields of
            `comparison.grid.Plan` (`seeds`, 3 by default, `dense`, `dense_lr`, `shard`, `checkpoint_every`); and fields
            of `SearchConfig`.

    Raises UsageError for what is unknown or out of range, or if the folder holds runs of other settings.
    """
    models = [model] if isinstance(model, str) else list(model) if isinstance(model, Sequence) else []
    if not models or not all(isinstance(one, str) for one in models):
        raise UsageError("a comparison is one of networks by name; search your own with `method` and `sparsity`")
    if len(set(models)) < len(models):
        raise UsageError(f"a network is named twice: {', '.join(models)}")
    if isinstance(methods, str):
        raise UsageError(f"`methods` must be a list of names, got the string {methods!r}")
    for name in ("method", "recipe", "options", "sparsity", "seed"):
        if name in settings:
            raise UsageError(f"{name!r} differs from run to run; give `methods`, `sparsities` and `seeds`")
    sparsities, sizes = list(settings.pop("sparsities", ())), list(settings.pop("bytes", ()))
    every = settings.pop("checkpoint_every", None)
    of_plan = {"seeds": 3, "dense": True, "dense_lr": None, "shard": None}
    planned = {name: settings.pop(name, default) for name, default in of_plan.items()}
    chosen = search_config(config, dataset, settings)
    shares = None if sizes and not sparsities else ",".join(map(str, sparsities))
    plan = Plan.parse(models[0], chosen, methods=",".join(methods), sparsities=shares, **planned)
    plan = replace(plan, sizes=tuple(sizes), checkpoint_every=every)
    targets = f"bytes={sizes}" if sizes else f"sparsities={sparsities}"
    asked = f"{model!r}, {chosen.dataset!r}, methods={list(methods)}, {targets}"
    command = f"slt_compress.compare({asked})"
    if isinstance(model, str):
        return compare_model(plan, Path(output), command, reporter)
    return compare_models(plan, models, Path(output), command, reporter)
