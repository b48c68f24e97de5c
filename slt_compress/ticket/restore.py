"""From a ticket back to a plain network: build or copy it, regenerate, mask, and set every value there is."""

import copy
from collections.abc import Container
from typing import TYPE_CHECKING

import torch
from torch import nn

from slt_compress.data.batches import CPU, blank
from slt_compress.errors import TicketError, UsageError
from slt_compress.masking.parameters import freeze_ungated, gated_names, statistic_names
from slt_compress.models.defaults import torch_defaults
from slt_compress.models.registry import architecture_digest, build_model, library_version
from slt_compress.models.spec import PythonModel
from slt_compress.structure.removal import Smaller, remove_dead

if TYPE_CHECKING:
    from slt_compress.ticket.ticket import Ticket

_OTHER_FLOATS = (torch.float64, torch.float16, torch.bfloat16)


@torch_defaults()
def without_dead(ticket: "Ticket", module: nn.Module, multiple: int = 1) -> Smaller:
    """Return the network restored from a ticket without its dead neurons, see `structure.removal`."""
    origin = ticket.provenance
    return remove_dead(module, blank(origin.inputs), origin.model.title, multiple=multiple)


@torch_defaults()
def restore(ticket: "Ticket") -> nn.Module:
    """Return the ticket's network in evaluation mode, in float32 on the CPU, its masked weights in place.

    Raises TicketError if the network is the user's own, or if the installed libraries build another architecture or the
    seed gives other weights than when the ticket was made.
    """
    spec = ticket.provenance.model
    if isinstance(spec, PythonModel):
        raise TicketError(
            f"the network of this ticket is your own, {spec.name}: give the function that builds it (`source`), or "
            "call Ticket.apply_to(module)"
        )
    try:
        module = build_model(spec)
    except Exception as error:  # what a library's constructor raises for arguments it was never meant for
        raise TicketError(f"the network of the ticket cannot be built: {error}") from error
    _check_tensors(ticket, module, spec.title)
    if architecture_digest(module) != ticket.provenance.architecture:
        raise TicketError(
            f"{spec.title} as built by {library_version(spec)} differs from the network of the ticket, built by "
            f"{ticket.provenance.library}: install that version"
        )
    _fill(ticket, module)
    return module


@torch_defaults()
def apply(ticket: "Ticket", module: nn.Module) -> nn.Module:
    """Return a copy of a module, in evaluation mode and in float32 on the CPU, with the values of the ticket.

    Raises UsageError if it is no module or has a buffer without values, TicketError if its architecture is not the
    ticket's, or the seed gives other weights than when the ticket was made.
    """
    name = ticket.provenance.model.title
    if not isinstance(module, nn.Module):
        raise UsageError(f"a ticket is applied to a torch module, got a {type(module).__name__}")
    _check_tensors(ticket, module, name)
    if architecture_digest(module) != ticket.provenance.architecture:
        raise TicketError(f"the module has other tensors than {name}, the network of the ticket, or in another order")
    filled = _copy(module, ticket.stored_statistics).cpu().eval()
    _fill(ticket, filled)
    return filled


def _copy(module: nn.Module, known: Container[str]) -> nn.Module:
    """Return a copy of a module, its parameters in float32, and on the CPU what has no values yet.

    A buffer of the type that parameters had follows them; another type was meant. Raises UsageError if a buffer without
    values is not among those that are known.
    """
    copies: dict[int, torch.Tensor] = {}  # as deepcopy is told what it has copied already
    others = {parameter.dtype for parameter in module.parameters()}.intersection(_OTHER_FLOATS)
    for parameter in module.parameters():
        if parameter.is_meta or parameter.dtype in others:
            empty = torch.empty(parameter.shape, dtype=torch.float32)
            copies[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
    for name, buffer in module.named_buffers():
        if buffer.is_meta:
            if name not in known and not name.endswith("num_batches_tracked"):
                raise UsageError(f"the buffer {name} of the module has no values: build the module on the CPU")
            dtype = torch.float32 if buffer.dtype in others else buffer.dtype
            copies[id(buffer)] = torch.empty(buffer.shape, dtype=dtype)
        elif buffer.dtype in others:
            copies[id(buffer)] = buffer.detach().to(CPU, torch.float32)
    return copy.deepcopy(module, copies)


def _check_tensors(ticket: "Ticket", module: nn.Module, name: str) -> None:
    """Raise TicketError, naming a few, if the module lacks tensors of the ticket, or has such that the ticket lacks.

    One tensor may have several names in the module, and the ticket may use any of them, but only one.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    shapes = {layer.name: layer.shape for layer in ticket.layers}
    shapes |= {path: stored.shape for path, stored in ticket.parameters.items()}
    wrong = [path for path, shape in shapes.items() if path not in parameters or parameters[path].shape != shape]
    wrong += [path for path in ticket.constants if path not in parameters]
    listed = [id(parameters.get(path)) for path in (*shapes, *ticket.constants)]
    wrong += [path for path in gated_names(module) if id(parameters.get(path)) not in listed]
    if wrong:
        raise TicketError(f"the layers of the ticket are not those of {name}: {', '.join(wrong[:3])}")
    if len(set(listed)) != len(listed):
        raise TicketError(f"two layers of the ticket are one tensor of {name}")
    buffers = {path: found for path, found in module.named_buffers() if found.is_floating_point()}
    statistics = {path: stored.shape for path, stored in ticket.stored_statistics.items()}
    wrong = [path for path, shape in statistics.items() if path not in buffers or buffers[path].shape != shape]
    wrong += [path for path in statistic_names(module) if path not in statistics]
    if wrong:
        raise TicketError(f"the statistics of the ticket are not those of {name}: {', '.join(wrong[:3])}")


def _fill(ticket: "Ticket", module: nn.Module) -> None:
    """Set every parameter and statistic of a module on the CPU that `_check_tensors` has passed."""
    ticket.check_weights()
    freeze_ungated(module, ticket.seed)
    with torch.no_grad():
        for name, value in ticket.constants.items():
            module.get_parameter(name).fill_(value)
        for name, stored in ticket.parameters.items():
            module.get_parameter(name).copy_(torch.from_numpy(stored.values()))
        for layer in ticket.layers:
            parameter = module.get_parameter(layer.name)
            parameter.data = torch.from_numpy(ticket.weights(layer.name)).to(parameter.dtype)
        for name, values in ticket.statistics.items():
            module.get_buffer(name).copy_(torch.from_numpy(values))
