"""The settings of a measurement. Needs neither torch nor onnxruntime."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slt_compress.errors import UsageError

CPU_PROVIDER = "CPUExecutionProvider"
MAX_BATCH = 65_536
_RANGES = {"threads": (1, 256), "rounds": (1, 1_000), "runs": (1, 100_000)}  # field -> the values it may have
_MAX_DIM = 2**20


@dataclass(frozen=True)
class BenchConfig:
    """How files are measured.

    Raises UsageError, when made, for what cannot be.

    Attributes:
        batch: images a run, in any order; each size is measured.
        threads: of onnxruntime within an operator.
        rounds: how often each file is measured in a fresh process.
        runs: timed runs of each batch size in a process; None: as many as take a second, from 3 to 50.
        provider: execution provider, one of those that onnxruntime lists.
        dims: lengths of the inputs' dimensions that have a name and are not the batch, such as {"sequence": 128}.
    """

    batch: tuple[int, ...] = (1, 32)
    threads: int = 1
    rounds: int = 5
    runs: int | None = None
    provider: str = CPU_PROVIDER
    dims: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = tuple(self.batch) if isinstance(self.batch, tuple | list) else ()
        if not sizes or not all(_whole(size, 1, MAX_BATCH) for size in sizes):
            raise UsageError(f"`batch` takes whole numbers from 1 to {MAX_BATCH:,}, such as 1,32, got {self.batch!r}")
        twice = [size for size in sizes if sizes.count(size) > 1]
        if twice:
            raise UsageError(f"`batch` has {twice[0]} twice")
        object.__setattr__(self, "batch", tuple(sorted(sizes)))
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not (_whole(value, least, most) or (name == "runs" and value is None)):
                raise UsageError(f"`{name}` must be a whole number from {least} to {most:,}, got {value!r}")
        for name, length in self.dims.items():
            if not _whole(length, 1, _MAX_DIM):
                raise UsageError(f"`dims` takes lengths from 1 to {_MAX_DIM:,}, got {length!r} for {name}")

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "batch": list(self.batch), "dims": dict(self.dims)}


def _whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
