"""Attention in bfloat16 on a CPU: what torch would compute, by another kernel where that is quicker."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from slt_compress.training import attention
from slt_compress.training.attention import QuickAttention

OPTIONS: list[dict[str, Any]] = [
    {},
    {"scale": 0.3},
    {"is_causal": True},
    {"attn_mask": torch.linspace(-2, 2, 35).view(5, 7)},
    {"attn_mask": torch.arange(35).view(5, 7) % 3 > 0},
]
USUAL, QUICK = (f"aten::_scaled_dot_product_{kernel}" for kernel in ("flash_attention_for_cpu", "attention_math"))


def _queries_keys_values() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, 3, tokens, 8, generator=generator, dtype=torch.bfloat16).requires_grad_() for tokens in (5, 7, 7)
    ]


def _attention(inputs: list[torch.Tensor], options: dict[str, Any]) -> list[torch.Tensor]:
    query, key, value = inputs
    output = F.scaled_dot_product_attention(query, key, value, **options)
    return [output, *torch.autograd.grad(output.double().square().sum(), inputs)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_and_gradients_are_those_of_double_precision(options: dict[str, Any]) -> None:
    inputs = _queries_keys_values()
    exact = {
        name: value.double() if name == "attn_mask" and value.is_floating_point() else value
        for name, value in options.items()
    }
    rounded = {
        name: value.bfloat16() if name == "attn_mask" and value.is_floating_point() else value
        for name, value in options.items()
    }
    expected = _attention([one.detach().double().requires_grad_() for one in inputs], exact)
    with QuickAttention():
        found = _attention(inputs, rounded)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one.double(), other, rtol=0.05, atol=0.05)


def _kernels(network: Any, *inputs: torch.Tensor, **options: Any) -> set[str]:
    """Return which kernels of attention a network uses in autocast."""
    with (
        profile(activities=[ProfilerActivity.CPU]) as profiled,
        torch.autocast("cpu", torch.bfloat16),
        QuickAttention(),
    ):
        network(*inputs, **options)
    return {event.key for event in profiled.key_averages()} & {USUAL, QUICK}


def test_it_is_used_by_functions_and_layers_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = _queries_keys_values()
    layer, images = nn.MultiheadAttention(8, 2), torch.randn(5, 3, 8)
    assert _kernels(F.scaled_dot_product_attention, *inputs) == {QUICK}
    assert _kernels(layer, images, images, images, need_weights=False) == {QUICK}
    monkeypatch.setattr(attention, "_MOST_SCORES", 2 * 3 * 5 * 7 - 1)
    assert _kernels(F.scaled_dot_product_attention, *inputs) == {USUAL}
    monkeypatch.setattr(attention, "_MOST_SCORES", 3 * 2 * 5 * 5 - 1)
    assert _kernels(layer, images, images, images, need_weights=False) == {USUAL}


@pytest.mark.parametrize("allowed", [False, True])
def test_torchs_settings_stay_as_they_were(allowed: bool) -> None:
    settings: Any = torch.backends.cuda
    before = settings.fp16_bf16_reduction_math_sdp_allowed()
    settings.allow_fp16_bf16_reduction_math_sdp(allowed)
    try:
        with QuickAttention(), pytest.raises(RuntimeError):
            F.scaled_dot_product_attention(torch.ones(2, 2, 3), torch.ones(2, 2, 4), torch.ones(2, 2, 3))
        assert settings.fp16_bf16_reduction_math_sdp_allowed() is allowed
    finally:
        settings.allow_fp16_bf16_reduction_math_sdp(before)
