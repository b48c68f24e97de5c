"""Small images to search on: of two colours that a network can tell apart, so that a few steps are enough."""

import itertools
import struct
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


def cmyk_profile() -> bytes:
    """Return an ICC profile of inks: each is a colour of CIELAB, and two or more of them are nearly black."""
    inks: dict[tuple[int, ...], tuple[int, int, int]] = {
        (0, 0, 0, 0): (100, 0, 0),
        (1, 0, 0, 0): (60, -20, -43),
        (0, 1, 0, 0): (50, 70, 0),
        (0, 0, 1, 0): (90, 0, 90),
    }
    corners = (inks.get(corner, (10, 0, 0)) for corner in itertools.product((0, 1), repeat=4))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack(">9I", *(65536 * (i % 4 == 0) for i in range(9)))
    table += bytes(range(256)) * 4
    table += b"".join(bytes((round(light * 2.55), red + 128, yellow + 128)) for light, red, yellow in corners)
    table += bytes(range(256)) * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3I", 63190, 65536, 54061)
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(79)
    tags, directory, place = b"", b"", 128 + 4 + 3 * 12
    for key, content in ((b"desc", name), (b"wtpt", white), (b"A2B0", table)):
        padded = content + bytes(-len(content) % 4)
        directory += key + struct.pack(">II", place + len(tags), len(content))
        tags += padded
    header = struct.pack(">I4sI4s4s4s", place + len(tags), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white[8:] + bytes(48)
    assert len(header) == 128
    return header + struct.pack(">I", 3) + directory + tags


def write_folder(folder: Path, train: int = 6, test: int = 3) -> Path:
    """Write `train/` and `test/`, each with so many images of either colour."""
    for part, count in (("train", train), ("test", test)):
        for number, name in enumerate(COLOURS):
            for index in range(count):
                save_picture(
                    folder / part / name / f"{index}.png", name, 1000 * number + index + (part == "test") * 500
                )
    return folder
