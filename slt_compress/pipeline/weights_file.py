"""Files of weights and of masks, by tensor name: safetensors, or what torch has saved, read without running code."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from slt_compress import files
from slt_compress.errors import DataError, UsageError, few, first_line
from slt_compress.hub.download import located
from slt_compress.models.quiet import quiet
from slt_compress.ticket.container import KEY

_COUNTER = "num_batches_tracked"
_WRAPPERS = ("state_dict", "model", "model_state_dict")  # keys that training scripts keep a state dict under
_PREFIXES = ("module.", "_orig_mod.")  # of every name, where DataParallel or torch.compile wraps the network


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a .safetensors file, or of a file of `torch.save`, which is not allowed to run code. It may
    be on the Hugging Face hub: hf://OWNER/NAME/FILE.

    Raises UsageError if there is no such file, DataError, naming it, if it cannot be read or holds no tensors, and what
    `hub.download.located` does.
    """
    path = located(path)
    files.check_readable(path, "tensors by name, such as a state dict in safetensors")
    if holds_ticket(path):
        raise DataError(
            f"{path} is a ticket, expected tensors by name, such as a state dict; what a ticket keeps is trained with "
            "the ticket in the place of the network"
        )
    try:
        with quiet():
            found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}") from error
    except Exception as error:  # what torch raises for a file that is not its own, or that would run code
        raise DataError(
            f"{path} cannot be read as tensors by name ({type(error).__name__}): save the state dict with "
            "safetensors.torch.save_file(model.state_dict(), FILE.safetensors)"
        ) from error
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = plain_tensors(found, str(path))
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def plain_tensors(found: object, origin: str) -> dict[str, torch.Tensor]:
    """Return tensors by name, as float32 on the CPU, of a file or from a caller, whatever these hold.

    Raises DataError, naming the origin, for what is none, and for tensors without an array of real numbers.
    """
    given = found if isinstance(found, Mapping) else {}
    if not given or not all(isinstance(name, str) and isinstance(one, torch.Tensor) for name, one in given.items()):
        raise DataError(f"{origin} holds no state dict: expected tensors by name")
    for name, one in given.items():
        dense = one.layout is torch.strided and not one.is_quantized and not one.is_meta
        if not dense or one.is_complex():
            kind = "meta" if one.is_meta else str(one.dtype if one.layout is torch.strided else one.layout)
            raise DataError(f"{origin} holds {name} as {kind}, expected dense tensors of real numbers")
    return {name: one.detach().to("cpu", torch.float32) for name, one in given.items()}


def holds_ticket(path: Path) -> bool:
    """Return whether a file is a ticket, by what its header says. A file that cannot be read is none."""
    try:
        if path.suffix != ".safetensors" or not path.is_file():
            return False
        with safe_open(path, "np") as file:
            return set(file.metadata() or {}) == {KEY}
    except (SafetensorError, OSError):
        return False


def set_values(module: nn.Module, values: Mapping[str, torch.Tensor], name: str, option: str = "weights") -> None:
    """Give a module the values of a state dict, which came as this option.

    Raises UsageError, naming the first few, for tensors that are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    wanted = {key: tensor for key, tensor in own.items() if not key.endswith(_COUNTER)}
    given = {key: tensor for key, tensor in values.items() if not key.endswith(_COUNTER)}
    missing = [key for key in wanted if key not in given]
    unexpected = [key for key in given if key not in wanted]
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in given and given[key].shape != tensor.shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if problems := [f"{what}: {few(keys)}" for what, keys in found.items() if keys]:
        raise UsageError(f"the tensors of `{option}` are not those of {name}: {'; '.join(problems)}")
    bad = [key for key, tensor in given.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise UsageError(f"the tensors of `{option}` are not all finite numbers: {few(bad)}")
    with torch.no_grad():
        for key, tensor in own.items():
            if key in given:
                tensor.copy_(given[key])
