"""What becomes of the signal in a frozen transformer along a search, and what depth, width and tokens change about it.

    python -m benchmarks.transformers run FOLDER [mnist|cifar10] --data-dir DIR
    python -m benchmarks.transformers table FOLDER

run     one JSON file a cell in FOLDER, see `benchmarks.cells`: a search for 90 % sparsity of a network of `VARIANTS`,
        looked at before its first step, in the middle and at its end, with the soft gates that it trains with, and with
        the hard ones of its ticket. MNIST at 28 px in DIR, or CIFAR-10 at 32 px, where DIR holds train and test, with a
        folder per class. --names chooses among the networks, --methods among search methods, --steps N of --batch-size
        are a search.
table   all cells as Markdown: accuracies on all held-out images in per cent, and what 128 of them show of the signal

The signal: the standard deviation of the attention logits and the entropy of the attention as a share of log n, of the
first and the last block; the root mean square of the residual stream behind the first and the last block; how large
what the branches add is beside that stream, in the middle one of all branches; the share of the features in front of
the classifier that depends on the image; and the root mean square of the gradient of the gates, as a ratio of the
tensors with the largest and the smallest one. Nothing is measured on test images.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

import slt_compress
from benchmarks.cells import read, run_missing
from slt_compress.config import SearchConfig
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.masking.gates import Gates, Slot
from slt_compress.masking.parameters import gated_names, residual_branches
from slt_compress.methods import registry
from slt_compress.methods.base import Target
from slt_compress.pipeline.gates import put_gates
from slt_compress.pipeline.prepare import Prepared, prepare
from slt_compress.prng import SeedRecipe
from slt_compress.training.loop import Clock, optimise, torch_seed
from slt_compress.training.search import GateTrainer

SHOWN = 128  # held-out images that the signal is measured with
VIT, SWIN = "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"
# name -> network, arguments; at 28 px patches have 4 px. The ViT of 6 blocks is what the others differ from.
VARIANTS: dict[str, tuple[str, dict[str, int]]] = {
    "6-blocks": (VIT, {"depth": 6}),
    "3-blocks": (VIT, {"depth": 3}),
    "12-blocks": (VIT, {}),
    "width-96": (VIT, {"depth": 6, "embed_dim": 96}),
    "width-384": (VIT, {"depth": 6, "embed_dim": 384}),
    "patch-7": (VIT, {"depth": 6, "patch_size": 7}),
    "patch-14": (VIT, {"depth": 6, "patch_size": 14}),
    "patch-8": (VIT, {"depth": 6, "patch_size": 8}),
    "patch-16": (VIT, {"depth": 6, "patch_size": 16}),
    "small": (VIT, {"depth": 3, "embed_dim": 128, "num_heads": 4, "patch_size": 7}),
    "deit_tiny": ("deit_tiny_patch16_224", {}),
    "swin_tiny": (SWIN, {}),
}
OF_28_PX, OF_32_PX = {"patch-7", "patch-14", "small"}, {"patch-8", "patch-16"}  # whose patches fill no other image


@dataclass(frozen=True)
class Cell:
    """A search that is looked at.

    Attributes:
        dataset: "mnist" or "cifar10".
        variant: a key of `VARIANTS`.
        method: of the search.
        seed: of it.
    """

    dataset: str
    variant: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.dataset}_{self.variant}_{self.method}_{self.seed}"


class Attention(TorchFunctionMode):
    """Within it, what is known of the attention of each layer, in the order of the calls; nothing of one that a network
    writes out itself, as timm's Swin may.

    Attributes:
        logits: standard deviation of the logits over the keys, mean over queries, heads and images.
        entropies: of the attention, as a share of that of an even one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logits: list[float] = []
        self.entropies: list[float] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query, key = args[0].float(), args[1].float()
            mask = kwargs.get("attn_mask")
            logits = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
            logits = logits if mask is None else logits + mask
            chances = logits.log_softmax(-1)
            entropy = -(chances.exp() * chances).sum(-1).mean() / math.log(key.shape[-2])
            self.logits.append(logits.std(-1).mean().item())
            self.entropies.append(entropy.item())
        return func(*args, **kwargs)


