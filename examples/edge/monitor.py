"""Classify images, and count what the network sees of them. Needs numpy, pillow and onnxruntime, and classify.py.

    python monitor.py ticket.onnx histogram.json image.png …

The file has to come from a ticket of `slt-compress search --reference`: it then holds how the network saw held-out
images, as edges of a few bins for each quantity. This script counts into the same bins, and adds to what
histogram.json holds already. That file has a few hundred bytes, and no image can be told from it. Send it home, where

    slt-compress monitor ticket.onnx --merge histogram.json …

adds up what all devices have sent, and tells whether the network still sees what it was made for.

In a program of your own, make a `Histogram` of what `classify.load` returns, call `add` with each batch, and now and
then `save`. docs/ticket-format-2.md, section 9, has the bytes that `read_reference` reads.
"""

import base64
import hashlib
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import classify  # type: ignore[import-not-found]  # it lies beside this file
import numpy as np
import numpy.typing as npt

FORMAT = "slt-compress histogram"
QUANTITIES = (
    *("probability", "margin", "entropy", "largest_logit", "input_mean", "input_contrast"),
    *("feature_mean", "feature_std", "feature_norm"),  # which an exported file does not give
)
MAX_GROUPS = 48


class Histogram:
    """Counts of images in the bins of a file's reference."""

    def __init__(self, recorded: dict[str, Any]) -> None:
        """Raises ValueError if the file has no reference."""
        if "held_out" not in recorded:
            raise ValueError("the file holds no reference: search the ticket with --reference")
        content = base64.b64decode(recorded["held_out"])
        self.edges, self.groups = read_reference(content)
        self.classes = len(recorded["classes"])
        self.fields: dict[str, Any] = {
            "format": FORMAT,
            "reference": hashlib.sha256(content).hexdigest()[:16],
            "images": 0,
            "quantities": {name: [0] * (len(edges) + 1) for name, edges in self.edges.items()},
            "classes": [0] * self.groups,
        }

    def add(self, logits: npt.NDArray[Any], pixels: npt.NDArray[np.uint8]) -> None:
        """Count images by their logits, (n, classes), and their pixels, (n, size, size, channels)."""
        for name, values in quantities(logits, pixels).items():
            if name in self.edges:
                counts = self.fields["quantities"][name]
                for place in np.searchsorted(self.edges[name], values, side="right"):
                    counts[place] += 1
        predicted = logits.argmax(1)
        for group in predicted if self.classes <= MAX_GROUPS else predicted * MAX_GROUPS // self.classes:
            self.fields["classes"][group] += 1
        self.fields["images"] += len(logits)

    def load(self, file: Path) -> None:
        """Go on from what a file holds. Raises ValueError if it counts in other bins."""
        kept = json.loads(file.read_text())
        same = ("format", "reference")
        if not isinstance(kept, dict) or any(kept.get(key) != self.fields[key] for key in same):
            raise ValueError(f"{file} is no histogram of this network: start another file")
        self.fields = kept

    def save(self, file: Path) -> None:
        """Write the counts; a loss of power leaves the old file or the new."""
        part = file.with_name(f"{file.name}.part")
        with part.open("w") as written:
            written.write(json.dumps(self.fields, separators=(",", ":")))
            written.flush()
            os.fsync(written.fileno())
        part.replace(file)


def quantities(logits: npt.NDArray[Any], pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
    """Return what is counted of images, each (n,)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    probabilities = np.exp(logs)
    ranked = np.sort(probabilities, 1)
    flat = pixels.reshape(len(pixels), -1) / 255
    values = {
        "probability": ranked[:, -1],
        "margin": ranked[:, -1] - ranked[:, -2],
        "entropy": -(probabilities * logs).sum(1),
        "largest_logit": logits.max(1),
        "input_mean": flat.mean(1),
        "input_contrast": flat.std(1),
    }
    return {name: column.astype(np.float32).astype(np.float64) for name, column in values.items()}


def read_reference(content: bytes) -> tuple[dict[str, npt.NDArray[np.float64]], int]:
    """Return the edges of each quantity that can be counted here, and the number of groups of classes."""
    _, groups, _, number = struct.unpack_from("<HBBB", content)
    edges, at = {}, 5
    for _ in range(number):
        place, count = content[at], content[at + 1]
        edges[QUANTITIES[place]] = np.frombuffer(content, "<f2", count, at + 2).astype(np.float64)
        at += 2 + 2 * count + 2 * (count + 1)
    return {name: found for name, found in edges.items() if not name.startswith("feature")}, groups


def main(model: str, histogram: str, *files: str) -> None:
    session, recorded = classify.load(model)
    file = Path(histogram)
    try:
        counted = Histogram(recorded)
        if file.exists():
            counted.load(file)
    except (ValueError, OSError) as error:
        sys.exit(f"{model}, {histogram}: {error}")
    for name in files:
        try:
            pixels = classify.read(name, recorded)
        except ValueError as error:
            print(error, file=sys.stderr)
            continue
        images = classify.prepare(pixels, recorded)
        logits = session.run(None, {session.get_inputs()[0].name: images})[0]
        counted.add(logits, pixels)
        print(f"{name}: {recorded['classes'][int(logits[0].argmax())]}")
    counted.save(file)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    main(*sys.argv[1:])
