"""A user's own images: `train/` and `test/` (or `val/`), each with a folder per class."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from slt_compress.data.images import ImageFiles, as_dataset
from slt_compress.data.labels import check_forms, check_known, same_name
from slt_compress.data.splits import Dataset, Part, Reading, Wanted
from slt_compress.data.walk import LeftOut, class_folders, entries, image_files
from slt_compress.errors import DataError, few

NAME = "imagefolder"
_FOLDERS: Mapping[Part, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val")}


def open_image_folder(folder: Path, reading: Reading = Reading(), wanted: Wanted | None = None) -> Dataset:
    """Open a folder of images, or what is wanted of it. What is left out is told, in one line.

    Raises DataError, naming the place, if it is not laid out as expected.
    """
    parts: Sequence[Part] = (wanted.part,) if wanted else ("train", "test")
    roots = {part: _part_folder(folder, _FOLDERS[part]) for part in parts}
    left_out = LeftOut(folder)
    if not wanted:
        for name in _FOLDERS["test"]:
            if os.path.isdir(folder / name) and folder / name != roots["test"]:  # noqa: PTH112
                left_out.add("unused", str(folder / name))
    names = {part: class_folders(root, left_out) for part, root in roots.items()}
    if wanted:
        check_known(NAME, names[wanted.part], wanted.classes)
        classes: Sequence[str] = wanted.classes
    else:
        classes = names["train"]
        _check_classes(roots, names)
    found, seen = {}, dict[str, tuple[Path, Path]]()
    for part, root in roots.items():
        files = {
            name: image_files(root / name, left_out, skip_unreadable=reading.skip_unreadable) for name in names[part]
        }
        _check_once(root, files, seen)
        empty = [name for name in classes if not files.get(name)]
        if empty and not wanted:
            raise DataError(_without_images(root / empty[0], left_out))
        if not any(files.values()):
            raise DataError(_without_images(root, left_out))
        if empty:
            reading.warn(f"{root} has no images of {len(empty)} of the {len(classes)} classes: {few(empty)}")
        found[part] = _labelled(files, classes)
    if left_out:
        reading.warn(f"left out of {folder}: {left_out}")
    return as_dataset(NAME, classes, found, reading=reading, wanted=wanted)


def _check_once(root: Path, classes: Mapping[str, Sequence[Path]], seen: dict[str, tuple[Path, Path]]) -> None:
    """Raise DataError if links make one image that of two classes, or of both parts.

    `seen` has those of the parts before: where an image really is -> its path, and the folder of its class.
    """
    folders: dict[Path, str] = {}
    for name, files in classes.items():
        for file in files:
            folder = folders.get(file.parent) or folders.setdefault(file.parent, os.path.realpath(file.parent))
            place = os.path.join(folder, file.name)  # noqa: PTH118
            place = os.path.realpath(place) if os.path.islink(place) else place  # noqa: PTH114
            other, of = seen.setdefault(place, (file, root / name))
            if of != root / name:
                raise DataError(
                    f"{other} and {file} are the same image: it would have two classes, or be trained on and tested on"
                )


def _part_folder(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if os.path.isdir(folder / name):  # noqa: PTH112, pathlib raises where a folder is closed
            return folder / name
    entries(folder)  # says so if it cannot be opened
    raise DataError(f"{folder} has no folder {' or '.join(f'{name}/' for name in names)} with a folder per class in it")


def _check_classes(roots: Mapping[Part, Path], names: Mapping[Part, Sequence[str]]) -> None:
    """Raise DataError if there are too few classes, or the parts differ in them."""
    classes = names["train"]
    if len(classes) < 2:
        raise DataError(f"{roots['train']} needs a folder for each of at least two classes, found {len(classes)}")
    check_forms(str(roots["train"]), classes)
    extra = sorted(set(names["test"]) - set(classes))
    for name in extra:
        if twin := same_name(name, classes):
            raise DataError(f"{roots['test']} and {roots['train']} name a class differently, {twin}: rename one")
    if extra:
        raise DataError(f"{roots['test']} has class folders that train/ has not: {few(extra)}")


def _labelled(files: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> tuple[ImageFiles, torch.Tensor]:
    labels = [label for label, name in enumerate(classes) for _ in files.get(name, ())]
    return ImageFiles([file for name in classes for file in files.get(name, ())]), torch.tensor(labels)


def _without_images(place: Path, left_out: LeftOut) -> str:
    there = str(left_out.within(place))
    if not there:
        return f"{place} holds no images: put some into it, or remove it"
    return f"{place} holds no images in a format that Pillow can read, but {there}"
