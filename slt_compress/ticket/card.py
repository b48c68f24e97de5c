"""The model card of a ticket: a README.md for its repository, written from what the ticket records and nothing else.

The front matter is YAML as the Hugging Face hub reads it. Text from the ticket stands in it as JSON strings, which are
YAML, and below as code, so that nothing in a name becomes markup.
"""

import json
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slt_compress.errors import UsageError, few, one_line
from slt_compress.models.spec import PYTHON, ModelSpec
from slt_compress.tasks.record import CLASSIFICATION
from slt_compress.ticket.schema import IMAGE_TASK
from slt_compress.ticket.stored import INT4, INT8

if TYPE_CHECKING:
    from slt_compress.ticket.ticket import Ticket

NO_LICENSE = "unknown"  # as the hub calls it

_TAGS = ("slt-compress", "lottery-ticket", "pruning", "model-compression")
_TRAINED_TAGS = ("slt-compress", "pruning", "sparsity", "model-compression")
_DATASETS = {  # name here -> name on the hub
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "svhn": "ufldl-stanford/svhn",
}
_PLACES = {  # data sets of a user's own, and how to name them
    "imagefolder": ["imagefolder", "--data-dir", "FOLDER"],
    "csv": ["csv", "--data-dir", "FILE.csv"],
    "hf": ["hf:NAME"],
}
_TITLES = {"accuracy": "test accuracy", "validation_accuracy": "accuracy on held-out training images"}


def card(ticket: "Ticket", repository: str, license: str | None = None) -> str:  # noqa: A002, as the hub names it
    """Return the text of a README.md for a ticket in a repository OWNER/NAME, under a license of the hub's list.

    Raises UsageError for a license that cannot be in that list.
    """
    if license is not None and not re.fullmatch("[a-z0-9][a-z0-9.-]{0,60}", license):
        raise UsageError(f"`license` must be as the hub lists it, such as apache-2.0 or other, got {license!r}")
    front = "\n".join(_yaml(_metadata(ticket, repository, license or NO_LICENSE)))
    parts = [
        f"---\n{front}\n---",
        f"# {repository.rpartition('/')[2]}",
        _introduction(ticket),
        _table(_facts(ticket)),
        "## How to use it",
        *_use(ticket, repository),
        "## How it was found",
        *_origin(ticket),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(ticket: "Ticket", repository: str, license: str) -> dict[str, Any]:  # noqa: A002
    """Return the front matter, as the hub's model cards have it."""
    origin = ticket.provenance
    is_image_classifier = origin.preprocessing is not None and origin.task.name == CLASSIFICATION
    task = "image-classification" if is_image_classifier else "other"
    found: dict[str, Any] = {
        "license": license,
        "library_name": "slt-compress",
        "tags": list(_TRAINED_TAGS if _stored(ticket) else _TAGS),
    }
    if is_image_classifier:
        found["pipeline_tag"] = task
    if origin.dataset in _DATASETS:
        found["datasets"] = [_DATASETS[origin.dataset]]
    metric = origin.task.metric
    if metric in origin.metrics:
        value = origin.metrics[metric]
        found["metrics"] = [metric]
        found["model-index"] = [
            {
                "name": repository.rpartition("/")[2],
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {
                            "name": origin.dataset or "own data",
                            "type": _DATASETS.get(origin.dataset, origin.dataset or "own"),
                        },
                        "metrics": [{"type": metric, "name": _TITLES.get(metric, metric), "value": value}],
                    }
                ],
            }
        ]
    return found


def _introduction(ticket: "Ticket") -> str:
    network, stored = _code(ticket.provenance.model.title), _stored(ticket)
    what = f"A strong lottery ticket: a sparse part of a randomly initialised {network}."
    how = "No weight of it was trained: all follow from a seed, and the file holds only which of them are kept."
    if stored:
        what = f"A sparse {network}. Its weights are trained, and those that are kept are stored, {stored}."
        others = len(ticket.layers) - sum(bool(layer.values) for layer in ticket.layers)
        how = f"Those of {others} of its {len(ticket.layers)} layers follow from a seed instead." if others else ""
    elif ticket.parameters:
        how = "Some of its weights are stored; the others follow from a seed."
    size = (
        f"The file has {len(ticket.to_bytes()):,} bytes; as 32-bit numbers, its {ticket.weight_count:,} gated weights "
        f"take {4 * ticket.weight_count:,}."
    )
    return " ".join(part for part in (what, how, size) if part)


def _stored(ticket: "Ticket") -> str:
    """Return how trained weights are stored, empty where all follow from the seed."""
    types = sorted({layer.values.type for layer in ticket.layers if layer.values})
    rows = any(kind in (INT8, INT4) for kind in types)
    return f"as {' and '.join(types)}{' with a scale for each row' if rows else ''}" if types else ""


def _facts(ticket: "Ticket") -> list[tuple[str, str]]:
    origin = ticket.provenance
    classes = f", {len(origin.classes):,} classes: {_code(few(origin.classes))}" if origin.classes else ""
    inputs = "; ".join(f"{'×'.join(map(str, one.shape))} {one.dtype}" for one in origin.inputs)
    measured = {_TITLES.get(name) or _code(name): value for name, value in origin.metrics.items()}
    return [
        ("network", f"{_code(origin.model.title)}, built by {_code(origin.library)}"),
        ("data", f"{_code(origin.dataset or 'own data')}{classes}"),
        ("inputs", inputs),
        ("sparsity", f"{ticket.sparsity:.2%}: {ticket.kept:,} of {ticket.weight_count:,} weights kept"),
        *((name, f"{value:.6g}") for name, value in sorted(measured.items())),
        ("masks", f"{ticket.mask_bytes:,} bytes, Shannon bound {ticket.mask_bound_bytes:,}"),
        *([("stored weights", f"{ticket.values_bytes:,} bytes, {stored}")] if (stored := _stored(ticket)) else []),
        ("format", f"version {ticket.version}, written by {_code(ticket.tool)}"),
        ("SHA-256", f"`{ticket.digest}`"),
    ]


