"""Small images to search on: of two colours that a network can tell apart, so that a few steps are enough."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 40, 40), "blue": (40, 40, 200)}


def picture(name: str, seed: int, size: int = 8) -> Image.Image:
    """Return a noisy image of a colour, or of the colours that are joined by a plus, one above the other."""
    noise = np.random.default_rng(seed).integers(0, 40, (size, size, 3))
    names = name.split("+") if name else []
    pixels = np.zeros((size, size, 3), int)
    for index, colour in enumerate(names):
        pixels[index * size // len(names) :] = COLOURS[colour]
    return Image.fromarray((pixels + noise).astype(np.uint8))


def save_picture(path: Path, name: str, seed: int, size: int = 8) -> None:
    """Save such an image, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(name, seed, size).save(path)


def write_listing(folder: Path, cells: list[str], splits: list[str] | None = None) -> Path:
    """Write an image for each cell of labels, and the CSV file that lists them."""
    lines = ["path,label,split" if splits else "path,label"]
    for index, cell in enumerate(cells):
        save_picture(folder / "images" / f"{index}.png", cell.replace(";", "+"), index)
        lines.append(f"images/{index}.png,{cell}" + (f",{splits[index]}" if splits else ""))
    file = folder / "list.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def write_folder(folder: Path, train: int = 6, test: int = 3) -> Path:
    """Write `train/` and `test/`, each with so many images of either colour."""
    for part, count in (("train", train), ("test", test)):
        for number, name in enumerate(COLOURS):
            for index in range(count):
                save_picture(
                    folder / part / name / f"{index}.png", name, 1000 * number + index + (part == "test") * 500
                )
    return folder
