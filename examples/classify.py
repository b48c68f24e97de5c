"""Restore a ticket and classify images with it.

slt-compress search lenet-300-100 --dataset digits --output ticket.safetensors
python examples/classify.py ticket.safetensors image.png …
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import functional as transforms

from slt_compress import Ticket


def main(ticket_file: str, *files: str) -> None:
    ticket = Ticket.load(ticket_file)
    module = ticket.restore()
    expected = ticket.provenance.preprocessing
    assert expected, "a ticket of a network for images"
    for file in files:
        with Image.open(file) as image:
            resized = image.convert("L" if expected.channels == 1 else "RGB").resize((expected.size,) * 2)
        pixels = transforms.normalize(transforms.to_tensor(resized), expected.mean, expected.std)
        with torch.no_grad():
            probabilities = module(pixels.unsqueeze(0)).softmax(1)[0]
        best = int(probabilities.argmax())
        print(f"{Path(file).name}: {ticket.provenance.classes[best]} ({probabilities[best]:.1%})")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
