"""A ticket on digits with its reference, and the test images as files in class folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slt_compress.monitoring.observe import observe_split
from slt_compress.ticket.held_out import Reference
from slt_compress.ticket.ticket import Ticket
from tests.support.digits import CPU, DIGITS, PREPROCESSING, VALIDATION


@pytest.fixture(scope="session")
def referred(ticket: Ticket) -> Ticket:
    seen = observe_split(ticket.restore(), VALIDATION, PREPROCESSING, CPU)
    return ticket.with_reference(Reference.of(seen.quantities, seen.predicted, seen.labels, 10))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """360 images in folders 0 to 9."""
    folder = tmp_path_factory.mktemp("pictures")
    images, labels = next(DIGITS.read("test", 8).batches(1000))
    assert len(labels) == 360
    for place, (image, label) in enumerate(zip(images.numpy(), labels.tolist(), strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        Image.fromarray(np.asarray(image[0])).save(folder / str(label) / f"{place:03}.png")
    return folder
