"""Figures of the ticket: size against theory, loading against a dense file, damage, and saves that are killed.

    python -m benchmarks.ticket [size] [load] [damage] [kill]        all four without arguments; one thread

size    whole file against the Shannon bound of its masks plus its statistics
load    Ticket.load(path).restore() against timm.create_model + load_state_dict(load_file(path)), both from file to
        ready module: same process, warm cache, interleaved, medians; peak memory each in a process of its own
damage  random damages of a ticket: each must be refused, none may crash, be slow or ask for much memory
kill    saves killed at random points: the old file or the new one must be there, whole
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch

from slt_compress import Ticket
from slt_compress.errors import SltError
from slt_compress.ticket.sample import sample_ticket

DENSITIES = (0.5, 0.3, 0.1, 0.05, 0.02)
ROUNDS = 15
DAMAGES = 10_000
KILLS = 200


def show_sizes(_: Path) -> None:
    print(f"{'resnet18':>8}  {'file':>9}  {'masks':>9}  {'bound':>9}  {'statistics':>10}  {'header':>6}  ratio  codecs")
    for density in DENSITIES:
        ticket = sample_ticket("resnet18", density)
        total, theory = len(ticket.to_bytes()), ticket.mask_bound_bytes + ticket.statistics_bytes
        header = total - ticket.mask_bytes - ticket.statistics_bytes
        codecs = dict(Counter(layer.codec for layer in ticket.layers))
        print(
            f"{density:8}  {total:9,}  {ticket.mask_bytes:9,}  {ticket.mask_bound_bytes:9,}  "
            f"{ticket.statistics_bytes:10,}  {header:6,}  {total / theory:.4f}  {codecs}"
        )
    for half in (False, True):
        ticket = sample_ticket("lenet-300-100", 0.05, input_size=28, channels=1)
        ticket = ticket.with_half_statistics() if half else ticket
        total = len(ticket.to_bytes())
        rest = total - ticket.mask_bytes - ticket.statistics_bytes
        print(
            f"lenet-300-100 at 0.05, statistics as {'fp16' if half else 'fp32'}: {total:,} bytes = masks "
            f"{ticket.mask_bytes:,} (bound {ticket.mask_bound_bytes:,}) + statistics {ticket.statistics_bytes:,} + "
            f"header {rest:,}"
        )


def restore_ticket(folder: Path, name: str) -> torch.nn.Module:
    return Ticket.load(folder / f"{name}.ticket").restore()


def load_dense(folder: Path, name: str) -> torch.nn.Module:
    module: torch.nn.Module = timm.create_model(name, num_classes=10)
    module.load_state_dict(safetensors.torch.load_file(folder / f"{name}.dense"))
    return module.eval()


def show_loading(folder: Path) -> None:
    print(f"\n{'network':22} density  ticket ms  dense ms  ratio  ticket MB  dense MB")
    for name, density in (("resnet18", 0.1), ("resnet18", 0.5), ("vit_base_patch16_224", 0.1)):
        ticket = sample_ticket(name, density, input_size=224)
        ticket.save(folder / f"{name}.ticket")
        safetensors.torch.save_file(ticket.restore().state_dict(), folder / f"{name}.dense")
        jobs: dict[Callable[[Path, str], torch.nn.Module], list[float]] = {restore_ticket: [], load_dense: []}
        for _ in range(ROUNDS):
            for job, seconds in jobs.items():
                start = time.perf_counter()
                job(folder, name)
                seconds.append(time.perf_counter() - start)
        ours, theirs = (1e3 * statistics.median(seconds) for seconds in jobs.values())
        peaks = [peak_memory(job.__name__, folder, name) for job in jobs]
        print(f"{name:22} {density:7} {ours:10.1f} {theirs:9.1f} {ours / theirs:6.2f} {peaks[0]:10.0f} {peaks[1]:9.0f}")
    print("MB: peak resident memory of a fresh process above what it held after its imports")


def peak_rss() -> float:
    """Return the peak resident memory of this process, in kB."""
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0])


def peak_memory(job: str, folder: Path, name: str) -> float:
    """Return MB that a job adds to the peak resident memory of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ticket", "_peak", job, str(folder), name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak(job: str, folder: str, name: str) -> None:
    before = peak_rss()
    module = {"restore_ticket": restore_ticket, "load_dense": load_dense}[job](Path(folder), name)
    assert next(module.parameters()).isfinite().all()
    print((peak_rss() - before) / 1024)