@dataclass
class Signal:
    """What 128 images show of a network.

    Attributes:
        stream: root mean square of what leaves each block.
        added: root mean square of what each branch adds, over that of the stream behind its block.
        features: share of what the classifier reads that depends on the image.
        gradients: root mean square of the gradient of the gates of each tensor.
        logits, entropies: as in `Attention`.
    """

    stream: list[float] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    features: float = 0.0
    gradients: dict[str, float] = field(default_factory=dict)
    logits: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)


def blocks_of(module: nn.Module) -> dict[str, list[str]]:
    """Return the last layers of the residual branches of each block, by the path of the block."""
    ends = [branch[-1].rpartition(".")[0] for branch in residual_branches(module)]
    norms = {
        path.rpartition(".")[0] for path, one in module.named_modules() if isinstance(one, nn.LayerNorm) and "." in path
    }
    blocks = {path: [end for end in ends if end.startswith(f"{path}.")] for path in norms}
    return {path: blocks[path] for path, _ in module.named_modules() if blocks.get(path)}


def look(gates: Gates, gate: torch.Tensor, prepared: Prepared) -> Signal:
    """Return what the network does with these gates."""
    module, run, found = gates.module, prepared.run, Signal()
    gates.set_gate(gate)
    inputs, targets = next(iter(run.validation.batches(SHOWN)))
    branches: dict[str, float] = {}
    handles = []

    def hook(layer: str, act: Callable[[torch.Tensor], None], *, before: bool = False) -> None:
        place = module.get_submodule(layer)
        if before:
            handles.append(place.register_forward_pre_hook(lambda _, given: act(given[0].detach())))
        else:
            handles.append(place.register_forward_hook(lambda _, __, made: act(made.detach())))

    def leaves(ends: list[str]) -> Callable[[torch.Tensor], None]:
        def act(stream: torch.Tensor) -> None:
            found.stream.append(_rms(stream))
            found.added += [branches[end] / found.stream[-1] for end in ends]

        return act

    for path, ends in blocks_of(module).items():
        for end in ends:
            hook(end, lambda made, end=end: branches.update({end: _rms(made)}))  # type: ignore[misc]
        hook(path, leaves(ends))
    last = gated_names(module)[-1].rpartition(".")[0]

    def reads(features: torch.Tensor) -> None:
        found.features = _rms(features - features.mean(0)) / _rms(features)

    hook(last, reads, before=True)
    module.eval()
    try:
        with Attention() as attention:
            outputs = module(run.feed(inputs))
        gates.backward(run.task.search_loss(outputs, targets))
    finally:
        for handle in handles:
            handle.remove()
        module.train()
    gradients = gates.gate_gradient()
    found.gradients = {slot.name: _rms(part) for slot, part in _parts(gates, gradients)}
    found.logits, found.entropies = attention.logits, attention.entropies
    return found


def _rms(values: torch.Tensor) -> float:
    return values.float().square().mean().sqrt().item()


def run_cell(cell: Cell, prepared: Prepared, config: SearchConfig) -> dict[str, Any]:
    """Return what is seen of a search."""
    run, began = prepared.run, time.perf_counter()
    steps = run.budget.steps
    generator = torch.Generator().manual_seed(torch_seed(cell.seed))
    initialiser = registry.initialiser(cell.method, "default")
    searched = put_gates(prepared.source.build(), prepared, config, SeedRecipe(cell.seed, initialiser))
    gates = searched.gates
    target = Target(config.density, steps, cell.seed, generator)
    method = registry.make(cell.method, gates, target, recipe="default", options={}, learning_rate=None)
    trainer = GateTrainer(gates, method, method.optimiser(), run.budget.batch_size, run.precision, run.task)
    seen: dict[str, Any] = {}

    def at(moment: str, step: int) -> None:
        """Look at soft and hard gates; what is drawn for that is not drawn from the search."""
        drawn = generator.get_state()
        soft = method.gate(step).clone()
        generator.set_state(drawn)
        hard = method.hard_gate() if moment != "end" else method.mask()
        generator.set_state(drawn)
        seen[moment] = vars(look(gates, soft, prepared))
        if step:
            seen[moment]["soft"] = _accuracy(gates, soft, prepared)
            seen[moment]["hard"] = _accuracy(gates, hard, prepared)
        if moment == "end":
            seen["ticket"] = vars(look(gates, hard.float(), prepared))
            seen["ticket"]["densities"] = {slot.name: one.float().mean().item() for slot, one in _parts(gates, hard)}
        seen[moment]["density"] = float((hard & gates.searchable).sum()) / gates.searchable_count

    at("start", 0)
    for done in optimise(trainer, run, Clock()):
        if done == steps // 2:
            at("middle", done)
    at("end", steps - 1)
    return {"accuracy": seen["end"]["hard"], "seconds": time.perf_counter() - began, "seen": seen}


