"""Networks to be measured, whatever they are stored as: a ticket under torch, or an exported file under onnxruntime."""

from dataclasses import dataclass
from pathlib import Path

import torch

from slt_compress.evaluation.accuracy import Classifier, Feed, torch_classifier
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket
from slt_compress.training import malloc
from slt_compress.training.device import choose_device

TORCH, ONNXRUNTIME = "torch", "onnxruntime"


@dataclass(frozen=True)
class Network:
    """A network that can classify.

    Attributes:
        classifier: turns prepared images into logits.
        feed: prepares uint8 images (n, channels, size, size) for it.
        record: what is known of it.
        backend: what runs it, "torch" or "onnxruntime".
        device: where its images are to be.
    """

    classifier: Classifier
    feed: Feed
    record: NetworkRecord
    backend: str
    device: torch.device


def open_network(source: Ticket | str | Path, device: str = "auto") -> Network:
    """Open a ticket, the file of one, or an exported `.onnx` file, which always runs on the CPU.

    Raises TicketError, or VerificationError for an `.onnx` file, if it is not what it should be, and UsageError for a
    device that torch does not find.
    """
    if not isinstance(source, Ticket) and is_onnx(source):
        from slt_compress.evaluation.onnxruntime_backend import OnnxClassifier

        classifier = OnnxClassifier(Path(source))
        return Network(classifier, classifier.feed, classifier.record, ONNXRUNTIME, torch.device("cpu"))
    target = choose_device(device)
    if target.type == "cpu":
        malloc.keep_freed_memory()
    ticket = source if isinstance(source, Ticket) else Ticket.load(source)
    module = torch_classifier(ticket.restore(), target)
    return Network(module, ticket.provenance.preprocessing, NetworkRecord.of(ticket), TORCH, target)


def is_onnx(path: str | Path) -> bool:
    """Return whether a file is an exported one, by its name."""
    return Path(path).suffix.lower() == ".onnx"
