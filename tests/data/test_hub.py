"""Data sets of Hugging Face: names, splits and columns, on data sets that the library itself has written."""

import builtins
import logging
import re
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from datasets import ClassLabel, DatasetDict, Features, List, Value

from slt_compress.data import hub, images
from slt_compress.data.datasets import open_dataset
from slt_compress.data.hub import open_hub
from slt_compress.data.images import StreamedSplit
from slt_compress.data.splits import IndexedSplit, Wanted
from slt_compress.errors import DataError, MissingDatasetError, MissingPackageError, UsageError
from tests.support.pictures import picture, save_picture

NAMES = ["red", "blue"]
COLOUR = ClassLabel(names=NAMES)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the library's cache out of the home folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def table(labels: Sequence[Any], feature: Any = COLOUR, **columns: Any) -> Any:
    """Return a table of images, each of the colour that its label's number says."""
    pictures = [picture(NAMES[label] if isinstance(label, int) else "red", seed) for seed, label in enumerate(labels)]
    types_of = {name: datasets.Image() if name == "mask" else Value("int64") for name in columns}
    return datasets.Dataset.from_dict(
        {"image": pictures, "label": list(labels), **columns},
        features=Features({"image": datasets.Image(), "label": feature, **types_of}),
    )


def saved(folder: Path, **splits: Any) -> str:
    """Save splits as the library does, and return the name to open them by."""
    DatasetDict(splits).save_to_disk(folder)
    return f"hf:{folder}"


def labels(split: IndexedSplit) -> Any:
    return next(split.batches(1000))[1].tolist()


@pytest.mark.parametrize("text", ["hf", "hf:", "hf: "])
def test_hf_alone_asks_for_a_name(text: str) -> None:
    with pytest.raises(UsageError, match="give `dataset` as hf:NAME"):
        open_dataset(text, None)


@pytest.mark.parametrize("rest", ["", "a,b,c", "a,a", "label=", "lable=x", "label=x,label=y", "label=x,train", "a,,b"])
def test_other_forms_are_refused(rest: str) -> None:
    with pytest.raises(
        UsageError, match=re.escape("expected hf:NAME#TRAIN,TEST,image=COLUMN,label=COLUMN,config=NAME")
    ):
        open_dataset(f"hf:x#{rest}", None)


def test_a_folder_may_have_the_sign_in_its_name(tmp_path: Path) -> None:
    name = saved(tmp_path / "a#b", train=table([0, 1] * 5))
    assert len(open_hub(name).read("test", 8)) == 2
    assert len(open_hub(f"{name}#train").read("test", 8)) == 2


def test_a_saved_data_set_is_read_with_its_classes(tmp_path: Path) -> None:
    name = saved(tmp_path / "set", train=table([0, 1, 1, 0]), test=table([1]), unsupervised=table([0]))
    dataset = open_dataset(name, None)
    assert (dataset.name, dataset.classes, dataset.channels, dataset.size) == ("hf", ("red", "blue"), 3, 8)
    assert dataset.task.record.name == "classification"
    train = dataset.read("train", 8)
    assert (labels(train), labels(dataset.read("test", 8))) == ([0, 1, 1, 0], [1])
    assert next(train.batches(4))[0][2].permute(1, 2, 0).numpy().tobytes() == picture("blue", 2).tobytes()


