"""An assessment as one HTML page with plots: no script, no font and no image from elsewhere."""

from collections.abc import Sequence
from html import escape

from slt_compress.assessment import charts
from slt_compress.assessment.extrapolation import Forecast
from slt_compress.assessment.fleet import KWH_PER_GB, arithmetic_joules
from slt_compress.assessment.pilot import DENSE, curve
from slt_compress.assessment.results import Assessment
from slt_compress.assessment.words import clock, expected, percent, size, year_rows
from slt_compress.version import __version__

_SHOWN_LAYERS = 40  # of more, the largest
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #ffffff; --card: #f4f6f9; --line: #d5dbe3;
  --c0: #1f6fd6; --c1: #d2691e; --c2: #2e8b57; --c3: #8a4fbf; --c4: #b8860b; --c5: #c0392b; --c6: #008b8b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa6b5; --paper: #12171e; --card: #1b222c; --line: #323c49;
    --c0: #6ea8f7; --c1: #f0a05a; --c2: #6fcf97; --c3: #bf95ee; --c4: #e5c15b; --c5: #f08377; --c6: #5fd0d0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p.soft, .soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; }
.card { background: var(--card); border-radius: .6rem; padding: .8rem 1rem; }
.card b { display: block; font-size: 1.25rem; overflow-wrap: anywhere; }
.advice { background: var(--card); border-left: .3rem solid var(--c2); border-radius: .3rem; padding: .8rem 1rem; }
.advice.warn { border-color: var(--c1); margin-top: .6rem; }
.advice.more { border-color: var(--c0); margin-top: .6rem; }
pre { background: var(--card); padding: .8rem 1rem; border-radius: .4rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
.list td { white-space: normal; }
.figures { margin-top: 1rem; display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; background: var(--card); border-radius: .6rem; padding: .8rem; }
figcaption { font-weight: 600; margin-bottom: .4rem; }
svg { width: 100%; height: auto; display: block; }
.label { fill: var(--soft); font: 13px system-ui, sans-serif; }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--soft); }
polyline { fill: none; stroke-width: 2; } .dashed { stroke-dasharray: 6 5; } .range { stroke-width: 2; opacity: .45; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .4rem 0 0; padding: 0; }
.legend li { color: var(--soft); font-size: .9rem; }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; margin-right: .4rem; }
"""
_COLOURS = "".join(
    f".s{i} {{ stroke: var(--c{i % 7}); }} circle.s{i}, rect.s{i} {{ fill: var(--c{i % 7}); stroke: none; }} "
    f".key.s{i} {{ background: var(--c{i % 7}); }}\n"
    for i in range(12)
)


def html_page(found: Assessment, command: str) -> str:
    """Return the page; `command` is the search that is recommended, empty if none is."""
    title = f"{found.model} on {found.dataset}"
    sections = [_head(found, title), _cards(found), _advice(found, command), _forecasts(found), _pilot(found)]
    sections += [_sizes(found), _fleet(found), _layers(found), _notes(found)]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: assessment</title><style>{_STYLE}{_COLOURS}</style></head><body>"
        f"{''.join(sections)}</body></html>\n"
    )


def _head(found: Assessment, title: str) -> str:
    examples = found.examples
    return (
        f"<h1>{escape(title)}</h1><p class='soft'>Assessed by slt-compress {__version__} on {escape(found.machine)}: "
        f"{examples['train']:,} training and {examples['validation']:,} held-out examples; the test split was not "
        "used.</p>"
    )


def _cards(found: Assessment) -> str:
    facts, speed = found.facts, found.speeds[0]
    choice = found.recommendation.choice
    cards = [
        ("gated weights", f"{facts.gated_weights:,}"),
        ("dense, fp32", size(facts.dense_bytes["fp32"])),
        ("ticket, as advised", size(choice.ticket_bytes) if choice else "–"),
        (f"{found.metric_name}, {found.asked.steps:,} steps", percent(choice.asked.metric) if choice else "–"),
        ("time of the search", clock(found.asked.seconds)),
        ("speed", f"{speed.images_per_second:,.0f} images/s"),
        ("peak memory of a search", "–" if speed.peak_bytes is None else size(speed.peak_bytes)),
        ("MACs of an inference", f"{facts.macs:,}"),
    ]
    return (
        "<div class='cards'>"
        + "".join(
            f"<div class='card'><span class='soft'>{escape(name)}</span><b>{escape(value)}</b></div>"
            for name, value in cards
        )
        + "</div>"
    )


def _advice(found: Assessment, command: str) -> str:
    advice = found.recommendation
    choice = advice.choice
    text = ""
    if choice:
        text = f"<b>{escape(choice.kind)} at {100 * choice.sparsity:.4g} %.</b> "
    parts = [f"<h2>Advice</h2><div class='advice'>{text}{escape(' '.join(advice.reasons))}</div>"]
    parts += [f"<div class='advice warn'>{escape(text)}</div>" for text in advice.warnings]
    parts += [f"<div class='advice more'>{escape(text)}</div>" for text in advice.improvements]
    return "".join(parts) + (f"<pre>{escape(command)}</pre>" if command else "")


def _forecasts(found: Assessment) -> str:
    if not found.choices:
        return ""
    rows: list[tuple[str, ...]] = [
        (
            f"{100 * one.sparsity:.4g} %",
            one.kind,
            expected(one.forecast),
            expected(one.asked),
            size(one.ticket_bytes),
            "–" if one.onnx_bytes is None else size(one.onnx_bytes),
        )
        for one in found.choices
    ]
    if found.dense:
        rows.append(("dense", "–", *map(expected, found.dense), size(found.facts.dense_bytes["fp32"]), "–"))
    headings = (
        "sparsity",
        "search",
        f"{found.default.steps:,} steps",
        f"{found.asked.steps:,} steps",
        "file",
        "as ONNX",
    )
    dense = found.dense[1] if found.dense else None
    sparsities = [(100 * one.sparsity, one.asked.metric) for one in found.choices]
    ranges = [(one.asked.low, one.asked.high) for one in found.choices]
    plotted = [charts.Series("best search", sparsities, ranges)]
    if dense:
        ends = [(sparsities[0][0], dense.metric), (sparsities[-1][0], dense.metric)]
        plotted.append(charts.Series("dense", ends, dashed=True))
    ticks = [(x, f"{x:.4g} %") for x, _ in sparsities]
    figure = charts.lines(
        plotted,
        charts.Axis("sparsity", ticks),
        charts.Axis(found.metric_name, percent=True),
        f"Expected after {found.asked.steps:,} steps",
    )
    return f"<h2>Forecast</h2>{_table(headings, rows)}<div class='figures'>{figure}{_curves(found)}</div>"


def _curves(found: Assessment) -> str:
    """Return the plot of the pilot's runs over their steps, and where they are expected to lead."""
    series = []
    for one in found.choices:
        points = _errors(curve(found.trials, one.kind, one.sparsity), one.asked)
        series.append(charts.Series(f"{one.kind}, {100 * one.sparsity:.4g} %", points))
    if found.dense:
        series.append(charts.Series(DENSE, _errors(curve(found.trials, DENSE), found.dense[1]), dashed=True))
    x = charts.Axis("optimiser steps, the last point is the forecast", logarithmic=True)
    y = charts.Axis(f"errors (1 - {found.metric_name})", logarithmic=True, percent=True)
    return charts.lines(series, x, y, "Short runs, and where they lead")


