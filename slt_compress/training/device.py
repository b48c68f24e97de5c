"""Where a job computes, and with what arithmetic."""

import torch

from slt_compress.errors import UsageError

BF16, FP32 = "bf16", "fp32"


def devices() -> dict[str, bool]:
    """Return whether torch finds each kind of device on this machine, the one to prefer first."""
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}


def choose_device(name: str) -> torch.device:
    """Return the device of this name; "auto" takes a GPU if torch finds one. Raises UsageError if it finds none.

    On an Nvidia GPU convolutions then have the full precision of fp32, and the same result every time.
    """
    present = devices()
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    if name not in present:
        raise UsageError(f"`device` must be auto, {', '.join(present)}, got {name!r}")
    if not present[name]:
        raise UsageError(f"`device={name}`: torch finds none on this machine; use `device=cpu`")
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return "fp32" or "bf16", the arithmetic of a search; "auto" takes bf16 on a GPU that has it."""
    if name == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return BF16 if has_bf16 else FP32
    return name
