"""A user's own images by name: found, measured and exported by the command line, with one label or several each."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slt_compress.data import images, splits
from tests.support.commands import document, refused
from tests.support.pictures import COLOURS, picture, save_picture, write_folder, write_listing
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
def test_the_whole_road(invoke: Run, tmp_path: Path, kind: str, cells: list[str], metric: str) -> None:
    if kind == "csv":
        write_listing(tmp_path / "data", cells)
        images: tuple[str, ...] = ("--dataset", "csv", "--data-dir", "data")
    else:
        save_table(tmp_path / "data", cells)
        images = ("--dataset", "hf:data")
    done = invoke("search", "lenet-5", *images, *SHORT)
    found = document(done)
    assert done.stderr == ""
    assert found["dataset"] == images[1]
    assert found[metric] > 0.6
    shown = document(invoke("inspect", "t.safetensors", "--json"))
    assert (shown["dataset"], shown["classes"]) == (kind, sorted(COLOURS) if kind == "csv" else list(COLOURS))
    assert str(tmp_path) not in json.dumps(shown)
    measured = document(invoke("evaluate", "t.safetensors", *images, "--json"))
    assert (measured[metric], measured["samples"]) == (found[metric], 16)
    for weights in ("compact", "int8") if kind == "csv" else ("compact",):
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


FOLDER = ("--dataset", "imagefolder", "--data-dir", "data")


def test_litter_links_and_damage_in_a_folder(invoke: Run, tmp_path: Path) -> None:
    """A folder that has been on a Mac, a NAS and in a notebook gives the ticket that a clean one gives."""
    write_folder(tmp_path / "data", 20, 8)
    document(invoke("search", "lenet-5", *FOLDER, *SHORT))
    clean = (tmp_path / "t.safetensors").read_bytes()
    train = tmp_path / "data" / "train"
    for name in (".ipynb_checkpoints/0.png", "__MACOSX/0.png", "red/@eaDir/0.png/thumb.jpg", "red/._0.png"):
        save_picture(train / name, "blue", 1)
    os.mkfifo(train / "red" / "pipe.png")
    (train / "red" / "loop").symlink_to(train)
    (tmp_path / "far").mkdir()
    for index in range(10):
        (train / "blue" / f"{index}.png").rename(tmp_path / "far" / f"{index}.png")
        (train / "blue" / f"{index}.png").symlink_to(tmp_path / "far" / f"{index}.png")
    done = invoke("search", "lenet-5", *FOLDER, *SHORT)
    document(done)
    assert (tmp_path / "t.safetensors").read_bytes() == clean
    assert done.stderr == (
        "left out of data: 2 hidden (train/.ipynb_checkpoints, train/red/._0.png), 2 of other software "
        "(train/__MACOSX, train/red/@eaDir), 1 that is no regular file (train/red/pipe.png), 1 link to a folder that "
        "is read anyway (train/red/loop)\n"
    )
    for name in ("train/red/3.png", "test/blue/2.png"):
        (tmp_path / "data" / name).write_bytes(b"no image")
    (tmp_path / "t.safetensors").unlink()
    refused_but_said(invoke("search", "lenet-5", *FOLDER, *SHORT), "cannot read 2 images: data/train/red/3.png: ")
    assert not (tmp_path / "t.safetensors").exists()


def refused_but_said(done: "subprocess.CompletedProcess[str]", words: str) -> None:
    """A failure that says more before its last line, or leaves a file."""
    assert done.returncode == 1
    assert words in done.stderr
    if done.stdout:
        failure = json.loads(done.stdout)
        assert (failure["exit_code"], failure["error"]) == (1, done.stderr.splitlines()[-1].removeprefix("error: "))


def test_evaluation_needs_the_test_images_alone(invoke: Run, tmp_path: Path) -> None:
    write_folder(tmp_path / "data", 20, 8)
    found = document(invoke("search", "lenet-5", *FOLDER, *SHORT))
    (tmp_path / "data" / "train").rename(tmp_path / "train")
    assert document(invoke("evaluate", "t.safetensors", *FOLDER, "--json"))["accuracy"] == found["accuracy"]
    assert document(invoke("export", "t.safetensors", *FOLDER, "--json"))["pictures"] == 16
    done = invoke("export", "t.safetensors", *FOLDER, "--weights", "int8", "--output", "8.onnx")
    refused_but_said(done, "data has no folder train/ with a folder per class in it")  # to calibrate on
    save_picture(tmp_path / "data" / "test" / "green" / "0.png", "red", 1)
    done = invoke("evaluate", "t.onnx", *FOLDER)
    refused_but_said(
        done, "tells apart 2 classes (blue, red), imagefolder has 3 (blue, green, red); it does not know green"
    )
    (tmp_path / "data" / "test" / "green").rename(tmp_path / "green")
    (tmp_path / "data" / "test" / "red").rename(tmp_path / "red")
    done = invoke("evaluate", "t.onnx", *FOLDER, "--json")
    assert document(done)["samples"] == 8
    assert done.stderr == "data/test has no images of 1 of the 2 classes: red\n"


def test_a_stream_that_breaks_after_the_search_leaves_its_ticket(
    invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image whose header is fine. What the message advises then works."""
    write_folder(tmp_path / "data", 20, 8)
    found = document(invoke("search", "lenet-5", *FOLDER, *SHORT))
    (tmp_path / "t.safetensors").unlink()
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 0)
    broken = tmp_path / "data" / "test" / "red" / "5.png"
    broken.write_bytes(broken.read_bytes()[:60])
    for workers in (0, 2):
        done = invoke("search", "lenet-5", *FOLDER, *SHORT, "--workers", workers)
        refused_but_said(
            done, "the ticket was found, and is saved as t.safetensors, but measuring it has failed: cannot read"
        )
        assert len(done.stderr.splitlines()) == 1
        advice = shlex.split(done.stderr.partition("later measure it with: slt-compress ")[2])
        measured = document(invoke(*advice, "--json"))
        assert (measured["samples"], measured["sparsity"]) == (15, found["sparsity"])
        (tmp_path / "t.safetensors").unlink()


