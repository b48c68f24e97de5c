"""Five tasks: a ticket against the same network with all its weights trained, in the same number of steps.

python -m benchmarks.tasks [TASK …] [--seeds 3]

The dense network is trained with AdamW, a warm-up of a tenth, a cosine and weight decay 0.01; of four learning rates it
gets the one that is best on held-out training examples with the first seed. Its weights begin as torch's layers draw
them. The ticket has our default settings. Printed are means and standard deviations over the seeds of the metric on the
test split, and the sizes of the files of the first seed.
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

import slt_compress
from examples.five_tasks import EXAMPLES, Example
from slt_compress.data.batches import CPU, as_given
from slt_compress.data.own import as_split
from slt_compress.data.splits import IndexedSplit, Split, hold_out
from slt_compress.evaluation.accuracy import evaluate, torch_classifier
from slt_compress.tasks.task import Task, task_of

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
SPARSITY = 0.9


def train(module: nn.Module, split: Split, task: Task, example: Example, rate: float, seed: int) -> nn.Module:
    """Train all weights, and return the module in evaluation mode."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.01)
    batches = split.passes(example.batch_size, torch.Generator().manual_seed(seed))
    module.train()
    for step, (inputs, targets) in zip(range(example.steps), batches, strict=False):
        warm = min(1.0, (step + 1) / (0.1 * example.steps))
        for group in optimiser.param_groups:
            group["lr"] = rate * warm * (1 + math.cos(math.pi * step / example.steps)) / 2
        optimiser.zero_grad()
        task.mean_loss(module(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return module.eval()


def dense(example: Example, seed: int, rates: Sequence[float]) -> tuple[float, float]:
    """Return the metric of the dense network on the test split, and the best of these learning rates."""
    task = task_of(example.loss, example.metric)
    given, test_data = example.data()
    everything, _ = as_split(given, "train", example.batch_size)
    test, _ = as_split(test_data, "test", example.batch_size)
    assert isinstance(everything, IndexedSplit)
    rest, held_out = hold_out(everything)
    trained = {}
    for rate in rates:
        torch.manual_seed(seed)
        module = train(example.build(), rest, task, example, rate, seed)
        trained[rate] = evaluate(torch_classifier(module, CPU), held_out, as_given, task=task).metric, module
    best = max(trained, key=lambda rate: trained[rate][0])
    return evaluate(torch_classifier(trained[best][1], CPU), test, as_given, task=task).metric, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", choices=[*EXAMPLES, []])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("task | metric | ticket | dense | rate | dense, B | ticket, B | ONNX, B | bit-identical to the dense graph")
    for name in arguments.tasks or EXAMPLES:
        example = EXAMPLES[name]
        train_data, test = example.data()
        found, trained = [], []
        rates: tuple[float, ...] = RATES
        first = None
        for seed in range(arguments.seeds):
            result = slt_compress.search(
                example.build,
                train=train_data,
                test=test,
                loss=example.loss,
                metric=example.metric,
                sparsity=SPARSITY,
                seed=seed,
                max_steps=example.steps,
                batch_size=example.batch_size,
            )
            first = first or result
            found.append(result.metric)
            metric, rate = dense(example, seed, rates)
            trained.append(metric)
            rates = (rate,)
        assert first
        with tempfile.TemporaryDirectory() as folder:
            exported = slt_compress.export(
                first.ticket,
                Path(folder) / "net.onnx",
                format="onnx",
                source=example.build,
                test=test,
                metric=example.metric,
            )
        size = sum(parameter.nbytes for parameter in example.build().parameters())
        print(
            f"{name} | {first.test.metric_name} | {spread(found)} | {spread(trained)} | {rates[0]:g} | {size:,} "
            f"| {len(first.ticket.to_bytes()):,} | {exported.bytes:,} | {exported.bit_identical_to_dense}",
            flush=True,
        )


def spread(values: list[float]) -> str:
    """Return mean ± sample standard deviation."""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


if __name__ == "__main__":
    main()
