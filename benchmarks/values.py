"""Figures of tickets with stored weights: bytes, loading and ONNX files, against dense files and general compressors.

    python -m benchmarks.values [NAME:SIZE:DENSITY …] [--rounds N]      without names: resnet18:32:0.1; one thread

Weights are normal, masks random, and biases and norms fp16: nothing of that is easier than after training. The baseline
of bytes and loading is the dense network as fp32 in safetensors, that of ONNX files the dense export. `deflate` (zlib,
level 9) and `xz` (lzma, preset 9) compress the same sparse network: as fp32, and as int8 with a scale for each row.
Loading is from the file to a ready module, at 224 px as in `benchmarks.ticket`, in turns, medians.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import lzma
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
from torch import nn

import slt_compress
from benchmarks.ticket import load_dense, restore_ticket
from slt_compress import Ticket
from slt_compress.onnx_export.export import ExportConfig, export
from slt_compress.ticket.sample import sample_ticket, with_values
from slt_compress.ticket.stored import StoredWeights

KINDS = ("fp32", "fp16", "int8", "int4")


def stored(name: str, size: int, density: float) -> dict[str, Ticket]:
    """Return the same sparse network as a ticket of each type."""
    sample = sample_ticket(name, density, input_size=size)
    return {kind: with_values(sample, kind) for kind in KINDS}


def as_int8(ticket: Ticket, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict whose gated weights are int8, zeros and all, with a scale for each row."""
    found = dict(state)
    for layer in ticket.layers:
        weights = state[layer.name].numpy()
        whole = np.ones(weights.shape, np.bool_)
        numbers, scales = StoredWeights.of(weights, whole, "int8").numbers(whole)
        assert scales is not None
        found[layer.name] = torch.from_numpy(numbers.reshape(weights.shape).copy())
        found[f"{layer.name}.scale"] = torch.from_numpy(scales.copy())
    return found


def show_bytes(tickets: dict[str, Ticket]) -> None:
    dense_of = {kind: ticket.restore().state_dict() for kind, ticket in tickets.items()}
    state = {name: values.contiguous() for name, values in dense_of["fp32"].items()}
    whole = safetensors.torch.save(state)
    halves = {name: values.half() if values.is_floating_point() else values for name, values in state.items()}
    eighth = safetensors.torch.save(as_int8(tickets["fp32"], state))
    sizes = {
        "dense fp32 safetensors (baseline)": len(whole),
        "dense fp16 safetensors": len(safetensors.torch.save(halves)),
        "dense int8 safetensors, scale a row": len(eighth),
        "sparse fp32 safetensors, deflate": len(zlib.compress(whole, 9)),
        "sparse fp32 safetensors, xz": len(lzma.compress(whole, preset=9)),
        "sparse int8 safetensors, deflate": len(zlib.compress(eighth, 9)),
        "sparse int8 safetensors, xz": len(lzma.compress(eighth, preset=9)),
        **{f"ticket, {kind}": len(ticket.to_bytes()) for kind, ticket in tickets.items()},
    }
    print("| file | bytes | of the baseline | relative error of the weights |\n|---|---|---|---|")
    for name, size in sizes.items():
        kind = name.removeprefix("ticket, ")
        error = f"{lost(tickets['fp32'], tickets[kind]):.2%}" if kind in tickets else ""
        print(f"| {name} | {size:,} | {size / len(whole):.4f} | {error} |")


def lost(exact: Ticket, rounded: Ticket) -> float:
    """Return the norm of the error of all weights over that of the weights."""
    pairs = [(exact.weights(layer.name), rounded.weights(layer.name)) for layer in exact.layers]
    error = sum(float(np.sum((a - b).astype(np.float64) ** 2)) for a, b in pairs)
    return float((error / sum(float(np.sum(a.astype(np.float64) ** 2)) for a, _ in pairs)) ** 0.5)


def show_loading(tickets: dict[str, Ticket], name: str, folder: Path, rounds: int) -> None:
    safetensors.torch.save_file(tickets["fp32"].restore().state_dict(), folder / f"{name}.dense")
    jobs: dict[str, Callable[[], nn.Module]] = {
        "dense fp32 safetensors (baseline)": partial(load_dense, folder, name),
    }
    for kind, ticket in tickets.items():
        ticket.save(folder / f"{kind}.ticket")
        jobs[f"ticket, {kind}"] = partial(restore_ticket, folder, kind)
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    baseline = next(iter(medians.values()))
    print("\n| file | ms to a ready module | of the baseline |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {1e3 * median:.0f} | {median / baseline:.2f} |")


def show_onnx(tickets: dict[str, Ticket], folder: Path, rounds: int) -> None:
    paths, equal = {}, {}
    for kind, ticket in tickets.items():
        for name, config in {
            **({"dense export (baseline)": ExportConfig("dense")} if kind == "fp32" else {}),
            f"compact, {kind}": ExportConfig(),
            **({f"portable, {kind}": ExportConfig(portable=True)} if kind == "int8" else {}),
        }.items():
            paths[name] = folder / f"{name.replace(', ', '-').replace(' ', '-')}.onnx"
            result = export(ticket.restore(), ticket, paths[name], config)
            equal[name] = f"{result.bit_identical_to_dense}, {result.max_abs_difference:.0e}"
    order = sorted(paths, key=lambda name: "baseline" not in name)
    # Dense exports of all tickets are of one size and speed: ratios are to that of the first.
    found = slt_compress.bench([paths[name] for name in order], batch=(1,), rounds=rounds)
    first = found.rows[0]
    print("\n| ONNX file | bytes | session, ms | peak memory, MB | latency, ms | as dense, from torch |")
    print("|---|---|---|---|---|---|")
    for name, row in zip(order, found.rows, strict=False):
        peak, base = row.session_peak_bytes, first.session_peak_bytes
        shown = f"{peak / 1e6:.0f}, {peak / base:.2f}×" if peak and base else "–"
        session, latency = row.session_seconds, row.latency_seconds
        print(
            f"| {name} | {row.bytes:,} | {1e3 * session:.0f}, {session / first.session_seconds:.2f}× | {shown} "
            f"| {1e3 * latency:.2f}, {latency / first.latency_seconds:.2f}× | {equal[name]} |"
        )
    print(f"\n{found.machine}, {found.versions}, torch {torch.__version__}, timm {timm.__version__}, one thread")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["resnet18:32:0.1"], metavar="NAME:SIZE:DENSITY")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for case in arguments.cases:
        name, size, density = case.split(":")
        print(f"{name}, {size} px, density {density}\n")
        tickets = stored(name, int(size), float(density))
        with tempfile.TemporaryDirectory() as temporary:
            show_bytes(tickets)
            show_loading(stored(name, 224, float(density)), name, Path(temporary), arguments.rounds)
            show_onnx(tickets, Path(temporary), arguments.rounds)


if __name__ == "__main__":
    main()
