"""Attention in bfloat16 on a CPU: the kernel of torch whose gradient is quick."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

_MOST_SCORES = 2**26  # of a layer at once, 128 MiB: beyond that the kernel that never holds them all is better


class QuickAttention(TorchFunctionMode):
    """Within it, the attention of torch is computed by plain products where all its scores fit into memory.

    The gradient of the kernel that torch would choose takes 5 to 8 times as long in bfloat16 (docs/speed.md).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        count = _SCORES.get(func)
        if count is None or count(*args, **kwargs) > _MOST_SCORES:
            return func(*args, **kwargs)
        with sdpa_kernel(SDPBackend.MATH), _products_in_bfloat16():
            return func(*args, **kwargs)


@contextlib.contextmanager
def _products_in_bfloat16() -> Iterator[None]:
    """Keep torch from computing plain products of bfloat16 in float32. The name says CUDA, but it holds everywhere."""
    allowed = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()  # type: ignore[no-untyped-call]
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(allowed)


def _scores(query: torch.Tensor, key: torch.Tensor, *_: Any, **__: Any) -> int:
    """Count those of (…, heads, queries, width) and (…, heads, keys, width)."""
    return query.shape[:-1].numel() * key.shape[-2]


def _multi_head_scores(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,  # noqa: ARG001
    embed_dim_to_check: int,  # noqa: ARG001
    num_heads: int,
    *_: Any,
    **__: Any,
) -> int:
    """Count those of (queries, …, width) and (keys, …, width), for all heads."""
    return query.shape[:-1].numel() * key.shape[0] * num_heads


_SCORES: dict[Callable[..., Any], Callable[..., int]] = {
    F.scaled_dot_product_attention: _scores,
    F.multi_head_attention_forward: _multi_head_scores,
}
