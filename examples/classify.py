"""Restore a ticket and classify images with it.

slt-compress search lenet-300-100 --dataset digits --output ticket.safetensors
python examples/classify.py ticket.safetensors image.png …
"""

import sys
from pathlib import Path

import torch

from slt_compress import SltError, Ticket


def main(ticket_file: str, *files: str) -> None:
    ticket = Ticket.load(ticket_file)
    module = ticket.restore()
    prepare = ticket.provenance.preprocessing
    assert prepare, "a ticket of a network for images"
    for file in files:
        images = prepare.open(file)  # uint8 (1, channels, size, size), as in the training
        with torch.no_grad():
            probabilities = module(prepare(images)).softmax(1)[0]
        best = int(probabilities.argmax())
        print(f"{Path(file).name}: {ticket.provenance.classes[best]} ({probabilities[best]:.1%})")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        main(*sys.argv[1:])
    except SltError as error:
        sys.exit(str(error))
