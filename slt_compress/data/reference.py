"""How image data sets of Hugging Face are named: hf:NAME, or hf:NAME#TRAIN,TEST,image=COLUMN,label=COLUMN,config=NAME,
revision=NAME with as much behind the # as is needed. Needs no torch.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slt_compress.errors import UsageError

HF = "hf"
PREFIX = f"{HF}:"

_FORM = "hf:NAME#TRAIN,TEST,image=COLUMN,label=COLUMN,config=NAME,revision=NAME"
_OPTIONS = ("image", "label", "config", "revision")


@dataclass(frozen=True)
class Reference:
    """A data set as it is named.

    Attributes:
        name: of the hub, or a folder or parquet file.
        splits: none, one to draw test rows from, or those for training and test.
        options: columns, config and revision, where they were given.
    """

    name: str
    splits: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return _expanded(self.name)


def _expanded(text: str) -> Path:
    """Return the path that ~ stands in. Raises UsageError if it stands for no folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text} begins with ~ and there is no home folder: give the whole path") from error


def parse(text: str) -> Reference:
    """Read hf:NAME and what may follow it. Raises UsageError for another form."""
    whole = text.removeprefix(HF).removeprefix(":").strip()
    if not whole:
        raise UsageError(
            f"{HF} needs a name: give `dataset` as hf:NAME, a data set of the Hugging Face hub, or as hf:FOLDER"
        )
    name, sign, rest = whole.rpartition("#")
    if not sign or os.path.exists(_expanded(whole)):  # noqa: PTH110, pathlib raises for some names
        return Reference(whole)
    splits: list[str] = []
    options: dict[str, str] = {}
    for word in map(str.strip, rest.split(",")):
        key, equals, value = map(str.strip, word.partition("="))
        if equals and key in _OPTIONS and key not in options and value:
            options[key] = value
        elif word and not equals and not options and word not in splits:
            splits.append(word)
        else:
            raise UsageError(f"cannot read {word!r} in {text}: expected {_FORM}")
    if not name or len(splits) > len(("train", "test")):
        raise UsageError(f"expected {_FORM}, got {text}")
    return Reference(name, tuple(splits), options)
