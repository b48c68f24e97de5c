"""The network as a graph of torch's operators, with a batch of any size."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from slt_compress.errors import UnreachableError
from slt_compress.models.quiet import quiet

if TYPE_CHECKING:
    from torch.fx import GraphModule


def trace(module: nn.Module, examples: Sequence[torch.Tensor], name: str) -> "GraphModule":
    """Return the graph of a module in evaluation mode on the CPU. Its parameters are shared, and keep their names.

    Args:
        module: the network.
        examples: inputs, of two examples each.
        name: of the network, for messages.

    Raises UnreachableError, with torch's reason, if torch cannot trace it.
    """
    shapes = any_batch(module, len(examples), torch.export.Dim("batch"))
    try:
        with quiet(), every_operator():
            program = torch.export.export(module, tuple(examples), dynamic_shapes=shapes, strict=False)
            graph: GraphModule = program.module()
            _drop_guards(graph)
    except Exception as error:  # whatever the user's code or torch raises
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise UnreachableError(
            f"torch cannot trace {name}, so its neurons are not known ({type(error).__name__}: {reason[:200]}); "
            "`granularity=weight` works without"
        ) from error
    return graph


@contextlib.contextmanager
def every_operator() -> Iterator[None]:
    """Let torch's transformer layers run operator by operator: the fast path is one that hides the heads."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _drop_guards(graph: "GraphModule") -> None:
    """Remove the checks that inputs are as those traced: a cut network is no longer what they are about."""
    for node in graph.graph.find_nodes(op="call_module", target="_guards_fn"):
        graph.graph.erase_node(node)
    graph.recompile()


def attribute(graph: nn.Module, name: str) -> torch.Tensor:
    """Return the parameter or buffer that a graph reads by this name."""
    path, _, last = name.rpartition(".")
    found: torch.Tensor = getattr(graph.get_submodule(path), last)
    return found


def any_batch(module: nn.Module, count: int, batch: Any) -> Any:
    """Return the batch as what differs in each input; those in `*inputs` of `forward` are one argument for torch."""
    bound = inspect.signature(module.forward).bind(*({0: batch},) * count)
    return tuple(bound.arguments.values())
