"""What there is to search: names with their gated weights and the size that a ticket would have.

The estimate for a ticket of density p is, in bytes,

    1.02 · Σ n·H(p)/8  +  4 · statistics  +  1,200 + 75 · tensors + 20 · normalisations

where n are the weights of each gated tensor, H the entropy of a bit, 1.02 what the codes need above it, and the last
part the header. A search leaves layers of uneven density, and with them a smaller ticket.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from slt_compress.errors import SltError, UsageError
from slt_compress.masking import codecs, topk
from slt_compress.masking.coded_size import filling_share
from slt_compress.masking.parameters import gated_names, statistic_names
from slt_compress.models import architectures
from slt_compress.models.registry import build_model, closest_names, model_names, resolve_model

DENSITY = 0.1
_ABOVE_BOUND = 1.02  # what the codes of masks take, by their Shannon bounds
_SELECTION = (  # shown without a filter, beside the own architectures
    "resnet18",
    "resnet50",
    "wide_resnet50_2",
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "convnext_atto",
    "convnext_tiny",
    "efficientnet_b0",
    "torchvision/resnet18",
    "torchvision/mobilenet_v3_small",
    "torchvision/convnext_tiny",
    "torchvision/vit_b_16",
    "torchvision/swin_t",
)
SELECTION = (*architectures.NAMES, *_SELECTION)


@dataclass(frozen=True)
class Entry:
    """A network's size: gated weights, bytes of a ticket of a sparsity, bytes of all its tensors in fp32.

    They are None where it cannot be built, or not be made as small, as asked, and `problem` says why.
    """

    name: str
    gated_weights: int | None = None
    ticket_bytes: int | None = None
    dense_bytes: int | None = None
    sparsity: float | None = None
    problem: str | None = None


def matching(pattern: str | None) -> list[str]:
    """Return the names with this part, or that match it where it has a `*` or a `?`; without a pattern the selection.

    Raises SltError, with the closest names, if there is none.
    """
    if pattern is None:
        return list(SELECTION)
    known = model_names()
    wild = pattern if set(pattern) & set("*?") else f"*{pattern}*"
    found = [name for name in known if fnmatchcase(name, wild)]
    if pattern not in known and architectures.find(pattern):
        found.insert(0, pattern)  # a width that is not listed
    if not found:
        close = closest_names(pattern)
        hint = f"closest: {', '.join(close)}" if close else "without a pattern there is a selection"
        raise SltError(f"no model matches {pattern!r}; {hint}")
    return found


def entries(
    names: list[str],
    *,
    classes: int,
    channels: int,
    input_size: int,
    max_bytes: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Iterator[Entry]:
    """Yield the size of each network for images of `channels` planes and `input_size` px, without weights made.

    The ticket has the density `DENSITY`, or the largest up to a half at which it has at most `max_bytes`.
    """
    for done, name in enumerate(names):
        if report:
            report(done, len(names))
        spec = resolve_model(name, classes=classes, channels=channels, input_size=input_size)
        try:
            module = build_model(spec)
        except UsageError as error:
            yield Entry(name, problem=str(error) if name in str(error) else f"{name}: {error}")
            continue
        statistics = statistic_names(module)
        gated = [module.get_parameter(gated).numel() for gated in gated_names(module)]
        dense = sum(tensor.nbytes for tensor in module.state_dict().values())
        if max_bytes is None:
            yield Entry(name, sum(gated), ticket_bytes(module, gated, statistics), dense, 1 - DENSITY)
            continue
        density = fitting_density(module, gated, statistics, max_bytes)
        if density is None:
            least = ticket_bytes(module, gated, statistics, 0.0, half=True)
            yield Entry(name, problem=f"{name}: its smallest ticket has about {least:,} bytes")
        else:
            size = ticket_bytes(module, gated, statistics, density, half=True)
            yield Entry(name, sum(gated), size, dense, 1 - density)


def ticket_bytes(
    module: nn.Module, gated: list[int], statistics: list[str], density: float = DENSITY, *, half: bool = False
) -> int:
    """Return about how many bytes a ticket has that keeps a share `density` of each gated tensor, one weight at least;
    with `half`, of fp16 statistics.
    """
    bound = sum(codecs.shannon_bound(size, topk.kept_count(size, density)) for size in gated)
    return math.ceil(_ABOVE_BOUND * bound) + _around_masks(module, gated, statistics, 2 if half else 4)


def fitting_density(module: nn.Module, gated: list[int], statistics: list[str], most: int) -> float | None:
    """Return the density, at most a half, at which a ticket with fp16 statistics has about `most` bytes; None if one
    weight a tensor is too much.
    """
    room = most - _around_masks(module, gated, statistics, 2)
    least = sum(codecs.shannon_bound(size, 1) for size in gated) * _ABOVE_BOUND
    return filling_share(gated, gated, room / _ABOVE_BOUND) if room >= least else None


def _around_masks(module: nn.Module, gated: list[int], statistics: list[str], bytes_each: int) -> int:
    values = sum(module.get_buffer(name).numel() for name in statistics)
    return bytes_each * values + 1_200 + 75 * len(gated) + 10 * len(statistics)
