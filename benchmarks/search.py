"""Figures of the search step: time and memory against one dense Adam training step of the same network.

    python -m benchmarks.search [step] [memory] [--hidden-networks FOLDER]     both parts if none is named

step    seconds of a gated step over those of a dense one, and how many a step spends above the dense one; with a clone
        of allenai/hidden-networks, also the latter over that of their layers (`SubnetConv`) in the same network under
        the same optimiser
memory  peak resident memory of a few steps, gated over dense, each in a process of its own

One thread; seconds are processor time. All kinds of steps of a network run in one process and take turns, batch by
batch, so that what else the machine does slows all of them. Figures are medians over the turns; a ratio is the median
of the ratios of each turn. All keep freed memory and lay images out as a search does. Images are noise. The gated steps
are those half-way through a search at 90 % sparsity.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib.util
import json
import platform
import re
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from slt_compress.comparison import dense
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.methods import registry
from slt_compress.methods.base import Target
from slt_compress.models.registry import build_model, resolve_model
from slt_compress.training import malloc
from slt_compress.training.loop import forward
from slt_compress.training.search import GateTrainer

DENSITY = 0.1
STEPS = 1_000  # of the search whose middle is measured
METHODS = ("crbg", "edge-popup")
TIMED = {"resnet18": 32, "vit_tiny_patch16_224": 32}  # network -> px
BATCH = 128
PEAKS = (("resnet18", 32, 128), ("vit_base_patch16_224", 224, 8))  # network, px, batch
CPU = torch.device("cpu")

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def dense_step(module: nn.Module) -> Step:
    """Return a step of ordinary training of all weights with Adam."""
    dense.initialise(module, 0)
    return _train(module.train())


def gated_step(module: nn.Module, method: str, batch: int) -> Step:
    """Return a step of our search, in the middle of its schedule."""
    network = FlatNetwork(module.train(), 0, DENSITY, CPU)
    gates = registry.make(method, network, Target(DENSITY, STEPS, 0, torch.Generator().manual_seed(0)))
    trainer = GateTrainer(network, gates, gates.optimiser(), batch)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return trainer.step(STEPS // 2, images, labels)

    return step


def subnet_step(module: nn.Module, folder: Path) -> Step:
    """Return a step of edge-popup with the layers of allenai/hidden-networks in place of the convolutions."""
    dense.initialise(module, 0)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    layer = _subnet_conv(folder)
    for path, conv in [(path, conv) for path, conv in module.named_modules() if isinstance(conv, nn.Conv2d)]:
        arguments = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
        theirs = layer(*arguments, groups=conv.groups, bias=conv.bias is not None)
        theirs.set_prune_rate(DENSITY)  # there, it is the share that is kept
        theirs.weight.requires_grad_(False)
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, theirs)
    return _train(module.train())


def _train(module: nn.Module) -> Step:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(parameters, fused=True)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(forward(module, images, "fp32"), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.detach()

    return step


def _subnet_conv(folder: Path) -> Any:
    """Load their layer alone: their module of arguments reads the command line when it is imported."""
    sys.modules["args"] = types.ModuleType("args")
    sys.modules["args"].args = None  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("hidden_networks", folder / "utils" / "conv_type.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SubnetConv


def build(name: str, size: int) -> nn.Module:
    return build_model(resolve_model(name, classes=10, channels=3, input_size=size))


def noise(size: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, size, size, generator=generator), torch.randint(10, (batch,), generator=generator)


def show_steps(turns: int, batch: int, folder: Path | None) -> None:
    heading = f"{'network':22} {'px':>4} {'step':14} {'ms':>8} {'/ dense':>8} {'above, ms':>10}"
    print(heading + ("  / SubnetConv's" if folder else ""))
    for name, size in TIMED.items():
        steps = {"dense": dense_step(build(name, size))}
        steps |= {method: gated_step(build(name, size), method, batch) for method in METHODS}
        if folder and name == "resnet18":
            steps["SubnetConv"] = subnet_step(build(name, size), folder)
        images, labels = noise(size, batch)
        seconds: dict[str, list[float]] = {kind: [] for kind in steps}
        for turn in range(turns + 1):
            for kind, step in steps.items():
                start = time.process_time()
                step(images, labels)
                if turn:  # the first step allocates
                    seconds[kind].append(time.process_time() - start)
        base = seconds["dense"]
        above = {kind: statistics.median(a - b for a, b in zip(seconds[kind], base, strict=True)) for kind in steps}
        for kind in steps:
            ratio = statistics.median(a / b for a, b in zip(seconds[kind], base, strict=True))
            line = f"{name:22} {size:4} {kind:14} {1e3 * statistics.median(seconds[kind]):8.0f} {ratio:8.3f} "
            line += f"{1e3 * above[kind]:10.0f}"
            print(line + (f"  {above[kind] / above['SubnetConv']:14.3f}" if "SubnetConv" in steps else ""), flush=True)


def show_memory() -> None:
    print(f"{'network':22} {'px':>4} {'batch':>5} {'step':14} {'peak, MB':>9} {'/ dense':>8}  bytes held / weight")
    for name, size, batch in PEAKS:
        base = 0.0
        for kind in ("dense", *METHODS):
            command = [sys.executable, "-m", "benchmarks.search", "_peak", kind, name, str(size), str(batch)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            base = base or found["peak"]
            print(
                f"{name:22} {size:4} {batch:5} {kind:14} {found['peak']:9.0f} {found['peak'] / base:8.3f}  "
                f"{found['per_weight']:.1f}",
                flush=True,
            )
    print("MB: peak resident memory of a process above what it held after its imports, three steps")


def print_peak(kind: str, name: str, size: str, batch: str) -> None:
    """Print the MB that three steps add to this process, and the bytes of large flat tensors that stay, per weight."""
    malloc.keep_freed_memory()
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is resident now
    module = build(name, int(size))
    step = dense_step(module) if kind == "dense" else gated_step(module, kind, int(batch))
    images, labels = noise(int(size), int(batch))
    for _ in range(3):
        step(images, labels)
    peak = _memory("VmHWM")
    print(json.dumps({"peak": (peak - before) / 1024, "per_weight": _held(module)}))


def _held(module: nn.Module) -> float:
    """Return the bytes in tensors that are alive between two steps, over the number of weights of the module."""
    import gc

    storages = {}
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor) and not isinstance(thing, torch._subclasses.FakeTensor):
            for tensor in (thing, thing.grad if thing.is_leaf else None):
                if tensor is not None:
                    storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    weights = sum(parameter.numel() for parameter in module.parameters())
    return sum(size for size in storages.values() if size > weights // 10_000) / weights


def _memory(key: str) -> float:
    """Return a figure of this process's memory, in kB."""
    found = re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=("step", "memory"), metavar="PART")
    parser.add_argument("--hidden-networks", type=Path, metavar="FOLDER")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--batch", type=int, default=BATCH)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    malloc.keep_freed_memory()
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one thread")
    parts = arguments.parts or ["step", "memory"]
    if "step" in parts:
        show_steps(arguments.turns, arguments.batch, arguments.hidden_networks)
    if "memory" in parts:
        show_memory()


if __name__ == "__main__":
    if sys.argv[1:2] == ["_peak"]:
        print_peak(*sys.argv[2:])
    else:
        main()