def _errors(runs: Sequence[tuple[int, float]], forecast: Forecast) -> list[tuple[float, float]]:
    """Return the errors of runs, and of what they are expected to lead to, over the steps."""
    points = sorted((*runs, (forecast.steps, forecast.metric)))
    return [(steps, max(1 - metric, 1e-4)) for steps, metric in points]


def _pilot(found: Assessment) -> str:
    rows = [
        (
            trial.kind,
            "–" if trial.kind == DENSE else f"{100 * trial.sparsity:.4g} %",
            f"{trial.steps:,}",
            percent(trial.metric),
            size(trial.size),
            f"{trial.seconds:.1f} s",
        )
        for trial in found.trials
    ]
    table = _table(("run", "sparsity", "steps", f"{found.metric_name}, held-out", "bytes", "time"), rows)
    return f"<h2>Pilot</h2><details><summary>{len(rows)} short runs</summary>{table}</details>" if rows else ""


def _sizes(found: Assessment) -> str:
    values = [(f"dense, {form}", float(count), size(count)) for form, count in found.facts.dense_bytes.items()]
    values += [
        (f"ticket, {100 * one.sparsity:.4g} %", float(one.ticket_bytes), size(one.ticket_bytes))
        for one in found.choices
    ]
    figure = charts.bars(values, "Bytes of a file (logarithmic)")
    facts, energy = found.facts, arithmetic_joules(found.facts.macs)
    rows = [
        ("activations of an inference, one example", size(facts.activation_bytes)),
        ("kept for the backward pass, one example", size(facts.training_bytes)),
        ("weights and gates of a search, each process", size(facts.held_bytes)),
        ("arithmetic of an inference in fp32, estimated", f"{1e6 * energy['fp32']:,.3g} µJ"),
        ("arithmetic of an inference in int8, estimated", f"{1e6 * energy['int8']:,.3g} µJ"),
        *(
            (f"a search on {one.device}", f"{one.images_per_second:,.0f} images/s, {one.precision}")
            for one in found.speeds
        ),
        (f"{found.default.steps:,} steps, the default", clock(found.default.seconds)),
        (f"{found.asked.steps:,} steps, as asked", clock(found.asked.seconds)),
    ]
    note = (
        "<p class='soft'>Arithmetic without memory: 4.6 pJ an operation in fp32, 0.3 pJ in int8, of a 45 nm process "
        "(Horowitz 2014).</p>"
    )
    table = f"<figure class='list'><figcaption>Memory, energy and time</figcaption>{_table((), rows)}{note}</figure>"
    return f"<h2>Costs</h2><div class='figures'>{figure}{table}</div>"


