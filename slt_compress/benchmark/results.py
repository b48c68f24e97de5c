"""Figures of files, from what the processes of all rounds have reported.

A time is the median over the rounds of each round's median, or of its 95th percentile. A ratio of measured values is
taken in each round, whose processes ran one after the other, and the median over the rounds is reported: what slows the
machine for longer than a round is in both values. So it can differ from the ratio of the medians. Ratios of bytes and
of MACs are what they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from slt_compress.benchmark.candidates import Candidate
from slt_compress.benchmark.config import BenchConfig
from slt_compress.benchmark.processes import Sample


@dataclass(frozen=True)
class Row:
    """What a file costs at one batch size.

    Attributes:
        file: as it was named.
        measured: what of it: "compact export", "dense export", "weights as constants", or "" for the file itself.
        compared_with: the file that the ratios are to, and what of it.
        batch: images a run.
        runs: how many were timed, in all rounds.
        latency_seconds: of a run.
        latency_p95_seconds: 95th percentile of it.
        images_per_second: batch / latency.
        bytes: size of the ONNX file.
        session_seconds: time to make a session.
        session_peak_bytes: largest resident memory while a session is made, above that of a process that has imported
            onnxruntime; None where the system does not tell.
        peak_bytes: likewise, until the runs of this batch, and of smaller ones, are done.
        base_bytes: resident memory of a process that has imported onnxruntime.
        macs: multiply-accumulate operations for an image; None where they are not known.
        ratio: the same fields -> ratio to the file that this one is compared with; None where one of both is missing.
    """

    file: str
    measured: str
    compared_with: str
    batch: int
    runs: int
    latency_seconds: float
    latency_p95_seconds: float
    images_per_second: float
    bytes: int
    session_seconds: float
    session_peak_bytes: float | None
    peak_bytes: float | None
    base_bytes: float | None
    macs: int | None
    ratio: dict[str, float | None]


@dataclass(frozen=True)
class BenchResult:
    """Figures of files.

    Attributes:
        rows: by file and batch size, first those of the files that were named.
        notes: what must be said of some of them.
        config: how they were measured.
        machine: where: processor, architecture, cores and system.
        versions: of the software that ran them.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    config: BenchConfig
    machine: dict[str, str | int]
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            **self.config.to_json(),
            "machine": self.machine,
            "versions": self.versions,
            "rows": [vars(row) for row in self.rows],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Measured:
    """A candidate with its samples, one for each round, and the MACs of an image."""

    candidate: Candidate
    samples: Sequence[Sample]
    macs: int | None

    @property
    def batches(self) -> list[int]:
        return sorted(self.samples[0].run_seconds)


_OF_SESSIONS = ("session_seconds", "session_peak_bytes")
_OF_ROUNDS = ("latency_seconds", "latency_p95_seconds", *_OF_SESSIONS, "peak_bytes")


def rows(measured: Sequence[Measured]) -> tuple[Row, ...]:
    """Return the figures of all files and batch sizes."""
    return tuple(_row(one, measured[one.candidate.reference], batch) for one in measured for batch in one.batches)


def _row(one: Measured, reference: Measured, batch: int) -> Row:
    values = {name: _by_round(one, batch, name) for name in (*_OF_ROUNDS, "base_bytes")}
    common = _OF_ROUNDS if batch in reference.batches else _OF_SESSIONS
    ratio: dict[str, float | None] = dict.fromkeys(_OF_ROUNDS)
    ratio |= {name: _ratio(values[name], _by_round(reference, batch, name)) for name in common}
    latency = float(np.median(values["latency_seconds"]))  # type: ignore[arg-type]
    found: dict[str, Any] = {name: _median(each) for name, each in values.items()}
    found |= {"images_per_second": batch / latency, "bytes": one.candidate.graph.bytes, "macs": one.macs}
    ratio["images_per_second"] = None if ratio["latency_seconds"] is None else 1 / ratio["latency_seconds"]
    ratio["bytes"] = one.candidate.graph.bytes / reference.candidate.graph.bytes
    ratio["macs"] = one.macs / reference.macs if one.macs is not None and reference.macs else None
    return Row(
        file=one.candidate.file,
        measured=one.candidate.measured,
        compared_with=reference.candidate.label,
        batch=batch,
        runs=sum(len(sample.run_seconds[batch]) for sample in one.samples),
        ratio={field.name: ratio[field.name] for field in fields(Row) if field.name in ratio},
        **found,
    )


def _by_round(one: Measured, batch: int, name: str) -> list[float | None]:
    """Return a value of each round."""
    if name == "latency_seconds":
        return [float(np.median(sample.run_seconds[batch])) for sample in one.samples]
    if name == "latency_p95_seconds":
        return [float(np.percentile(sample.run_seconds[batch], 95)) for sample in one.samples]
    if name == "peak_bytes":
        return [sample.peak_bytes[batch] for sample in one.samples]
    return [getattr(sample, name) for sample in one.samples]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _ratio(values: Sequence[float | None], others: Sequence[float | None]) -> float | None:
    """Return the median over the rounds of the ratio of two values."""
    pairs = zip(values, others, strict=True)
    return _median([value / other for value, other in pairs if value is not None and other])