def test_large_ones_are_streamed_with_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_hub(saved(tmp_path / "set", train=table([0, 1] * 6)))
    kept = next(dataset.read("train", 6).batches(100))
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 0)
    streamed = dataset.read("train", 6)
    assert isinstance(streamed, StreamedSplit)
    for one, other in zip(kept, next(streamed.batches(100)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("feature", [List(COLOUR), List(Value("int64"))])
def test_lists_of_labels_are_a_task_of_several(tmp_path: Path, feature: Any) -> None:
    dataset = open_hub(saved(tmp_path / "set", train=table([[0, 1], [], [1]], feature), test=table([[0]], feature)))
    assert dataset.task.record.name == "multi-label"
    train = next(dataset.read("train", 8).batches(10))[1]
    assert (train.dtype, train.tolist()) == (torch.float32, [[1, 1], [0, 0], [0, 1]])
    assert labels(dataset.read("test", 8)) == [[1, 0]]


@pytest.mark.parametrize(
    ("splits", "rest", "sizes"),
    [
        (("train", "test", "validation"), "", (10, 11)),
        (("train", "validation"), "", (10, 11)),
        (("train", "val", "extra"), "", (10, 11)),
        (("train", "test", "validation"), "#train,validation", (10, 12)),
        (("b", "a"), "#a,b", (11, 10)),
        (("train", "test"), "#test", (9, 2)),
        (("whole",), "", (8, 2)),
    ],
)
def test_splits(tmp_path: Path, splits: tuple[str, ...], rest: str, sizes: tuple[int, int]) -> None:
    tables = {name: table([0, 1] * 5 + [0] * index) for index, name in enumerate(splits)}
    dataset = open_hub(saved(tmp_path / "set", **tables) + rest)
    assert (len(dataset.read("train", 8)), len(dataset.read("test", 8))) == sizes


def test_a_table_without_splits_is_drawn_from(tmp_path: Path) -> None:
    table([0, 1] * 10).save_to_disk(tmp_path / "set")
    first, second = (open_hub(f"hf:{tmp_path / 'set'}") for _ in range(2))
    assert (len(first.read("train", 8)), len(first.read("test", 8))) == (16, 4)
    for one, other in zip(*(next(each.read("test", 8).batches(9)) for each in (first, second)), strict=True):
        assert torch.equal(one, other)


def test_columns_can_be_named(tmp_path: Path) -> None:
    masks = [picture("blue", seed, size=6) for seed in range(10)]
    name = saved(tmp_path / "set", train=table([0, 1] * 5, mask=masks, kind=[7, 8, 9, 7, 8] * 2))
    with pytest.raises(DataError, match="unclear which is the image"):
        open_hub(name)
    dataset = open_hub(f"{name}#image=mask,label=kind")
    assert (dataset.size, dataset.classes) == (6, ("7", "8", "9"))


def folders(root: Path) -> Path:
    for part, count in (("train", 4), ("test", 2)):
        for name in NAMES:
            for seed in range(count):
                save_picture(root / part / name / f"{seed}.png", name, seed)
    return root


def test_folders_that_the_library_can_load_are_read(tmp_path: Path) -> None:
    dataset = open_hub(f"hf:{folders(tmp_path / 'pictures')}")
    assert dataset.classes == ("blue", "red")
    assert labels(dataset.read("test", 8)) == [0, 0, 1, 1]
    (tmp_path / "parquet").mkdir()
    table([0, 1, 1, 0]).to_parquet(tmp_path / "parquet" / "train-0.parquet")
    table([1, 0]).to_parquet(tmp_path / "parquet" / "test-0.parquet")
    dataset = open_hub(f"hf:{tmp_path / 'parquet'}")
    assert (dataset.classes, labels(dataset.read("test", 8))) == (("red", "blue"), [1, 0])
    file = tmp_path / "all.parquet"
    table([0, 1] * 5).to_parquet(file)
    assert len(open_hub(f"hf:{file}").read("test", 8)) == 2


def test_litter_is_no_class(tmp_path: Path) -> None:
    folder = folders(tmp_path / "pictures")
    save_picture(folder / "train" / "@eaDir" / "0.png", "red", 0)
    with pytest.raises(DataError, match=r"has the class @eaDir, left behind by other software; .* as imagefolder"):
        open_hub(f"hf:{folder}")
    save_picture(folder / "train" / "red" / "@eaDir" / "0.png" / "thumb.jpg", "red", 0)
    with pytest.raises(DataError, match=r"unclear which is the label; .* can be opened as imagefolder"):
        open_hub(f"hf:{folder}")


def test_what_the_library_says_meanwhile_is_not_heard(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders(tmp_path / "pictures")
    load = datasets.load_dataset

    def talk(*arguments: Any, **options: Any) -> Any:
        print("printed")
        warnings.warn("warned", stacklevel=1)
        logging.getLogger("datasets").error("logged")
        return load(*arguments, **options)

    monkeypatch.setattr(datasets, "load_dataset", talk)
    datasets.enable_progress_bars()
    level = logging.root.manager.disable
    open_hub(f"hf:{folder}")
    assert capfd.readouterr() == ("", "")
    assert not datasets.utils.are_progress_bars_disabled()
    assert logging.root.manager.disable == level


@pytest.mark.parametrize(
    ("splits", "rest", "words"),
    [
        (("a", "b"), "", " has the splits a (4 rows), b (4 rows): name those for training and test, hf:"),
        (("train", "b"), "", " has the splits train (4 rows), b (4 rows): name those"),
        (("train", "test"), "#train,dev", " has no split dev, only train (4 rows), test (4 rows)"),
        (("train", "test"), "#label=image", ": the label cannot be image; name a column of the type ClassLabel"),
    ],
)
def test_what_is_unclear_is_listed(tmp_path: Path, splits: tuple[str, ...], rest: str, words: str) -> None:
    name = saved(tmp_path / "set", **dict.fromkeys(splits, table([0, 1, 1, 0])))
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "set") + words)):
        open_hub(name + rest)


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (table(["a", "b"], Value("string")), table(["a", "c"], Value("string")), "test[1]: the label 'c' is in no"),
        (table([0, 1]), table([0, -1]), "test[1] has no label"),
        (table([0, 1]), table(["red"], Value("string")), "the columns image and label differ between train and test"),
        (table([0, 1]), table([0], ClassLabel(names=["blue", "red"])), "the columns image and label differ"),
        (
            table(["a", "a"], Value("string")),
            table(["a"], Value("string")),
            "train needs more labels in label, found a",
        ),
        (
            table([[], []], List(Value("string"))),
            table([[]], List(Value("string"))),
            "more labels in label, found none",
        ),
        (table([0, 1]), None, "train has too few rows to draw test rows"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, train: Any, test: Any, words: str) -> None:
    name = saved(tmp_path / "set", **{"train": train} | ({} if test is None else {"test": test}))
    with pytest.raises(DataError, match=re.escape(words)):
        open_hub(name)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("/no/where", DataError, "/no/where does not exist, and is no name of the Hugging Face hub"),
        ("./where", DataError, "where does not exist, and is no name of the Hugging Face hub"),
        ("~/no/where", DataError, "does not exist, and is no name"),
        ("https://x.org/a", DataError, "does not exist, and is no name"),
        ("set#revision=main", UsageError, "set is on this machine, it has no revision"),
        ("set#config=small", UsageError, "set is on this machine, it has no config"),
        ("empty", DataError, "empty cannot be opened ("),
        ("script", DataError, "script cannot be opened ("),
        ("text.txt", DataError, "text.txt cannot be opened ("),
    ],
)
def test_what_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Exception], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "set", train=table([0, 1]))
    (tmp_path / "empty").mkdir()
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    (tmp_path / "text.txt").write_text("text")
    with pytest.raises(kind, match=re.escape(words)) as caught:
        open_hub(f"hf:{name}")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_is_named_not_passed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape("hf:x takes no `data_dir`: name a folder as hf:FOLDER")):
        open_dataset("hf:x", tmp_path)


