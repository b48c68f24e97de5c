"""An image that is no digit, what torch says of it, and where a page says the same."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from slt_compress.ticket.ticket import Ticket

ANSWER = "document.querySelector('#answer').textContent"
ROWS = "[...document.querySelectorAll('tr')].map(row => [...row.children].map(cell => cell.textContent))"


def probabilities(module: torch.nn.Module, ticket: Ticket, image: Path) -> list[float]:
    """Return what torch says of an image, in per cent."""
    prepare = ticket.provenance.preprocessing
    assert prepare
    with torch.no_grad():
        shares: list[float] = (100 * module(prepare(prepare.open(image))).softmax(1)[0]).tolist()
    return shares


def photograph(path: Path, channels: int) -> None:
    """Save an image that is no square and of odd sides, without losses."""
    draw = np.random.default_rng(0)
    coarse = Image.fromarray(draw.integers(0, 256, (6, 9, channels), dtype=np.uint8).squeeze())
    coarse.resize((61, 45), Image.Resampling.BICUBIC).save(path)
