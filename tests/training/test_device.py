"""Devices by name, and the arithmetic that each gets."""

import pytest
import torch

from slt_compress.errors import UsageError
from slt_compress.training.device import choose_device, choose_precision


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="`device=cuda`: torch finds none on this machine; use `device=cpu`"):
            choose_device("cuda")
    with pytest.raises(UsageError, match="`device` must be auto, cuda, mps, cpu, got 'tpu'"):
        choose_device("tpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_a_gpu_if_there_is_one(cuda: bool, mps: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    assert choose_device("auto") == torch.device(chosen)
    assert torch.backends.cudnn.allow_tf32 == (chosen != "cuda")
    assert torch.backends.cudnn.deterministic == (chosen == "cuda")


@pytest.mark.parametrize(
    ("name", "device", "bf16", "chosen"),
    [
        ("auto", "cpu", True, "fp32"),
        ("auto", "mps", True, "fp32"),
        ("auto", "cuda", True, "bf16"),
        ("auto", "cuda", False, "fp32"),
        ("bf16", "cpu", False, "bf16"),
        ("fp32", "cuda", True, "fp32"),
    ],
)
def test_auto_takes_bf16_on_a_gpu_that_has_it(
    name: str, device: str, bf16: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda *, including_emulation: bf16 and not including_emulation
    )
    assert choose_precision(name, torch.device(device)) == chosen
