"""A user's own images: `train/` and `test/` (or `val/`), each with a folder per class."""

from collections.abc import Sequence
from pathlib import Path

import torch

from slt_compress.data.images import ImageFiles, as_dataset
from slt_compress.data.splits import Dataset
from slt_compress.errors import DataError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}


def open_image_folder(folder: Path) -> Dataset:
    """Open a folder of images. Raises DataError, naming the place, if it is not laid out as expected."""
    train_folder = _part_folder(folder, ("train",))
    test_folder = _part_folder(folder, ("test", "val"))
    classes = tuple(sorted(entry.name for entry in train_folder.iterdir() if entry.is_dir()))
    if len(classes) < 2:
        raise DataError(f"{train_folder} needs a folder for each of at least two classes, found {len(classes)}")
    return as_dataset(
        "imagefolder", classes, {"train": _list_files(train_folder, classes), "test": _list_files(test_folder, classes)}
    )


def _part_folder(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise DataError(f"{folder} has no folder {' or '.join(f'{name}/' for name in names)} with a folder per class in it")


def _list_files(root: Path, classes: Sequence[str]) -> tuple[ImageFiles, torch.Tensor]:
    extra = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name not in classes)
    if extra:
        raise DataError(f"{root} has class folders that train/ has not: {', '.join(extra[:5])}")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = (
            sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in _SUFFIXES)
            if (root / name).is_dir()
            else []
        )
        if not images:
            raise DataError(f"{root / name} holds no images ({', '.join(sorted(_SUFFIXES))})")
        files += images
        labels += [label] * len(images)
    return ImageFiles(files), torch.tensor(labels)
