"""What an export has of a network: what is left without its dead neurons, where that makes it smaller, or all of it."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from slt_compress.data.batches import blank
from slt_compress.errors import UnreachableError, VerificationError
from slt_compress.onnx_export.sliced_functions import Kept
from slt_compress.onnx_export.trace import generated_names
from slt_compress.structure.macs import count_macs
from slt_compress.structure.removal import has_closed_slices
from slt_compress.ticket.restore import without_dead
from slt_compress.ticket.ticket import Ticket

_WORTH_IT = 0.9  # of the parameters left: where less goes, what says what goes takes more bytes than it had


@dataclass(frozen=True)
class Left:
    """What is left of a network.

    Attributes:
        module: computes what the whole network does; its parameters have the names of the whole network's.
        generated: names of its gated weights and embeddings.
        kept: the indices that are left along the axes of a parameter or buffer that is cut, by name and axis.
        neurons, removed_neurons: how many could go, and how many have; None where dead neurons were not looked for.
        whole_parameters, parameters: of the whole network, and of what is left.
        whole_macs, macs: multiply-accumulate operations of an example, of both.
    """

    module: nn.Module
    generated: tuple[str, ...]
    kept: Mapping[str, Kept] = field(default_factory=dict)
    neurons: int | None = None
    removed_neurons: int | None = None
    whole_parameters: int = 0
    parameters: int = 0
    whole_macs: int = 0
    macs: int = 0


def whole(module: nn.Module, ticket: Ticket) -> Left:
    """Return all of the module restored from a ticket."""
    parameters, macs = _parameters(module), _macs(module, ticket)
    return Left(
        module=module,
        generated=generated_names(module),
        whole_parameters=parameters,
        parameters=parameters,
        whole_macs=macs,
        macs=macs,
    )


def left_of(module: nn.Module, ticket: Ticket, multiple: int = 1) -> Left:
    """Return what is left of the module restored from a ticket; `multiple` as in `removal.remove_dead`.

    It is all of it where no layer has a closed input or output, where torch cannot trace the network by itself or a
    smaller one computes something else, and where too little would go for what it takes to write down.
    """
    every = whole(module, ticket)
    if has_closed_slices(module):
        with contextlib.suppress(UnreachableError, VerificationError):
            smaller = without_dead(ticket, module, multiple)
            parameters = _parameters(smaller.module)
            if smaller.removed and parameters <= _WORTH_IT * every.parameters:
                present = {name for name, _ in smaller.module.named_parameters(remove_duplicate=False)}
                return replace(
                    every,
                    module=smaller.module,
                    generated=tuple(name for name in every.generated if name in present),
                    kept=smaller.kept,
                    neurons=smaller.neurons,
                    removed_neurons=smaller.removed,
                    parameters=parameters,
                    macs=_macs(smaller.module, ticket),
                )
    return every


def _macs(module: nn.Module, ticket: Ticket) -> int:
    return count_macs(module, blank(ticket.provenance.inputs))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
