"""`search`: what it reports and writes, what it refuses, how it shows its progress and ends when interrupted."""

import itertools
import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slt_compress import Ticket, files
from slt_compress.cli.console import Printer
from slt_compress.config import SearchConfig
from slt_compress.errors import OutputError
from slt_compress.evaluation import accuracy
from slt_compress.pipeline import find, measure
from slt_compress.prng import Freeze
from slt_compress.training import logs
from tests.support.commands import FakeLog, Searched, document, options, refused
from tests.support.pictures import save_picture
from tests.support.process import Run, run_here

SEARCH_KEYS = {
    *("artifact", "model", "dataset", "method", "seed", "sparsity", "accuracy", "validation_accuracy", "loss"),
    *(
        "neuron_sparsity",
        "bytes",
        "mask_bytes",
        "mask_bound_bytes",
        "dense_bytes",
        "epochs",
        "seconds",
        "images_per_second",
    ),
}


def test_search_reports_what_it_wrote(searched: Searched) -> None:
    path, found = searched
    assert set(found) == SEARCH_KEYS
    assert found["bytes"] == path.stat().st_size
    assert found["sparsity"] == pytest.approx(0.9, abs=0.005)
    assert found["accuracy"] > 0.9
    assert found["dense_bytes"] > 15 * found["bytes"]
    assert found["mask_bound_bytes"] < found["mask_bytes"] < 1.1 * found["mask_bound_bytes"]
    assert found["epochs"] == 30


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(cli: Run, invoke: Run, tmp_path: Path) -> None:
    for run, name, seed in ((cli, "a", 3), (invoke, "b", 3), (invoke, "c", 4)):  # in another process too
        done = run("search", "lenet-300-100", "--max-steps", 10, "--seed", seed, "--output", f"{name}.safetensors")
        assert done.returncode == 0
    first, again, other = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_a_random_ticket_needs_no_steps(invoke: Run, tmp_path: Path) -> None:
    found = document(invoke("search", "lenet-5", "--method", "random", "--sparsity", 0.3, "--json"))
    assert (found["epochs"], found["images_per_second"]) == (0, 0)
    assert found["sparsity"] == pytest.approx(0.3, abs=0.005)
    assert found["artifact"] == "lenet-5-digits-random-0.3-0.safetensors"
    assert (tmp_path / found["artifact"]).exists()


@pytest.mark.parametrize("codec", ["raw", "rice"])
@pytest.mark.parametrize("init", ["kaiming-uniform", "kaiming-normal"])
def test_codecs_and_initialisers_can_be_chosen(invoke: Run, codec: str, init: str) -> None:
    options = ("--method", "random", "--codec", codec, "--init", init, "--statistics", "fp16")
    found = document(invoke("search", "lenet-300-100", *options, "--output", "t.safetensors", "--json"))
    shown = document(invoke("inspect", "t.safetensors", "--json"))
    assert {layer["codec"] for layer in shown["layers"]} == {codec}
    assert shown["initialiser"] == init
    assert shown["statistics_bytes"] == 2 * 2 * 410
    assert document(invoke("evaluate", "t.safetensors", "--json"))["accuracy"] == found["accuracy"]


def test_a_person_gets_a_summary_and_the_next_command(invoke: Run) -> None:
    done = invoke("search", "lenet-300-100", "--max-steps", 5, "--output", "t.safetensors")
    assert done.returncode == 0
    assert "next: slt-compress export t.safetensors" in done.stdout
    assert "50,200 gated weights" in done.stderr


