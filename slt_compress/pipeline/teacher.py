"""Trained networks to learn from: of a ticket, or of a file of weights."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from slt_compress.data.batches import CPU, call, move
from slt_compress.data.own import first_batch
from slt_compress.errors import UsageError, first_line
from slt_compress.hub.download import located
from slt_compress.models.spec import ModelSpec
from slt_compress.pipeline.prepare import Prepared
from slt_compress.pipeline.weights_file import holds_ticket, plain_tensors, read_weights, set_values
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.distillation import Teacher

_TRIED = 8  # examples


def open_teacher(path: Path, prepared: Prepared) -> Teacher:
    """Return the teacher of a file, here or on the hub: a ticket, or trained weights of the same network.

    Raises DataError if it cannot be read, UsageError if there is none, or it is not one for this network.
    """
    path = located(path)
    given = Ticket.load(path) if holds_ticket(path) else read_weights(path)
    return teacher_of(given, prepared, path.name)


def teacher_of(given: Ticket | Mapping[str, torch.Tensor], prepared: Prepared, name: str = "") -> Teacher:
    """Return the teacher of a ticket, or of trained weights of the same network.

    Raises UsageError if it cannot take what the network takes.
    """
    source = prepared.source
    if isinstance(given, Ticket):
        name = name or given.provenance.model.title
        _check_images(given, prepared, name)
        named = isinstance(given.provenance.model, ModelSpec)
        module = given.restore() if named else given.apply_to(source.build())
    else:
        module = source.build()
        set_values(module, plain_tensors(given, "`teacher`"), source.name, "teacher")
        name = name or source.name
    _try_out(module.eval(), prepared, name)
    return Teacher(module.to(prepared.device), name, prepared.run.precision)


def _check_images(ticket: Ticket, prepared: Prepared, name: str) -> None:
    """Raise UsageError for a teacher that was made for images of another size, which some would take all the same."""
    theirs, ours = ticket.provenance.preprocessing, prepared.preprocessing
    if theirs and ours and (theirs.size, theirs.channels) != (ours.size, ours.channels):
        raise UsageError(
            f"`teacher`, {name}, takes images of {theirs.size} px with {theirs.channels} channels, the network of "
            f"{ours.size} px with {ours.channels}: give both the same `input_size`"
        )


def _try_out(module: nn.Module, prepared: Prepared, name: str) -> None:
    """Raise UsageError for a teacher that makes no finite logits of a few training examples."""
    inputs = prepared.run.feed(move(first_batch(prepared.run.train, "train", _TRIED)[0], CPU))
    try:
        with torch.no_grad():
            outputs = call(module, inputs)
    except Exception as error:  # whatever a network raises for inputs that are not its own
        raise UsageError(
            f"`teacher`, {name}, cannot take what the network takes ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2:
        raise UsageError(f"`teacher`, {name}, gives no logits: expected one tensor with a row for each example")
    if not bool(torch.isfinite(outputs).all()):
        raise UsageError(f"`teacher`, {name}, gives logits that are not finite")