def _fleet(found: Assessment) -> str:
    if not found.fleet:
        return ""
    headings, rows = year_rows(found.years)
    price = f" · {found.fleet.link_price:g} a GB" if found.fleet.link_price is not None else ""
    return (
        f"<h2>Fleet</h2><p class='soft'>{found.fleet.devices:,} devices · {found.fleet.updates_per_year:g} updates a "
        f"year{price}. Moved = devices · updates · bytes; energy = moved · {KWH_PER_GB} kWh a GB, of a fixed line in "
        f"2015 (Aslan et al. 2018), so an upper bound.</p>{_table(headings, rows)}"
    )


def _layers(found: Assessment) -> str:
    layers = found.facts.layers
    shown = sorted(layers, key=lambda layer: -layer.weights)[:_SHOWN_LAYERS]
    rows = [
        (layer.name, " × ".join(map(str, layer.shape)), f"{layer.weights:,}", "yes" if layer.gated else "no")
        for layer in layers
        if layer in shown
    ]
    more = f", the largest {_SHOWN_LAYERS} of them" if len(layers) > _SHOWN_LAYERS else ""
    table = _table(("parameter", "shape", "values", "gated"), rows)
    return f"<h2>Parameters</h2><details><summary>{len(layers)} tensors{more}</summary>{table}</details>"


def _notes(found: Assessment) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    return f"<h2>Notes</h2><ul>{items}</ul>" if items else ""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in headings) if headings else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='scroll'><table>{f'<tr>{head}</tr>' if head else ''}{body}</table></div>"
