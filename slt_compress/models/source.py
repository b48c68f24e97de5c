"""Where a network comes from: a name that this package can build, or a module or a function of the user's."""

import copy
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from slt_compress.errors import UsageError
from slt_compress.masking.parameters import gated_names, other_statistic_names
from slt_compress.models import external
from slt_compress.models.registry import build_model, full_name, library_version
from slt_compress.models.spec import ModelSpec, PythonModel

Given = nn.Module | Callable[[], nn.Module]  # what a user passes: a module, or a function or class that makes one

_MOST_COPIED_BYTES = 1 << 16  # of the buffers of a passed module, all of which a ticket has to store


@dataclass(frozen=True)
class NetworkSource:
    """Builds a network, the same one every time.

    Attributes:
        name: for people.
        spec: what a ticket records of it.
        library: name and version of what builds it.
        build: returns a new module on the CPU, in evaluation mode and without dropout.
        repeats: whether `build` constructs the network anew, and does not copy one.
    """

    name: str
    spec: ModelSpec | PythonModel
    library: str
    build: Callable[[], nn.Module]
    repeats: bool = True

    @property
    def is_named(self) -> bool:
        """Whether this package can build it from its spec, without the user's code."""
        return isinstance(self.spec, ModelSpec)

    def unsettled_buffers(self, module: nn.Module) -> list[str]:
        """Return the names of the floating-point buffers of a searched module, other than running statistics, that
        a new build does not have with the same values. A ticket has to store them.

        Raises UsageError, naming the buffer, for one that cannot be stored.
        """
        names = other_statistic_names(module)
        if self.repeats:
            settled = dict(self.build().named_buffers())
            for name, buffer in module.named_buffers():
                known = settled.get(name)
                if name in names or name.endswith(("running_mean", "running_var", "num_batches_tracked")):
                    continue
                if not _equal(known, buffer):
                    kind = "an integer" if not buffer.is_floating_point() else "not persistent"
                    raise UsageError(
                        f"the buffer {name} of {self.name} differs from build to build or changes in training, "
                        f"and a ticket cannot store it: it is {kind}"
                    )
            return [name for name in names if not _equal(settled.get(name), module.get_buffer(name))]
        if sum(module.get_buffer(name).nbytes for name in names) > _MOST_COPIED_BYTES:
            raise UsageError(
                f"the buffer {max(names, key=lambda name: module.get_buffer(name).nbytes)} of {self.name} is too "
                "large for a ticket; pass a function that builds the network, to show that it rebuilds the buffer too"
            )
        return names


def named_source(spec: ModelSpec) -> NetworkSource:
    """Return the source of a network by name."""
    return NetworkSource(full_name(spec), spec, library_version(spec), lambda: build_model(spec))


def own_source(given: Given) -> NetworkSource:
    """Return the source of a user's network. What is passed is copied, and stays as it is.

    Raises UsageError if it is no network, if building it fails, or if it has weights that no rule can set.
    """
    if isinstance(given, nn.Module):
        name = _name(type(given))
        repeats, first = False, given
    elif callable(given):
        name = _name(given)
        first = _call(given, name)
        repeats = _call(given, name) is not first
    else:
        raise UsageError(f"a network is a name, a torch module or a function that builds one, got {given!r}")

    _check(first, name)

    def build() -> nn.Module:
        module = _call(given, name) if repeats and not isinstance(given, nn.Module) else _copy(first, name)
        module = module.cpu().eval()
        external.silence(module)
        return module

    return NetworkSource(name, PythonModel(name), f"torch {torch.__version__}", build, repeats)


def _equal(known: torch.Tensor | None, found: torch.Tensor) -> bool:
    return known is not None and torch.equal(known, found.cpu())


def _call(function: Callable[[], nn.Module], name: str) -> nn.Module:
    try:
        module = function()
    except Exception as error:  # the user's code
        raise UsageError(f"the network {name} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"{name} must return a torch module, got a {type(module).__name__}")
    return module


def _copy(module: nn.Module, name: str) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # the user's code: a lock, an open file, a tensor of a graph
        raise UsageError(
            f"{name} cannot be copied ({type(error).__name__}: {error}): pass a function that builds it"
        ) from error


def _name(named: object) -> str:
    """Return a name for people: the file's stem and the function, without a path."""
    stem = str(getattr(named, "__module__", "")).rpartition(".")[2]
    if stem == "__main__":
        stem = Path(getattr(sys.modules[stem], "__file__", stem)).stem
    full = f"{stem}:{getattr(named, '__qualname__', type(named).__qualname__)}"
    return re.sub(r"[^\w.:<>-]", "_", full, flags=re.ASCII)[:200]


def _check(module: nn.Module, name: str) -> None:
    """Raise UsageError, naming the place, if a parameter of the module cannot be set by a rule."""
    for path, layer in module.named_modules():
        if isinstance(layer, nn.PReLU) and not torch.equal(layer.weight, layer.weight[:1].expand_as(layer.weight)):
            raise UsageError(f"the slopes of {path or 'the PReLU'} in {name} differ: a ticket stores one for all")
        if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
            raise UsageError(f"{name} has a recurrent layer, {path or 'itself'}: its weights cannot be gated")
    for path, parameter in module.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise UsageError(f"{path} of {name} has no shape yet: pass a batch through the network first")
        if parameter.dtype != torch.float32 or parameter.is_meta:
            kind = "no values" if parameter.is_meta else str(parameter.dtype).removeprefix("torch.")
            raise UsageError(f"{path} of {name} must be float32, it has {kind}")
    gated = gated_names(module)
    if not gated:
        raise UsageError(f"{name} has no linear, convolutional or attention layer: there is nothing to search")
    for path in gated:
        try:
            module.get_parameter(path)
        except AttributeError as error:
            raise UsageError(f"{path} of {name} is computed from other parameters: it cannot be gated") from error
