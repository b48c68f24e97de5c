"""From forecasts to advice: which search to make, why, what speaks against it, and what would be better."""

import re
from collections.abc import Sequence

from slt_compress.assessment.config import AssessConfig
from slt_compress.assessment.extrapolation import Forecast
from slt_compress.assessment.facts import Facts
from slt_compress.assessment.results import Choice, Recommendation
from slt_compress.assessment.words import expected, percent, size
from slt_compress.config import BOTH
from slt_compress.masking import codecs, topk

_SACRIFICE = 0.01  # of the metric, which a smaller file is worth where nothing is asked for
_NOT_BEGUN = (
    "The pilot's runs are hardly better than chance: a network that learns late, as transformers do, may get much "
    "further than forecast. Give the pilot more minutes."
)
_BEHIND = 0.03  # behind the dense network: from here on trained weights are worth their bytes
_LARGE_IMAGES = 64  # px
_VALUE_BYTES = 1  # of a trained weight in 8 bits


def recommend(
    model: str,
    facts: Facts,
    choices: Sequence[Choice],
    dense: Forecast | None,
    wanted: AssessConfig,
    *,
    metric: str,
    input_size: int | None,
    begun: bool = True,
) -> Recommendation:
    """Return what to do.

    `dense` is the forecast of the dense network after the number of steps asked for, and `begun` whether the pilot's
    searches have learnt more than next to nothing.
    """
    if not choices:
        return Recommendation(None, ("The pilot had no time for a search: give it more minutes.",))
    chosen, reasons, warnings = _choose(choices, wanted, metric)
    if not begun:
        warnings.append(_NOT_BEGUN)
    if chosen.granularity == BOTH:
        reasons.append("Gates of neurons too make the restored network and its export smaller and faster.")
    if dense and dense.metric - chosen.asked.metric > _BEHIND:
        trained = _trained_bytes(facts, chosen.sparsity)
        warnings.append(
            f"The dense network is expected to have {percent(dense.metric)}. Where that counts more than bytes, a "
            f"sparse network with trained weights is the better file: about {size(trained)} with 8 bits for each "
            f"weight kept, against {size(chosen.ticket_bytes)}."
        )
    return Recommendation(
        chosen, tuple(reasons), tuple(warnings), tuple(_improvements(model, choices, input_size, dense))
    )


def _choose(choices: Sequence[Choice], wanted: AssessConfig, metric: str) -> tuple[Choice, list[str], list[str]]:
    """Return the choice, why, and what of the wishes is missed."""
    by_bytes = sorted(choices, key=lambda one: one.ticket_bytes)
    best = max(choices, key=lambda one: one.asked.metric)
    small = [one for one in choices if wanted.target_bytes is None or one.ticket_bytes <= wanted.target_bytes]
    if not small:
        least = by_bytes[0]
        text = (
            f"No sparsity that was tried gives {size(wanted.target_bytes or 0)}: at {least.sparsity:.0%} the ticket "
            f"has about {size(least.ticket_bytes)}. Try larger sparsities, or take a smaller network."
        )
        return least, ["It is the smallest that was tried."], [text]
    good = [one for one in small if wanted.target_accuracy is None or one.asked.metric >= wanted.target_accuracy]
    if not good:
        nearest = max(small, key=lambda one: one.asked.metric)
        text = (
            f"No search that was tried is expected to have {percent(wanted.target_accuracy or 0)}: the best that "
            f"fits has {expected(nearest.asked)}."
        )
        return nearest, [f"It has the best {metric} of those that fit."], [text]
    if wanted.target_bytes is not None:
        chosen = max(good, key=lambda one: one.asked.metric)
        return chosen, [f"It has the best {metric} of those that fit into {size(wanted.target_bytes)}."], []
    if wanted.target_accuracy is not None:
        chosen = min(good, key=lambda one: one.ticket_bytes)
        return chosen, [f"It is the smallest that is expected to have {percent(wanted.target_accuracy)}."], []
    chosen = next(one for one in by_bytes if one.asked.metric >= best.asked.metric - _SACRIFICE)
    reason = f"It is the smallest within {_SACRIFICE:.0%} of the best {metric} that is expected of any."
    return chosen, [reason], []


def _improvements(model: str, choices: Sequence[Choice], input_size: int | None, dense: Forecast | None) -> list[str]:
    found = []
    best = max(choices, key=lambda one: one.asked.metric)
    width = re.fullmatch(r"(resnet(?:20|32|44|56|110))(?:-w([0-9]+))?", model)
    if dense and dense.metric - best.asked.metric > _SACRIFICE:
        wider = f", such as {width[1]}-w{2 * int(width[2] or 1)}" if width else ""
        found.append(f"A wider network{wider}: a frozen one has more to choose from, at a few more bytes.")
    if best.asked.high - best.asked.metric > _SACRIFICE:
        found.append("A longer search: the error falls with the number of steps.")
    if input_size and input_size > _LARGE_IMAGES:
        found.append(f"Smaller images (now {input_size} px): a step takes less, so there are more of them.")
    return found


def _trained_bytes(facts: Facts, sparsity: float) -> int:
    """Return about how many bytes a file with trained weights has: a mask, and 8 bits for each weight kept."""
    total = facts.dense_bytes["fp32"] - 4 * facts.gated_weights
    for layer in facts.layers:
        if layer.gated:
            kept = topk.kept_count(layer.weights, 1 - sparsity)
            total += round(codecs.shannon_bound(layer.weights, kept)) + _VALUE_BYTES * kept
    return total