def damaged(content: bytes, other: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Return the kind of a random damage, and a ticket that has suffered it."""
    header = 8 + int.from_bytes(content[:8], "little")
    kind = draw.choice(("bit", "header bit", "truncated", "extended", "spliced", "number", "length", "name", "metric"))
    edited = bytearray(content)
    if kind in ("bit", "header bit"):
        position = draw.randrange(header if kind == "header bit" else len(content))
        edited[position] ^= 1 << draw.randrange(8)
    elif kind == "truncated":
        del edited[draw.randrange(len(content)) :]
    elif kind == "extended":
        edited += draw.randbytes(draw.randrange(1, 100))
    elif kind == "spliced":
        start = draw.randrange(header, len(content) - 1)
        end = draw.randrange(start + 1, len(content))
        edited[start:end] = other[start:end]
    elif kind == "length":
        edited[:8] = draw.choice((0, 1, header, 2**31, 2**63, 2**64 - 1, draw.randrange(2**64))).to_bytes(8, "little")
    elif kind == "metric":
        edited = bytearray(content.replace(b"0.1,", b"0.9,"))
    elif kind == "name":
        edited = bytearray(content.replace(b"class 3", draw.choice((b"class 4", b"[red]x ", b"\\u001bx"))))
    else:
        digits = [index for index in range(header) if chr(content[index]).isdigit()]
        position = draw.choice(digits)
        edited[position : position + 1] = draw.choice((b"9223372036854775808", b"-1", b"1e999", b"null", b"[]", b"7"))
    return kind, bytes(edited)


def show_damage(folder: Path) -> None:
    content = sample_ticket("lenet-300-100", 0.05, input_size=28, channels=1).to_bytes()
    other = sample_ticket("lenet-300-100", 0.06, input_size=28, channels=1).to_bytes()
    draw = random.Random(0)
    kinds, slowest = Counter[str](), 0.0
    unchanged = 0
    before = peak_rss()
    samples = []
    for _ in range(DAMAGES):
        kind, bad = damaged(content, other, draw)
        if bad == content:
            unchanged += 1
            continue
        start = time.perf_counter()
        try:
            Ticket.from_bytes(bad).restore()
        except SltError:
            kinds[kind] += 1
        else:
            raise AssertionError(f"a damage was not noticed: {kind}")
        slowest = max(slowest, time.perf_counter() - start)
        samples.append(bad)
    grown = (peak_rss() - before) / 1024
    print(f"\n{sum(kinds.values()):,} damages, all refused ({unchanged} draws changed nothing): {dict(kinds)}")
    print(f"slowest {slowest * 1e3:.1f} ms, peak memory grown by {grown:.0f} MB")
    codes = Counter[int]()
    for bad in draw.sample(samples, 20):
        (folder / "bad.safetensors").write_bytes(bad)
        command = [sys.executable, "-m", "slt_compress", "verify", str(folder / "bad.safetensors")]
        codes[subprocess.run(command, capture_output=True, check=False).returncode] += 1
    print(f"exit codes of 20 through the command line: {dict(codes)}")


_SAVER = """
import sys
from slt_compress import Ticket
old, new = Ticket.load(sys.argv[1]), Ticket.load(sys.argv[2])
print("ready", flush=True)
while True:
    for ticket in (new, old):
        ticket.save(sys.argv[3])
"""


def show_kills(folder: Path) -> None:
    paths = [folder / "old", folder / "new"]
    for path, density in zip(paths, (0.5, 0.3), strict=True):
        sample_ticket("resnet18", density).save(path)
    contents = [path.read_bytes() for path in paths]
    target = folder / "target"
    target.write_bytes(contents[0])
    found = Counter[str]()
    draw = random.Random(0)
    for _ in range(KILLS):
        process = subprocess.Popen([sys.executable, "-c", _SAVER, *map(str, (*paths, target))], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found[{contents[0]: "old", contents[1]: "new"}.get(target.read_bytes(), "broken")] += 1
    left = len(list(folder.glob(".target.*")))
    print(f"\n{KILLS} saves killed: {dict(found)}; {left} unfinished temporary files beside the target")
    assert not found["broken"]


def main(*wanted: str) -> None:
    torch.set_num_threads(1)
    versions = f"torch {torch.__version__}, timm {timm.__version__}, numpy {np.__version__}"
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}, one thread\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = {"size": show_sizes, "load": show_loading, "damage": show_damage, "kill": show_kills}
        for job, show in jobs.items():
            if not wanted or job in wanted:
                show(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["_peak"]:
        print_peak(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