def test_every_option_arrives(invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def find_ticket(model: str, config: SearchConfig, printer: Printer, **others: Any) -> None:
        seen.update(model=model, config=config, checkpoints=others["checkpoints"], logs=printer.logs)
        raise OutputError("enough seen")

    monkeypatch.setattr(find, "find_ticket", find_ticket)
    monkeypatch.setattr(logs, "JsonLines", lambda path, _: FakeLog("lines", path))
    monkeypatch.setattr(logs, "TensorBoard", lambda path, _: FakeLog("board", path))
    chosen = {
        "--dataset": "imagefolder",
        "--data-dir": "images",
        "--input-size": 16,
        "--model-arg": "depth=6",
        "--workers": 2,
        "--method": "edge-popup",
        "--recipe": "paper",
        "--scope": "global",
        "--sparsity": 0.75,
        "--granularity": "weight",
        "--freeze-ratio": 0.5,
        "--lock-ratio": 0.25,
        "--init": "uniform",
        "--seed": 2**64 - 1,
        "--max-steps": 7,
        "--batch-size": 32,
        "--lr": 0.5,
        "--augment": "crop",
        "--precision": "bf16",
        "--device": "cpu",
        "--codec": "rice",
        "--statistics": "fp16",
        "--output": "t.safetensors",
        "--checkpoint-every": 3,
        "--log": "log.jsonl",
        "--tensorboard": "board",
    }
    others = {"--reference", "--epochs", "--neuron-sparsity", "--resume", "--skip-unreadable", "--json", "--quiet"}
    others |= {"--max-bytes", "--init-from", "--teacher", "--head-start"}
    assert set(options("search")) == {*chosen, *others}
    flags = [word for pair in chosen.items() for word in pair]
    refused(
        invoke("search", "lenet-5", *flags, "--resume", "--skip-unreadable", "--quiet", "--json"),
        1,
        "enough seen",
        tmp_path,
    )
    assert seen["model"] == "lenet-5"
    assert seen["config"] == SearchConfig(
        dataset="imagefolder",
        data_dir=Path("images"),
        input_size=16,
        model_arguments={"depth": 6},
        workers=2,
        skip_unreadable=True,
        method="edge-popup",
        recipe="paper",
        options={"scope": "global"},
        sparsity=0.75,
        freeze=Freeze(0.5, 0.25),
        initialiser="uniform",
        seed=2**64 - 1,
        max_steps=7,
        batch_size=32,
        learning_rate=0.5,
        augment="crop",
        precision="bf16",
        device="cpu",
        codec="rice",
        statistics="fp16",
    )
    checkpoints = seen["checkpoints"]
    assert (checkpoints.folder, checkpoints.every, checkpoints.resume) == (Path("t.safetensors.ckpt"), 3, True)
    assert seen["logs"] == [("lines", Path("log.jsonl")), ("board", Path("board"))]
    invoke("search", "lenet-5", "--epochs", 3)
    assert seen["config"] == SearchConfig(epochs=3)  # no other default of its own
    assert (seen["checkpoints"].every, seen["checkpoints"].resume) == (None, False)
    assert seen["logs"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("lenet300-100",), 2, "did you mean lenet-300-100"),
        (("resnet81",), 2, "did you mean resnet"),
        (("lenet-5", "--dataset", "minst"), 2, "did you mean mnist"),
        (("lenet-5", "--sparsity", "1"), 2, "--sparsity must be at least 0 and below 1, got 1"),
        (("lenet-5", "--sparsity", "-0.1"), 2, "got -0.1"),
        (("lenet-5", "--sparsity", "nan"), 2, "got nan"),
        (("lenet-5", "--epochs", "0"), 2, "--epochs must be at least 1, got 0"),
        (("lenet-5", "--max-steps", "0"), 2, "--max-steps must be at least 1, got 0"),
        (("lenet-5", "--epochs", "1", "--max-steps", "1"), 2, "not both"),
        (("lenet-5", "--lr", "-1"), 2, "--lr must be a positive number"),
        (("lenet-5", "--seed", "-1"), 2, "--seed"),
        (("lenet-5", "--method", "magic"), 2, "magic"),
        (
            ("lenet-5", "--method", "random", "--scope", "layer"),
            2,
            "--scope has no meaning for --method random: it is an option of crbg, edge-popup, ",
        ),
        (("lenet-5", "--method", "random", "--lr", "1"), 2, "--lr has no meaning for --method random"),
        (("lenet-5", "--freeze-ratio", "1"), 2, "--freeze-ratio must be at least 0 and below 1, got 1"),
        (("lenet-5", "--freeze-ratio", "nan"), 2, "got nan"),
        (("lenet-5", "--lock-ratio", "0.1"), 2, "--lock-ratio must be from 0 to --freeze-ratio, 0, got 0.1"),
        (("lenet-5", "--freeze-ratio", ".5", "--lock-ratio", "-.1"), 2, "got -0.1"),
        (("lenet-5", "--freeze-ratio", ".5", "--lock-ratio", ".2"), 1, "sparsity 0.9 cannot be reached"),
        (("lenet-5", "--output", "no/t.safetensors"), 1, "the folder no does not exist"),
        (("lenet-5", "--output", "."), 1, "is a folder"),
        (("lenet-5", "--dataset", "mnist", "--data-dir", "nowhere"), 1, "nowhere does not exist"),
        (("lenet-5", "--dataset", "imagefolder"), 1, "needs --data-dir"),
        (("lenet-5", "--dataset", "imagefolder", "--data-dir", "."), 1, "no folder train/"),
        (("lenet-5", "--device", "mps"), 2, "use --device cpu"),
        (
            ("lenet-5", "--data-dir", "."),
            2,
            "--data-dir has no meaning for --dataset digits, which are part of scikit-l",
        ),
        *(
            (("lenet-5", "--method", "random", *option), 2, f"{option[0]} has no meaning for --method random")
            for option in (("--checkpoint-every", "3"), ("--resume",), ("--log", "x.jsonl"), ("--tensorboard", "x"))
        ),
        (("lenet-5", "--output", "/dev/null"), 1, "cannot write /dev/null: it is a device, expected a regular file"),
        (("lenet-5", "--log", "/dev/null"), 1, "cannot write /dev/null: it is a device, expected a regular file"),
        (("lenet-5", "--tensorboard", "/dev/null"), 1, "/dev/null is a device, expected a folder"),
        (("lenet-5", "--output", "x" * 256), 1, "File name too long"),
        (("lenet-5", "--output", "x" * 252, "--checkpoint-every", "1"), 1, "File name too long"),
        (("lenet-5", "--log", "no/log.jsonl"), 1, "cannot write no/log.jsonl: the folder no does not exist"),
    ],
)
def test_bad_requests(invoke: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    refused(invoke("search", *arguments, "--json"), code, words, tmp_path)


@pytest.mark.parametrize(
    ("name", "warnings", "words"),
    [
        ("photo.jpg", "", "its content is of no format that Pillow reads"),
        ("depth.tif", "", "its pixels are floating-point numbers"),
        ("exif.jpg", "error", "Corrupt EXIF data"),
    ],
)
def test_an_image_that_cannot_be_read_is_named_in_one_line(
    cli: Run, invoke: Run, tmp_path: Path, name: str, warnings: str, words: str
) -> None:
    lines = ["path,label,split", f"{name},red,train"]
    for index in range(8):
        save_picture(tmp_path / f"{index}.png", ("red", "blue")[index % 2], index)
        lines.append(f"{index}.png,{('red', 'blue')[index % 2]},{'train' if index < 4 else 'test'}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    (tmp_path / "photo.jpg").write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf" + bytes(200))
    Image.new("F", (8, 8)).save(tmp_path / "depth.tif")
    Image.new("RGB", (8, 8)).save(tmp_path / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0")
    search = ("search", "lenet-300-100", "--dataset", "csv", "--data-dir", "list.csv", "--max-steps", 2)
    done = cli(*search, PYTHONWARNINGS=warnings) if warnings else invoke(*search)
    refused(done, 1, f"cannot read the image {name} (list.csv, line 2): {words}", tmp_path)


def test_no_internet_and_no_copy_is_explained(invoke: Run, tmp_path: Path) -> None:
    """A proxy that refuses every connection stands in for a machine without internet."""
    (tmp_path / "images").mkdir()
    proxy = "http://127.0.0.1:9"
    done = invoke(
        *("search", "lenet-5", "--dataset", "cifar10", "--data-dir", "images"),
        http_proxy=proxy,
        https_proxy=proxy,
        no_proxy="",
    )
    refused(done, 1, "cifar10 is not in images and cannot be downloaded", tmp_path)


def test_a_log_changes_nothing_else(invoke: Run, tmp_path: Path) -> None:
    """With JSON on stdout, on stderr as plain text, and without a log."""
    search = ("search", "lenet-300-100", "--max-steps", 4, "--output")
    found = document(invoke(*search, "a.safetensors", "--log", "a.jsonl", "--tensorboard", "board", "--json"))
    quiet = invoke(*search, "b.safetensors", "--log", "a.jsonl", "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert set(found) == SEARCH_KEYS
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [(line["run"], line["step"], line["steps"]) for line in lines] == [
        (name, step, 4) for name in "ab" for step in range(1, 5)
    ]
    assert [path.name for path in (tmp_path / "board").iterdir()] == ["a"]
    assert invoke(*search, "c.safetensors").returncode == 0
    first, *others = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "abc")
    assert [first, first] == others


def test_a_log_never_lands_in_a_ticket(invoke: Run, searched: Searched, tmp_path: Path) -> None:
    done = invoke("search", "lenet-5", "--output", "t.safetensors", "--log", "./t.safetensors")
    refused(done, 2, "--log and --output are the same file", tmp_path)
    ticket = tmp_path / "t.safetensors"
    ticket.write_bytes(searched[0].read_bytes())
    done = invoke("search", "lenet-5", "--output", "u.safetensors", "--log", "t.safetensors")
    assert done.returncode == 1
    assert "t.safetensors holds something else than a log" in done.stderr
    assert ticket.read_bytes() == searched[0].read_bytes()
    assert list(tmp_path.iterdir()) == [ticket]


def test_without_tensorboard_it_is_named_before_the_search(
    invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = invoke("search", "lenet-5", "--tensorboard", "board", "--json")
    refused(done, 1, "logs for TensorBoard need the package tensorboard", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_few_images_can_be_searched_on_with_reports(invoke: Run, tmp_path: Path) -> None:
    """Of two classes of nine images each, a single one is held out: too few to show an accuracy."""
    for part in ("train", "test"):
        for name, shade in (("dark", 40), ("light", 160)):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for index in range(9):
                Image.new("L", (8, 8), shade + 5 * index).save(folder / f"{index}.png")
    images = ("--dataset", "imagefolder", "--data-dir", "images")
    search = ("search", "lenet-300-100", *images, "--max-steps", 3, "--output")
    document(invoke(*search, "a.safetensors", "--log", "log.jsonl", "--json"))
    assert invoke(*search, "b.safetensors").returncode == 0
    code, shown, _ = on_a_terminal(*search, "c.safetensors", cwd=tmp_path)
    assert (code, "Traceback" in shown) == (0, False)
    first, *others = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "abc")
    assert others == [first, first]


def on_a_terminal(*arguments: object, cwd: Path) -> tuple[int, str, str]:
    """Return the exit code, what a pseudo-terminal on stderr was shown, and stdout."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "slt_compress", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=follower, env=environment) as process:
        os.close(follower)
        seen = b""
        while True:
            ready, _, _ = select.select([leader], [], [], 60)
            try:
                chunk = os.read(leader, 65_536) if ready else b""
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            seen += chunk
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(leader)
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode()), out


def test_a_terminal_sees_progress(tmp_path: Path) -> None:
    """A pseudo-terminal on stderr gets the moving line; stdout gets the result alone."""
    code, text, out = on_a_terminal("search", "lenet-300-100", "--max-steps", 200, cwd=tmp_path)
    assert code == 0
    assert re.search(r"\d+/200 steps +loss [\d.]+ +sparsity [\d.]+ +accuracy [\d.]+ +[\d,]+ images/s", text)
    assert out.startswith("accuracy")


def test_a_default_name_that_is_too_long_comes_with_advice(invoke: Run, tmp_path: Path) -> None:
    name = f"{'x' * 230}-build-digits-0.9-0.safetensors"
    words = f"File name too long; {name} is the name by default, give another with --output"
    refused(invoke("search", f"{'x' * 230}.py:build", "--json"), 1, words, tmp_path)
    name = f"{'x' * 220}-build-digits-0.9-0.safetensors"  # which leaves no room for its checkpoint
    words = f"{name} is the name by default, give another with --output"
    refused(invoke("search", f"{'x' * 220}.py:build", "--checkpoint-every", 1), 1, words, tmp_path)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("when", ["measuring", "saving"])
def test_an_interrupt_after_the_search_leaves_its_ticket(
    invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, named: bool
) -> None:
    name = "t.safetensors" if named else "lenet-300-100-digits-0.9-0-2.safetensors"
    (tmp_path / "lenet-300-100-digits-0.9-0.safetensors").write_bytes(b"another result")
    search = ("search", "lenet-300-100", "--max-steps", 3, "--json", *(["--output", name] if named else []))
    found = document(invoke(*search))
    whole = Ticket.load(tmp_path / name)
    (tmp_path / name).unlink()
    module, attribute = (measure, "evaluate") if when == "measuring" else (files, "write_or_rescue")
    real, calls = getattr(module, attribute), itertools.count()

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 0:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(module, attribute, interrupted)
    done = invoke(*search)
    answer = document(done, 130)
    assert answer["error"].startswith(f"interrupted; the ticket was found, and is saved as {name}")
    assert done.stderr.splitlines()[-1] == f"error: {answer['error']}"
    kept = Ticket.load(tmp_path / name)
    assert all(np.array_equal(kept.mask(layer.name), whole.mask(layer.name)) for layer in whole.layers)
    assert bool(kept.provenance.metrics) == (when == "saving")
    if when == "measuring":
        advice = shlex.split(answer["error"].partition("not yet measured; later measure it with: slt-compress ")[2])
        assert document(invoke(*advice, "--json"))["accuracy"] == found["accuracy"]


def test_a_ticket_that_cannot_be_written_is_saved_elsewhere(
    invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder has been full, or gone, since the search began. Its checkpoint stays."""
    (tmp_path / "out").mkdir()
    real = accuracy.evaluate

    def remove(*arguments: Any, **options: Any) -> Any:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return real(*arguments, **options)

    monkeypatch.setattr(measure, "evaluate", remove)
    done = invoke("search", "lenet-300-100", "--max-steps", 3, "--output", "out/t.safetensors", "--json")
    words = f"the folder out does not exist; so that it is not lost, it is saved as {tmp_path / 't.safetensors'}"
    assert words in document(done, 1)["error"]
    assert Ticket.load(tmp_path / "t.safetensors").provenance.metrics


def test_tickets_that_name_themselves_never_replace_another_result(invoke: Run, tmp_path: Path) -> None:
    wanted = {
        (): "lenet-300-100-digits-0.9-0",
        ("--sparsity", 0.1234567): "lenet-300-100-digits-0.1234567-0",
        ("--sparsity", 0.1234568): "lenet-300-100-digits-0.1234568-0",
        ("--sparsity", 0): "lenet-300-100-digits-0-0",
        ("--seed", 3): "lenet-300-100-digits-0.9-3",
        ("--method", "edge-popup"): "lenet-300-100-digits-edge-popup-0.9-0",
        ("--method", "edge-popup", "--scope", "layer"): "lenet-300-100-digits-edge-popup-layer-0.9-0",
        ("--recipe", "paper"): "lenet-300-100-digits-crbg-paper-0.9-0",
        ("--lr", 0.3): "lenet-300-100-digits-0.9-0-2",
        ("--batch-size", 32): "lenet-300-100-digits-0.9-0-3",
    }
    for chosen, name in wanted.items():
        for _ in range(2):  # the same search again has nothing to lose
            done = invoke("search", "lenet-300-100", "--max-steps", 2, *chosen, "--json")
            assert document(done)["artifact"] == f"{name}.safetensors"
            taken = "holds another result and stays as it is" in done.stderr
            assert taken == name.endswith(("-0-2", "-0-3"))
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(wanted.values())
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == len(wanted) - 1  # 0.1234567 and …8 keep as many


def test_a_search_writes_over_nothing_that_it_reads(invoke: Run, tmp_path: Path) -> None:
    picture = tmp_path / "images" / "train" / "a" / "0.png"
    picture.parent.mkdir(parents=True)
    Image.new("L", (8, 8)).save(picture)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.csv").write_text("path,label\n../images/train/a/0.png,a\n")
    (tmp_path / "net.py").write_text("def build():\n    pass\n")
    listed = ("--dataset", "csv", "--data-dir")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    images = ("--dataset", "imagefolder", "--data-dir", "images")
    for words, message in (
        (("net.py:build", "--output", "net.py"), "the network and --output are the same file, net.py"),
        (("net.py:build", "--log", "./net.py"), "the network and --log are the same file, net.py"),
        (("lenet-5", *listed, "lists/list.csv", "--output", "lists/list.csv"), "--output would replace lists/list.csv"),
        (("lenet-5", *listed, "lists", "--log", "lists/list.csv"), "--log would replace lists/list.csv, one of the"),
        (("lenet-5", *listed, "lists", "--output", picture), "one of the files in --data-dir: give another --output"),
        (("lenet-5", "--dataset", "hf:~/images", "--output", picture), "one of the files in --dataset: give another"),
        (("lenet-5", *images, "--output", picture), "one of the files in --data-dir"),
        (("lenet-5", *images, "--tensorboard", "images"), "--data-dir and --tensorboard are the same file"),
    ):
        answer = document(invoke("search", *words, "--json", HOME=str(tmp_path)), 2)
        assert message in answer["error"]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_link_to_a_ticket_stays_a_link(invoke: Run, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to("store/t.safetensors")
    for steps in (1, 2):
        document(invoke("search", "lenet-300-100", "--max-steps", steps, "--output", "link", "--json"))
        assert (tmp_path / "link").is_symlink()
        assert [path.name for path in (tmp_path / "store").iterdir()] == ["t.safetensors"]


def test_what_comes_next_can_be_pasted(tmp_path: Path) -> None:
    """Into a shell, command by command, in a folder and with names of the worst kind."""
    folder = tmp_path / 'it\'s a "$HOME" `x` [b]'
    for part in ("train", "test"):
        for name, shade in (("dark", 40), ("light", 160)):
            (folder / "my images" / part / name).mkdir(parents=True)
            for index in range(9):
                Image.new("L", (8, 8), shade + 5 * index).save(folder / "my images" / part / name / f"{index}.png")
    line = (
        "slt-compress search lenet-300-100 --method random --dataset imagefolder "
        "--data-dir \"$PWD/my images\" --output='-o *;.safetensors'"
    )
    environment = {**os.environ, "PROGRAM": sys.executable}
    seen = []
    while line:
        seen.append(line.split()[1])
        script = f'slt-compress() {{ "$PROGRAM" -m slt_compress "$@"; }}\n{line}'
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        *_, last = done.stdout.strip().splitlines()
        line = last.removeprefix("next: ") if last.startswith("next: ") else ""
    assert seen == ["search", "export", "evaluate"]
    done = run_here("inspect", "./-o *;.safetensors", cwd=folder)
    assert done.stdout.endswith("next: slt-compress verify './-o *;.safetensors'\n")


def test_a_size_is_kept_and_names_the_file(invoke: Run, tmp_path: Path) -> None:
    done = invoke("search", "lenet-300-100", "--max-bytes", "5 KB", "--method", "random", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["artifact"] == "lenet-300-100-digits-random-5KB-0.safetensors"
    assert 4_750 <= document["bytes"] == (tmp_path / document["artifact"]).stat().st_size <= 5_000


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--max-bytes", "5KB", "--sparsity", "0.9"], 2, "give --sparsity or --max-bytes, not both"),
        (["--max-bytes", "many"], 2, "--max-bytes must be a number of bytes, such as 100KB or 1.5MB, got 'many'"),
        (["--max-bytes", "0"], 2, "--max-bytes must be a whole number of at least 1, got 0"),
        (["--max-bytes", "5KB", "--granularity", "neuron"], 2, "--max-bytes is for gates of weights, not for"),
        (["--max-bytes", "5KB", "--codec", "raw"], 2, "which --codec raw has not"),
        (["--max-bytes", "1KB"], 1, "--max-bytes 1000 cannot be reached: with one weight a tensor"),
        (["--init-from", "none.safetensors"], 2, "none.safetensors"),
    ],
)
def test_targets_that_cannot_be_are_refused(
    invoke: Run, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    refused(invoke("search", "lenet-300-100", "--max-steps", 2, "--quiet", *words), code, message, tmp_path)