def test_a_stream_that_breaks_in_the_search_leaves_its_checkpoint(
    invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image whose header is fine, once for each way that the message names."""
    write_folder(tmp_path / "data", 20, 8)
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(splits, "_STATISTICS_SAMPLE", 4)  # of few images, all are read before the search
    search = ("search", "lenet-5", *FOLDER, *SHORT, "--workers", 0, "--batch-size", 4, "--max-steps", 12)
    found = document(invoke(*search))
    undisturbed = (tmp_path / "t.safetensors").read_bytes()
    (tmp_path / "t.safetensors").unlink()
    broken = tmp_path / "data" / "train" / "red" / "5.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:60])
    done = invoke(*search)
    refused_but_said(done, "--skip-unreadable leaves it out; the search is kept in t.safetensors.ckpt: once its data ")
    assert len(done.stderr.splitlines()) == 1
    assert re.search(r"--resume continues after step [0-9]+ \(with images left out it starts afresh\)$", done.stderr)
    refused_but_said(invoke(*search, "--resume"), "cannot read the image data/train/red/5.png")  # still kept
    done = invoke(*search, "--resume", "--skip-unreadable")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2)
    assert "belongs to another search: its " in done.stderr
    broken.write_bytes(whole)
    document(invoke(*search, "--resume"))
    assert (tmp_path / "t.safetensors").read_bytes() == undisturbed
    assert not (tmp_path / "t.safetensors.ckpt").exists()
    broken.write_bytes(whole[:60])
    assert document(invoke(*search, "--skip-unreadable"))["sparsity"] == found["sparsity"]


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="mounting needs root and unshare")
@pytest.mark.parametrize(
    ("space", "said"), [("64m", ""), ("4k", "images are decoded by no workers, which takes longer: /dev/shm")]
)
def test_little_shared_memory_is_enough(tmp_path: Path, space: str, said: str) -> None:
    """As in a container: its /dev/shm is a small file system of its own."""
    write_folder(tmp_path / "data", 20, 8)
    script = (
        "from slt_compress.data import images; images.IN_MEMORY_BYTES = 0\n"
        "from slt_compress.cli.main import main; main()"
    )
    command = [sys.executable, "-c", script, "search", "lenet-5", *FOLDER, *SHORT, "--workers", "2"]
    mount = f"mount -t tmpfs -o size={space} tmpfs /dev/shm && exec {shlex.join(map(str, command))}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this machine lets nobody mount")
    document(done)
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == bool(said)
