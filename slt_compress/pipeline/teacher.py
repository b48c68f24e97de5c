"""Trained networks to learn from: of a ticket, or of a file of weights."""

from collections.abc import Mapping
from pathlib import Path

import torch

from slt_compress.models.spec import ModelSpec
from slt_compress.pipeline.prepare import Prepared
from slt_compress.pipeline.weights_file import holds_ticket, read_weights, set_values
from slt_compress.ticket.ticket import Ticket
from slt_compress.training.distillation import Teacher


def open_teacher(path: Path, prepared: Prepared) -> Teacher:
    """Return the teacher of a file: a ticket, or trained weights of the same network.

    Raises DataError if it cannot be read, UsageError if these weights are not the network's.
    """
    given = Ticket.load(path) if holds_ticket(path) else read_weights(path)
    return teacher_of(given, prepared, path.name)


def teacher_of(given: Ticket | Mapping[str, torch.Tensor], prepared: Prepared, name: str = "") -> Teacher:
    """Return the teacher of a ticket, or of trained weights of the same network."""
    source = prepared.source
    if isinstance(given, Ticket):
        named = isinstance(given.provenance.model, ModelSpec)
        module = given.restore() if named else given.apply_to(source.build())
        name = name or given.provenance.model.title
    else:
        module = source.build()
        set_values(module, given, source.name)
    return Teacher(module.to(prepared.device).eval(), name or source.name, prepared.run.precision)
