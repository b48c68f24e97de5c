"""The tables of a comparison, for a terminal and a page of Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from slt_compress.comparison.results import DENSE, ComparisonResult, Summary, sparsest
from slt_compress.comparison.trained import PRUNE


def accuracy_table(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Return (headings, rows): sparsities or sizes down, methods across, test accuracy in per cent, mean ± std."""
    return _table(summaries, lambda summary: percent(summary.accuracy, summary.accuracy_std))


def _table(summaries: Sequence[Summary], show: Callable[[Summary], str]) -> tuple[list[str], list[list[str]]]:
    labels = list(dict.fromkeys(summary.label for summary in summaries))
    targets = {summary.target: target_name(summary) for summary in summaries if summary.label != DENSE}
    found = {(summary.label, *summary.target): summary for summary in summaries}
    rows = []
    for target in sorted(targets):
        cells = (found.get((label, *((0, 0.0) if label == DENSE else target))) for label in labels)
        rows.append([targets[target], *(show(cell) if cell else "–" for cell in cells)])
    return ["at most" if any(size for size, _ in targets) else "sparsity", *labels], rows


def target_name(summary: Summary) -> str:
    """Return the target, for people."""
    if summary.max_bytes is not None:
        return f"{summary.max_bytes / 1000:,.6g} KB"
    return f"{100 * summary.target_sparsity:.6g} %"


def percent(mean: float, std: float | None = None) -> str:
    """Return a fraction, or mean ± std of some, in per cent with two decimals."""
    return f"{100 * mean:.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def markdown(result: ComparisonResult) -> str:
    """Return a page: the command, the tables, and what is needed to make them again."""
    settings, images, summaries = result.settings, result.settings["pictures"], result.summaries
    seeds = f"seeds 0 to {result.seeds - 1}" if result.seeds > 1 else "seed 0"
    environments = [
        f"{found['machine']}, Python {found['python']}, torch {found['torch']}, timm {found['timm']}"
        for found in result.environments
    ]
    heading, rows = accuracy_table(summaries)
    _, sizes = _table(summaries, lambda summary: f"{summary.bytes / 1000:,.1f}")
    _, seconds = _table(summaries, lambda summary: f"{summary.seconds:.1f}")
    return "\n".join(
        [
            f"# {settings['model']} on {settings['dataset']}",
            "",
            "```python" if result.command.startswith("slt_compress.") else "```sh",
            result.command,
            "```",
            "",
            f"{settings['steps']:,} steps of {settings['batch_size']} images ({settings['epochs']:.3g} epochs), "
            f"{seeds}; {images['train']:,} training, {images['validation']:,} held-out and {images['test']:,} "
            f"test images of {settings['preprocessing']['size']} px{_unusual(settings)}. "
            f"slt-compress {settings['tool']}. {'; '.join(environments)}.",
            "",
            *_baseline(result),
            *_missing(result),
            "Test accuracy in per cent, mean ± sample standard deviation over the seeds:",
            "",
            *markdown_table(heading, rows),
            "",
            "File in KB, mean (dense: fp32 weights):",
            "",
            *markdown_table(heading, sizes),
            "",
            "Time of the optimisation in seconds, mean:",
            "",
            *markdown_table(heading, seconds),
            "",
            *_sparsest(result),
            "![accuracy against sparsity](accuracy-sparsity.png)",
            "![accuracy against bytes](accuracy-bytes.png)",
            "",
        ]
    )


def _sparsest(result: ComparisonResult) -> list[str]:
    """Return, for a grid of several sparsities and a dense network, which of them is the highest that holds."""
    found = sparsest(result.summaries)
    if len({row.target_sparsity for row in result.rows if row.method != DENSE}) < 2 or not found:
        return []
    names = list(next(iter(found.values())))
    shares = [[held[name] for held in found.values()] for name in names]
    rows = [
        [name, *("–" if share is None else f"{100 * share:.6g} %" for share in line)]
        for name, line in zip(names, shares, strict=True)
    ]
    return [
        "The highest of these sparsities at which the test accuracy is at most so many points below dense:",
        "",
        *markdown_table(["accuracy", *found], rows),
        "",
    ]


def _baseline(result: ComparisonResult) -> list[str]:
    """Return how the dense baseline and pruned networks were trained, as paragraphs."""
    lines, tried = [], result.learning_rates
    dense, pruned = ({row.learning_rate for row in result.rows if row.method == one} for one in (DENSE, PRUNE))
    if dense:
        lines += [f"Dense baseline: {result.dense_recipe}{_chosen(dense, tried)}", ""]
    if pruned - {None}:
        rates = ", ".join(f"{rate:g}" for rate in tried)
        how = f"the best on held-out images of {rates}, each tried for the whole budget" if len(tried) > 1 else rates
        lines += [f"Pruned networks, learning rate: {how}.{_chosen(pruned, tried)}", ""]
    return lines


def _chosen(rates: Iterable[float | None], tried: Sequence[float]) -> str:
    """Return which rates runs have taken, to be added to a sentence; nothing where they had no choice."""
    if len(tried) == 1:
        return ""
    return f" Chosen: {', '.join(f'{rate:g}' for rate in sorted(rate for rate in rates if rate is not None))}."


def _missing(result: ComparisonResult) -> list[str]:
    """Return what is not in the tables, as a paragraph."""
    if result.is_complete:
        return []
    return [f"**Incomplete: {len(result.rows)} of {result.cells} runs are finished, {len(result.failed)} failed.**", ""]


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return ["| " + " | ".join(line) + " |" for line in (heading, ["---"] * len(heading), *rows)]


def _unusual(settings: Mapping[str, Any]) -> str:
    """Return how images or arithmetic differ from the default, to be added to a sentence."""
    usual = {"augment": "none", "precision": "fp32"}
    return "".join(f", {settings[name]}" for name, value in usual.items() if settings[name] != value)
