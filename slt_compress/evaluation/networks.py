"""Networks to be measured, whatever they are stored as: a ticket under torch, or an exported file under onnxruntime."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from slt_compress.data.batches import Feed, as_given
from slt_compress.errors import UsageError
from slt_compress.evaluation.accuracy import Classifier, torch_classifier
from slt_compress.hub.download import located
from slt_compress.models.source import Given, own_source
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.training import malloc
from slt_compress.training.device import choose_device

TORCH, ONNXRUNTIME = "torch", "onnxruntime"


@dataclass(frozen=True)
class Network:
    """A network that can classify.

    Attributes:
        classifier: turns prepared inputs into outputs, such as logits.
        feed: prepares the inputs of a split for it, such as uint8 images (n, channels, size, size).
        record: what is known of it.
        backend: what runs it, "torch" or "onnxruntime".
        device: where its inputs are to be.
        module: the network of a ticket; None of an exported file.
    """

    classifier: Classifier
    feed: Feed
    record: NetworkRecord
    backend: str
    device: torch.device
    module: nn.Module | None = None


def open_network(file: Ticket | str | Path, device: str = "auto", source: Given | None = None) -> Network:
    """Open a ticket, the file of one, or an exported `.onnx` file, which always runs on the CPU.

    Args:
        file: what to open, here or on the hub.
        device: where a ticket's network computes.
        source: the user's module, or the function that builds it, for a ticket of one.

    Raises TicketError, or VerificationError for an `.onnx` file, if it is not what it should be, and UsageError for a
    device that torch does not find or a source where none is needed.
    """
    if not isinstance(file, Ticket):
        file = located(file)
    if not isinstance(file, Ticket) and is_onnx(file):
        if source is not None:
            raise UsageError(f"{file} has its network within it: it needs no `source`")
        from slt_compress.evaluation.onnxruntime_backend import OnnxClassifier

        classifier = OnnxClassifier(file)
        classifier.check_outputs()
        return Network(classifier, classifier.feed, classifier.record, ONNXRUNTIME, torch.device("cpu"))
    target = choose_device(device)
    if target.type == "cpu":
        malloc.keep_freed_memory()
    ticket = file if isinstance(file, Ticket) else Ticket.load(file)
    module = module_of(ticket, source)
    feed: Feed = ticket.provenance.preprocessing or as_given
    return Network(torch_classifier(module, target), feed, NetworkRecord.of(ticket), TORCH, target, module)


def module_of(ticket: Ticket, source: Given | None = None) -> nn.Module:
    """Return the network of a ticket, in evaluation mode on the CPU.

    `source` is the user's module, or the function that builds it, for a ticket of one; it is never taken from the
    ticket. Raises TicketError without it, or if it builds another network.
    """
    return ticket.restore() if source is None else ticket.apply_to(own_source(source).build())


def is_onnx(path: str | Path) -> bool:
    """Return whether a file is an exported one, by its name."""
    return Path(path).suffix.lower() == ".onnx"
