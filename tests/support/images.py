"""What tickets and evaluations of classifiers of images are known to have, though others have none of it."""

import torch

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import TensorSplit
from slt_compress.evaluation.accuracy import Evaluation
from slt_compress.ticket.ticket import Ticket


def preprocessing_of(ticket: Ticket) -> Preprocessing:
    """Return what the images for a ticket's network are prepared with."""
    assert ticket.provenance.preprocessing is not None
    return ticket.provenance.preprocessing


def predictions_of(evaluation: Evaluation) -> torch.Tensor:
    """Return the predicted classes."""
    assert evaluation.predictions is not None
    return evaluation.predictions


def noise(ticket: Ticket, count: int) -> TensorSplit:
    """Random images for a ticket's network."""
    expected = preprocessing_of(ticket)
    shape = (count, expected.channels, expected.size, expected.size)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return TensorSplit(images, torch.randint(10, (count,), generator=generator))
