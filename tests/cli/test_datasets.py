"""A user's own images by name: found, measured and exported by the command line, with one label or several each."""

import json
from pathlib import Path

import pytest

from tests.support.commands import document, refused
from tests.support.pictures import COLOURS, picture, write_listing
from tests.support.process import Run

SHORT = ("--max-steps", 20, "--sparsity", 0.5, "--output", "t.safetensors", "--json")
ONE, SEVERAL = ["red", "blue"] * 40, ["red", "blue", "red;blue", ""] * 20


def save_table(folder: Path, cells: list[str]) -> None:
    """Save the images of these labels as the library `datasets` does, every fifth as a test image."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List

    names = list(COLOURS)
    several = any(";" in cell for cell in cells)
    label = ClassLabel(names=names)
    columns = Features({"image": Image(), "label": List(label) if several else label})
    rows = [
        {
            "image": picture(cell.replace(";", "+"), seed),
            "label": [names.index(name) for name in cell.split(";") if name] if several else names.index(cell),
        }
        for seed, cell in enumerate(cells)
    ]
    parts = {"train": [rows[i] for i in range(len(rows)) if i % 5], "test": rows[::5]}
    DatasetDict({name: Dataset.from_list(part, features=columns) for name, part in parts.items()}).save_to_disk(folder)


@pytest.mark.parametrize("kind", ["csv", "hf"])
@pytest.mark.parametrize(("cells", "metric"), [(ONE, "accuracy"), (SEVERAL, "f1")])
def test_the_whole_road(cli: Run, invoke: Run, tmp_path: Path, kind: str, cells: list[str], metric: str) -> None:
    if kind == "csv":
        write_listing(tmp_path / "data", cells)
        images: tuple[str, ...] = ("--dataset", "csv", "--data-dir", "data")
    else:
        save_table(tmp_path / "data", cells)
        images = ("--dataset", "hf:data")
    done = cli("search", "lenet-5", *images, *SHORT, HF_HOME=str(tmp_path / "home"))
    found = document(done)
    assert done.stderr == ""
    assert found["dataset"] == images[1]
    assert found[metric] > 0.6
    shown = document(invoke("inspect", "t.safetensors", "--json"))
    assert (shown["dataset"], shown["classes"]) == (kind, sorted(COLOURS) if kind == "csv" else list(COLOURS))
    assert str(tmp_path) not in json.dumps(shown)
    measured = document(invoke("evaluate", "t.safetensors", *images, "--json"))
    assert (measured[metric], measured["samples"]) == (found[metric], 16)
    for weights in ("compact", "int8"):
        form = ("--weights", weights, *(("--max-accuracy-drop", 1) if weights == "int8" else ()))
        assert document(invoke("export", "t.safetensors", *images, *form, "--json"))["pictures"] == 16
    assert document(invoke("evaluate", "t.onnx", *images, "--json"))["samples"] == 16
    done = invoke("evaluate", "t.safetensors", "--json")
    assert done.returncode == (1 if kind == "csv" else 2)
    assert ("csv needs --data-dir" if kind == "csv" else "--dataset as hf:NAME") in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert json.loads(done.stdout)["exit_code"] == done.returncode
    assert document(invoke("export", "t.safetensors", "--json"))["pictures"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--dataset", "csv"), 1, "csv needs --data-dir, a CSV file with the columns path and label"),
        (("--dataset", "csv", "--data-dir", "none.csv"), 1, "none.csv does not exist"),
        (("--dataset", "csv", "--data-dir", "list.csv"), 1, "list.csv, line 2: no path"),
        (("--dataset", "hf"), 2, "give --dataset as hf:NAME"),
        (("--dataset", "hf:x#lable=y"), 2, "cannot read 'lable=y' in hf:x#lable=y"),
        (("--dataset", "hf:./none"), 1, "none does not exist"),
        (("--dataset", "hf:x", "--data-dir", "."), 2, "hf:x takes no --data-dir"),
    ],
)
def test_bad_requests(invoke: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    (tmp_path / "list.csv").write_text("path,label\n,red\n")
    refused(invoke("search", "lenet-5", *arguments, "--json"), code, words, tmp_path)


def test_a_hub_out_of_reach_is_explained(cli: Run, tmp_path: Path) -> None:
    done = cli("search", "lenet-5", "--dataset", "hf:user/set", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "home"))
    refused(done, 1, "the Hugging Face hub cannot be reached", tmp_path)
    assert "datasets.load_dataset('user/set').save_to_disk('FOLDER')" in done.stderr
