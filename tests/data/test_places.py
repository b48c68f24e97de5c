"""What of a data set no result may be written over, wherever it lies and whatever leads there."""

import os
from pathlib import Path

import pytest

from slt_compress.data import places
from slt_compress.errors import UsageError
from slt_compress.files import check_apart


def check(output: Path, dataset: str, data_dir: Path | None = None) -> None:
    check_apart({"`output`": output}, places.inputs(dataset, data_dir))


def test_listed_images_are_protected_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("lists/list.csv", "far/0.png", "far/1.png", "far/other.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link").symlink_to("far/0.png")
    os.link(tmp_path / "far" / "1.png", tmp_path / "hard")
    (tmp_path / "lists" / "list.csv").write_text(f"path,label\n../far/0.png,a\n{tmp_path}/link/../hard,b\n../hard,b\n")
    for data_dir in (tmp_path / "lists", tmp_path / "lists" / "list.csv"):
        for name in ("far/0.png", "far/../far/1.png", "link", "hard", "lists/list.csv"):
            with pytest.raises(UsageError, match=r"^`output` would replace .*, one of the files in `data_dir`: give"):
                check(tmp_path / name, "csv", data_dir)
        for name in ("far/other.png", "far/2.png", "lists/t.safetensors"):
            check(tmp_path / name, "csv", data_dir)


def test_what_is_wrong_with_a_list_is_told_by_who_opens_it(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.png\n")
    (tmp_path / "there").write_bytes(b"")
    check(tmp_path / "there", "csv", tmp_path / "list.csv")
    check(tmp_path / "there", "csv", tmp_path / "none.csv")


@pytest.mark.parametrize("name", ["~/set", "~/set#all,image=photo", "{}/set", "{}/round/set"])
def test_a_folder_of_hugging_face_is_protected(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "round").symlink_to(tmp_path)
    for file in ("set/state.json", "set/data.arrow", "set/train/data.arrow", "set/old.safetensors", "one.parquet"):
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).write_bytes(b"")
    for file in ("set/state.json", "set/data.arrow", "set/train/data.arrow"):
        with pytest.raises(
            UsageError, match=r"^`output` would replace .*, one of the files in `dataset`: give another"
        ):
            check(tmp_path / file, f"hf:{name.format(tmp_path)}")
    for file in ("set/old.safetensors", "set/new", "other"):
        check(tmp_path / file, f"hf:{name.format(tmp_path)}")
    with pytest.raises(UsageError, match=r"^`dataset` and `output` are the same file"):
        check(tmp_path / "one.parquet", "hf:~/one.parquet")


@pytest.mark.parametrize("dataset", ["digits", "mnist", "hf", "hf:user/name"])
def test_what_lies_nowhere_here_protects_nothing(dataset: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"")
    if dataset != "hf":
        check(tmp_path / "there", dataset)
    with pytest.raises(UsageError, match=r"^`data_dir` and `output` are the same file"):
        check(tmp_path, dataset, tmp_path)