def failing(error: Exception) -> Any:
    def load(*_: Any, **__: Any) -> None:
        try:
            raise error
        except Exception:
            raise OSError("cannot load\nmore") from None

    return load


@pytest.mark.parametrize("error", [ConnectionError("no route"), TimeoutError()])
def test_a_hub_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(datasets, "load_dataset", failing(error))
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    words = rf"^user/set is no folder here .* cannot be reached \({said}\)$"
    with pytest.raises(MissingDatasetError, match=words) as caught:
        open_hub("hf:user/set#train,test")
    assert caught.value.dataset == "hf:user/set"


def test_a_name_that_the_hub_does_not_know_is_no_matter_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, config: str | None, revision: str | None) -> None:
        assert (name, config, revision) == ("user/set", "small", "v1")
        raise datasets.exceptions.DatasetNotFoundError("no such set") from ConnectionError("404")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError, match=r"^user/set cannot be opened \(DatasetNotFoundError: no such set\)$") as caught:
        open_hub("hf:user/set#config=small,revision=v1")
    assert not isinstance(caught.value, MissingDatasetError)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, r'pip install "datasets>=4"$'),
        (types.SimpleNamespace(), r'pip install "datasets>=4"$'),  # a folder called datasets, beside the user's code
        (types.SimpleNamespace(__version__="3.6.0"), r'pip install "datasets>=4"; found 3\.6\.0$'),
    ],
)
def test_without_the_library_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, module: Any, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(MissingPackageError, match=words):
        open_hub("hf:mnist")


def test_a_library_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def broken(name: str, *arguments: Any) -> Any:
        if name == "datasets":
            raise ImportError("pyarrow requires NumPy 2.0")
        return found(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(MissingPackageError, match=r"cannot be imported \(ImportError: pyarrow requires NumPy 2\.0\)$"):
        hub._library()


def test_of_what_is_wanted_one_split_is_enough_in_the_order_of_the_network(tmp_path: Path) -> None:
    wanted = Wanted("test", ("blue", "red"), several=False, channels=3)
    for rest, splits in (
        ("", {"test": table([0, 1, 1])}),
        ("", {"validation": table([0, 1, 1]), "extra": table([0])}),
        ("", {"train": table([0]), "test": table([0, 1, 1])}),
        ("#absent,some", {"some": table([0, 1, 1]), "extra": table([0])}),
    ):
        dataset = open_hub(saved(tmp_path / "-".join(splits), **splits) + rest, wanted=wanted)
        assert (dataset.classes, labels(dataset.read("test", 8))) == (("blue", "red"), [1, 0, 0])
    drawn = saved(tmp_path / "drawn", whole=table([0, 1] * 10))
    expected = [1 - label for label in labels(open_hub(drawn).read("test", 8))]
    assert labels(open_hub(drawn, wanted=wanted).read("test", 8)) == expected
    with pytest.raises(DataError, match="drawn has one label an image, the network is for another task"):
        open_hub(drawn, wanted=Wanted("test", ("red", "blue"), several=True, channels=3))