def _parts(gates: Gates, flat: torch.Tensor) -> Iterator[tuple[Slot, torch.Tensor]]:
    return zip(gates.slots, gates.split(flat), strict=True)


def _accuracy(gates: Gates, gate: torch.Tensor, prepared: Prepared) -> float:
    """Return the share of all held-out images that the network classifies right with these gates."""
    run, module = prepared.run, gates.module
    gates.set_gate(gate)
    found = evaluate(torch_classifier(module, prepared.device), run.validation, run.feed, task=run.task).metric
    module.train()
    return found


def table(folder: Path) -> str:
    """Return the figures of all cells in a folder as Markdown."""
    lines = [
        "| data | network | method | seed | moment | soft | hard | logits | entropy | stream | added | features | "
        "gradients |",
        "|---" * 13 + "|",
    ]
    for row in read(folder):
        for moment, seen in row["seen"].items():
            accuracies = [f"{100 * seen[one]:.2f}" if one in seen else "–" for one in ("soft", "hard")]
            ends = [_ends(seen[one]) for one in ("logits", "entropies", "stream")]
            sizes = [size for size in seen["gradients"].values() if size]
            ratio = f"{max(sizes) / min(sizes):.0f}" if sizes else "–"
            shown = [f"{statistics.median(seen['added']):.2f}", f"{seen['features']:.3f}", ratio]
            names = [row["dataset"], row["variant"], row["method"], str(row["seed"]), moment]
            lines.append(f"| {' | '.join([*names, *accuracies, *ends, *shown])} |")
    return "\n".join(lines)


def _ends(figures: list[float]) -> str:
    """Return the first and the last of them as text, a dash where there are none."""
    return f"{figures[0]:.2g}, {figures[-1]:.2g}" if figures else "–"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("dataset", nargs="?", choices=("mnist", "cifar10"), default="mnist")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--names", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--methods", nargs="+", choices=("crbg", "edge-popup"), default=["crbg"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=420)
    parser.add_argument("--batch-size", type=int, default=128)
    chosen = parser.parse_args()
    if chosen.what == "table":
        print(table(chosen.folder))
        return
    if not chosen.data_dir:
        parser.error("run needs --data-dir")
    dataset, size, odd = {"mnist": ("mnist", 28, OF_32_PX), "cifar10": ("imagefolder", 32, OF_28_PX)}[chosen.dataset]

    def measure(cell: Cell) -> dict[str, Any]:
        model, arguments = VARIANTS[cell.variant]
        config = SearchConfig(
            dataset=dataset,
            data_dir=chosen.data_dir,
            input_size=size,
            model_arguments=arguments,
            method=cell.method,
            seed=cell.seed,
            sparsity=0.9,
            max_steps=chosen.steps,
            batch_size=chosen.batch_size,
            precision="bf16",
        )
        return run_cell(cell, prepare(model, config), config)

    names = [name for name in chosen.names if name not in odd]
    cells = (
        Cell(chosen.dataset, name, method, seed)
        for seed in range(chosen.seeds)
        for name in names
        for method in chosen.methods
    )
    run_missing(chosen.folder, cells, measure, {"steps": chosen.steps, "batch_size": chosen.batch_size})


if __name__ == "__main__":
    slt_compress.__version__  # noqa: B018, the package, before torch
    main()