def _use(ticket: "Ticket", repository: str) -> list[str]:
    address = f"hf://{repository}"
    own = ticket.provenance.model.builder == PYTHON
    source = ["--source", "FILE.py:FUNCTION"] if own else []
    dataset = _PLACES.get(ticket.provenance.dataset, [])
    images = dataset[1:] if dataset[1:] else ["--dataset", *dataset] if dataset else []
    lines = [
        'pip install "slt-compress[hub]"',
        _words("slt-compress", "evaluate", address, *images, *source),
        _words("slt-compress", "export", address, "--output", "ticket.onnx", *source),
    ]
    load = f'ticket = Ticket.from_pretrained("{repository}")'
    module = "ticket.apply_to(build())  # your function that builds the network" if own else "ticket.restore()"
    return [
        _block("sh", "\n".join(lines)),
        _block("python", f"from slt_compress import Ticket\n\n{load}\nmodule = {module}"),
    ]


def _origin(ticket: "Ticket") -> list[str]:
    method = ticket.provenance.method
    facts = {"method": method.name, "seed": ticket.seed, "steps": method.steps, "batch size": method.batch_size}
    settings = {name: method.settings[name] for name in sorted(method.settings)}
    parts = [_table([(_code(name), _code(_plain(value))) for name, value in (facts | settings).items()])]
    if command := search_command(ticket):
        parts.append("A search with these settings:")
        parts.append(_block("sh", command))
    return parts


def search_command(ticket: "Ticket") -> str:
    """Return the command of a search that gives these masks, empty for a search that no short command describes."""
    origin = ticket.provenance
    model, method = origin.model, origin.method
    known = {"digits", *_DATASETS, *_PLACES}
    whole = ticket.granularity == "weight" and "granularity" not in method.settings
    whole = whole and not ticket.parameters and not _stored(ticket)
    whole = whole and not {"teacher", "started_from", "rounds"} & set(method.settings)  # other files, another command
    if not isinstance(model, ModelSpec) or not origin.preprocessing or not whole:
        return ""
    if origin.task != IMAGE_TASK or origin.dataset not in known:
        return ""
    settings = method.settings
    recorded = {  # None for what is not recorded, or has no meaning
        "--recipe": None if settings.get("recipe") == "default" else settings.get("recipe"),
        "--scope": settings.get("scope"),
        "--head-start": settings.get("head_start"),
        "--lr": settings.get("learning_rate"),
        "--augment": settings.get("augment"),
        "--precision": settings.get("precision", "fp32") if method.steps else None,
        "--init": ticket.initialiser,
        "--freeze-ratio": ticket.freeze.ratio or None,
        "--lock-ratio": ticket.freeze.lock or None,
        "--max-steps": method.steps or None,
    }
    target = ["--sparsity", f"{ticket.sparsity:.8g}"]
    if "max_bytes" in settings:
        target = ["--max-bytes", str(settings["max_bytes"])]
    words = [
        *("slt-compress", "search", f"{'torchvision/' if model.builder == 'torchvision' else ''}{model.name}"),
        *(word for name, value in model.arguments.items() for word in ("--model-arg", f"{name}={value}")),
        *("--dataset", *_PLACES.get(origin.dataset, [origin.dataset])),
        *("--input-size", str(origin.preprocessing.size)),
        *("--method", method.name),
        *target,
        *("--seed", str(ticket.seed)),
        *("--batch-size", str(method.batch_size)),
        *(word for name, value in recorded.items() if value is not None for word in (name, str(value))),
    ]
    return _words(*words)


def _words(*words: str) -> str:
    return shlex.join(one_line(word) for word in words)


def _block(language: str, text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _code(text: str) -> str:
    """Return text as code in a line of Markdown, where nothing of it is markup, not even in a table."""
    return f"`{one_line(text).replace('`', chr(39)).replace('|', '¦')}`" if text else "–"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _yaml(value: Mapping[str, Any] | list[Any], indent: str = "") -> list[str]:
    """Return the lines of a mapping or a list in YAML's block style."""
    lines: list[str] = []
    entries = value.items() if isinstance(value, Mapping) else ((None, one) for one in value)
    for key, one in entries:
        start = f"{indent}-" if key is None else f"{indent}{key}:"
        if not isinstance(one, Mapping | list):
            lines.append(f"{start} {_scalar(one)}")
        elif key is None:
            first, *rest = _yaml(one, f"{indent}  ")
            lines += [f"{start} {first.lstrip()}", *rest]
        else:
            lines += [start, *_yaml(one, indent if isinstance(one, list) else f"{indent}  ")]
    return lines


def _scalar(value: object) -> str:
    if isinstance(value, float):
        digits, exponent, power = repr(value).partition("e")
        return digits + (".0" if exponent and "." not in digits else "") + exponent + power  # 1e-05 would be a string
    if not isinstance(value, str):
        return json.dumps(value)
    return json.dumps(one_line(value), ensure_ascii=False)
