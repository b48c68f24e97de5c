"""A ticket on digits with its reference, and the test images as files in class folders."""

from pathlib import Path

import pytest

from slt_compress.ticket.ticket import Ticket
from tests.support.references import with_reference, write_pictures


@pytest.fixture(scope="session")
def referred(ticket: Ticket) -> Ticket:
    return with_reference(ticket)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """360 images in folders 0 to 9."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))
