"""The command line as a user meets it: real processes, exit codes, one JSON document, nothing left behind."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from slt_compress import Ticket, bits, data, methods, seeding
from slt_compress import cli as module
from tests.conftest import Run, run_cli

SEARCH_KEYS = {
    *("artifact", "model", "dataset", "method", "seed", "sparsity", "accuracy", "validation_accuracy", "loss"),
    *("bytes", "mask_bytes", "mask_bound_bytes", "dense_bytes", "epochs", "seconds", "images_per_second"),
}
EXPORT_KEYS = {
    *("onnx", "bytes", "weights", "opset", "max_abs_difference", "bit_identical_to_dense", "bit_identical_to_plain"),
    *("pictures", "predictions_equal", "accuracy_before", "accuracy_after", "calibration_pictures"),
}
Searched = tuple[Path, dict[str, Any]]


def document(done: "subprocess.CompletedProcess[str]", code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def refused(done: "subprocess.CompletedProcess[str]", code: int, words: str, folder: Path) -> None:
    """One message, the right code, no traceback, nothing on stdout, no new file."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= (1 if code != 2 or "Usage" not in done.stderr else 99)
    assert done.stdout == ""
    assert [path for path in folder.iterdir() if path.suffix in (".safetensors", ".onnx", ".tmp")] == []


def test_search_reports_what_it_wrote(searched: Searched) -> None:
    path, found = searched
    assert set(found) == SEARCH_KEYS
    assert found["bytes"] == path.stat().st_size
    assert found["sparsity"] == pytest.approx(0.9, abs=0.005)
    assert found["accuracy"] > 0.9
    assert found["dense_bytes"] > 15 * found["bytes"]
    assert found["mask_bound_bytes"] < found["mask_bytes"] < 1.1 * found["mask_bound_bytes"]
    assert found["epochs"] == 30


def test_the_whole_road_agrees(searched: Searched, tmp_path: Path) -> None:
    path, found = searched
    torch_result = document(run_cli("evaluate", path, "--json", cwd=tmp_path))
    exported = document(run_cli("export", path, "--output", "t.onnx", "--json", cwd=tmp_path))
    onnx_result = document(run_cli("evaluate", "t.onnx", "--json", cwd=tmp_path))
    assert torch_result["accuracy"] == found["accuracy"] == onnx_result["accuracy"]
    assert torch_result["loss"] == pytest.approx(found["loss"])
    assert (torch_result["backend"], onnx_result["backend"]) == ("torch", "onnxruntime")
    assert torch_result["samples"] == 360
    assert torch_result["sparsity"] == onnx_result["sparsity"] == found["sparsity"]
    assert set(exported) == EXPORT_KEYS
    assert exported["bytes"] == onnx_result["bytes"] == (tmp_path / "t.onnx").stat().st_size
    assert exported["max_abs_difference"] < 1e-4
    assert exported["bit_identical_to_dense"]
    assert exported["pictures"] == exported["predictions_equal"] == 360


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(cli: Run, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        done = cli("search", "lenet-300-100", "--max-steps", 10, "--seed", seed, "--output", f"{name}.safetensors")
        assert done.returncode == 0
    first, again, other = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_a_random_ticket_needs_no_steps(cli: Run, tmp_path: Path) -> None:
    found = document(cli("search", "lenet-5", "--method", "random", "--sparsity", 0.3, "--json"))
    assert (found["epochs"], found["images_per_second"]) == (0, 0)
    assert found["sparsity"] == pytest.approx(0.3, abs=0.005)
    assert found["artifact"] == "lenet-5-digits-0.3-0.safetensors"
    assert (tmp_path / found["artifact"]).exists()


def test_a_frozen_ticket_goes_the_whole_road(cli: Run) -> None:
    options = ("--method", "edge-popup", "--scope", "global", "--recipe", "paper", "--max-steps", 20)
    frozen = ("--freeze-ratio", 0.7, "--lock-ratio", 0.1, "--sparsity", 0.8)
    found = document(cli("search", "lenet-300-100", *options, *frozen, "--output", "t.safetensors", "--json"))
    assert found["sparsity"] == pytest.approx(0.8, abs=0.0005)
    shown = document(cli("inspect", "t.safetensors", "--json"))
    assert (shown["freeze_ratio"], shown["lock_ratio"]) == (0.7, 0.1)
    assert shown["method"]["settings"]["scope"] == "global"
    assert shown["method"]["settings"]["recipe"] == "paper"
    assert "70.0% of the mask by the seed: 10.0% kept, 60.0% dropped" in cli("inspect", "t.safetensors").stdout
    assert cli("verify", "t.safetensors").returncode == 0
    assert cli("export", "t.safetensors", "--output", "t.onnx").returncode == 0
    for name in ("t.safetensors", "t.onnx"):
        assert document(cli("evaluate", name, "--json"))["accuracy"] == found["accuracy"]


def test_inspect_accounts_for_every_byte(searched: Searched, cli: Run) -> None:
    shown = document(cli("inspect", searched[0], "--json"))
    assert shown["bytes"] == searched[0].stat().st_size
    assert sum(layer["bytes"] for layer in shown["layers"]) == shown["mask_bytes"]
    assert sum(layer["weights"] for layer in shown["layers"]) == 50_200
    assert set(shown["layers"][0]) >= {"name", "shape", "weights", "kept", "codec", "bytes", "bound_bytes"}
    assert shown["method"]["name"] == "crbg"
    text = cli("inspect", searched[0]).stdout
    for word in ("1.weight", "300×64", "rice", "Shannon bound", "digits", "slt-compress evaluate"):
        assert word in text


def test_a_person_gets_a_summary_and_the_next_command(cli: Run) -> None:
    done = cli("search", "lenet-300-100", "--max-steps", 5, "--output", "t.safetensors")
    assert done.returncode == 0
    assert "next: slt-compress export t.safetensors" in done.stdout
    assert "50,200 gated weights" in done.stderr
    done = cli("export", "t.safetensors")
    assert "next: slt-compress evaluate t.onnx" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("search", "lenet300-100"), 2, "did you mean lenet-300-100"),
        (("search", "resnet81"), 2, "did you mean resnet"),
        (("search", "lenet-5", "--dataset", "minst"), 2, "did you mean mnist"),
        (("search", "lenet-5", "--sparsity", "1"), 2, "--sparsity must be at least 0 and below 1, got 1"),
        (("search", "lenet-5", "--sparsity", "-0.1"), 2, "got -0.1"),
        (("search", "lenet-5", "--sparsity", "nan"), 2, "got nan"),
        (("search", "lenet-5", "--epochs", "0"), 2, "--epochs must be at least 1, got 0"),
        (("search", "lenet-5", "--max-steps", "0"), 2, "--max-steps must be at least 1, got 0"),
        (("search", "lenet-5", "--epochs", "1", "--max-steps", "1"), 2, "not both"),
        (("search", "lenet-5", "--lr", "-1"), 2, "--lr must be a positive number"),
        (("search", "lenet-5", "--seed", "-1"), 2, "--seed"),
        (("search", "lenet-5", "--method", "magic"), 2, "magic"),
        (("search", "lenet-5", "--scope", "layer"), 2, "--scope is for --method edge-popup alone"),
        (("search", "lenet-5", "--method", "random", "--lr", "1"), 2, "--lr has no meaning for --method random"),
        (("search", "lenet-5", "--freeze-ratio", "1"), 2, "--freeze-ratio must be at least 0 and below 1, got 1"),
        (("search", "lenet-5", "--freeze-ratio", "nan"), 2, "got nan"),
        (("search", "lenet-5", "--lock-ratio", "0.1"), 2, "--lock-ratio must be from 0 to --freeze-ratio, 0, got 0.1"),
        (("search", "lenet-5", "--freeze-ratio", ".5", "--lock-ratio", "-.1"), 2, "got -0.1"),
        (("search", "lenet-5", "--freeze-ratio", ".5", "--lock-ratio", ".2"), 1, "sparsity 0.9 cannot be reached"),
        (("search", "lenet-5", "--output", "no/t.safetensors"), 1, "the folder no does not exist"),
        (("search", "lenet-5", "--output", "."), 1, "is a folder"),
        (("search", "lenet-5", "--dataset", "mnist", "--data-dir", "nowhere"), 1, "nowhere does not exist"),
        (("search", "lenet-5", "--dataset", "imagefolder"), 1, "needs --data-dir"),
        (("search", "lenet-5", "--dataset", "imagefolder", "--data-dir", "."), 1, "no folder train/"),
        (("search", "lenet-5", "--device", "mps"), 2, "use --device cpu"),
        (("evaluate", "missing.safetensors"), 2, "missing.safetensors does not exist"),
        (("evaluate", "missing.onnx", "--backend", "torch"), 2, "runs under onnxruntime"),
        (("evaluate", "t.safetensors", "--backend", "onnxruntime"), 2, "slt-compress export t.safetensors"),
        (("export", "missing.safetensors"), 2, "does not exist"),
        (("inspect", "."), 2, "is a folder"),
    ],
)
def test_bad_requests(cli: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    refused(cli(*arguments, "--json"), code, words, tmp_path)


@pytest.mark.parametrize("command", ["evaluate", "inspect", "export", "verify"])
@pytest.mark.parametrize("kind", ["noise", "truncated", "foreign", "flipped", "empty"])
def test_files_that_are_no_tickets(searched: Searched, cli: Run, tmp_path: Path, command: str, kind: str) -> None:
    whole = searched[0].read_bytes()
    path = tmp_path / "bad.bin"
    if kind == "foreign":
        save_file({"weight": np.zeros(10, np.float32)}, path)
    else:
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 4
        noise = np.random.default_rng(0).bytes(9000)
        path.write_bytes({"noise": noise, "truncated": whole[:-100], "flipped": bytes(flipped), "empty": b""}[kind])
    refused(cli(command, path), 3, "bad.bin is not a valid ticket", tmp_path)


def test_verify_recomputes_everything(searched: Searched, cli: Run) -> None:
    shown = document(cli("verify", searched[0], "--json"))
    assert shown["verified"] is True
    assert shown["layers"] == 3
    assert shown["digest"] == document(cli("inspect", searched[0], "--json"))["digest"]
    assert "3 decoded" in cli("verify", searched[0]).stdout


def test_verify_notices_other_weights(searched: Searched, cli: Run, tmp_path: Path) -> None:
    """A whole file, correctly digested, whose weights were made by another generator."""
    ticket = Ticket.load(searched[0])
    replace(ticket, weights_digest="0" * 64).save(tmp_path / "other.safetensors")
    done = cli("verify", "other.safetensors")
    assert done.returncode == 3
    assert "the seed generates weights of digest" in done.stderr


@pytest.mark.parametrize("codec", ["raw", "rice"])
@pytest.mark.parametrize("init", ["kaiming-uniform", "kaiming-normal"])
def test_codecs_and_initialisers_can_be_chosen(cli: Run, codec: str, init: str) -> None:
    options = ("--method", "random", "--codec", codec, "--init", init, "--statistics", "fp16")
    found = document(cli("search", "lenet-300-100", *options, "--output", "t.safetensors", "--json"))
    shown = document(cli("inspect", "t.safetensors", "--json"))
    assert {layer["codec"] for layer in shown["layers"]} == {codec}
    assert shown["initialiser"] == init
    assert shown["statistics_bytes"] == 2 * 2 * 410
    assert document(cli("evaluate", "t.safetensors", "--json"))["accuracy"] == found["accuracy"]


def test_a_class_mismatch_is_explained(searched: Searched, cli: Run, tmp_path: Path) -> None:
    from PIL import Image

    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / part / name / "0.png")
    done = cli("evaluate", searched[0], "--dataset", "imagefolder", "--data-dir", ".")
    refused(done, 1, "tells apart 10 classes (0, 1, 2, 3, …), imagefolder has 2 (cat, dog)", tmp_path)


def test_min_accuracy_decides_the_exit_code(searched: Searched, cli: Run) -> None:
    assert cli("evaluate", searched[0], "--min-accuracy", 0.5).returncode == 0
    done = cli("evaluate", searched[0], "--min-accuracy", 0.999, "--json")
    assert document(done, 3)["accuracy"] < 0.999
    assert "below --min-accuracy 0.999" in done.stderr


def test_class_names_from_a_file_are_plain_text(searched: Searched, cli: Run, tmp_path: Path) -> None:
    ticket = Ticket.load(searched[0])
    hostile = ["[bold]x[/bold]\x1b[2J", *ticket.provenance.classes[1:]]
    replace(ticket, provenance=replace(ticket.provenance, classes=hostile)).save(tmp_path / "t.safetensors")
    done = cli("inspect", "t.safetensors")
    assert "[bold]x[/bold]\\x1b[2J" in done.stdout


def test_no_internet_and_no_copy_is_explained(cli: Run, tmp_path: Path) -> None:
    """A proxy that refuses every connection stands in for a machine without internet."""
    (tmp_path / "pictures").mkdir()
    proxy = "http://127.0.0.1:9"
    done = cli(
        *("search", "lenet-5", "--dataset", "cifar10", "--data-dir", "pictures"),
        http_proxy=proxy,
        https_proxy=proxy,
        no_proxy="",
    )
    refused(done, 1, "cifar10 is not in pictures and cannot be downloaded", tmp_path)


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "slt_compress", "search", "lenet-300-100", "--epochs", "100000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "gated weights" in process.stderr.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted; nothing was written" in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_sees_progress(tmp_path: Path) -> None:
    """A pseudo-terminal on stderr gets the moving line; stdout gets the result alone."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "slt_compress", "search", "lenet-300-100", "--max-steps", "200"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=follower, env=environment) as process:
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
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    assert re.search(r"\d+/200 steps +loss [\d.]+ +sparsity [\d.]+ +accuracy [\d.]+ +[\d,]+ images/s", text)
    assert out.startswith("accuracy")


def test_help_names_every_command_and_option() -> None:
    done = run_cli("--help", cwd=Path.cwd())
    for command in ("search", "compare", "evaluate", "export", "inspect", "verify"):
        assert command in done.stdout
        assert run_cli(command, "-h", cwd=Path.cwd()).returncode == 0


def test_choices_are_those_the_library_knows() -> None:
    assert {name.value for name in module.MethodName} == set(methods.NAMES)
    assert {name.value for name in module.ScopeName} == set(methods.SCOPES)
    assert {name.value for name in module.RecipeName} == set(methods.RECIPES)
    assert {name.value for name in module.InitialiserName} == set(seeding.INITIALISERS)
    assert {name.value for name in module.CodecName} == {"auto", *bits.CODECS}
    assert set(re.split(r", | or ", module._DATASETS)) == set(data.NAMES)


def test_the_onnx_file_records_where_it_comes_from(searched: Searched, cli: Run, tmp_path: Path) -> None:
    assert cli("export", searched[0], "--output", "t.onnx").returncode == 0
    recorded = {entry.key: entry.value for entry in onnx.load(tmp_path / "t.onnx").metadata_props}
    origin = json.loads(recorded["slt_compress"])
    assert origin["dataset"] == "digits"
    assert origin["classes"] == list("0123456789")
    assert origin["preprocessing"]["size"] == 8
    assert origin["ticket"] == document(cli("inspect", searched[0], "--json"))["digest"]


@pytest.mark.parametrize("weights", ["compact", "dense", "int2", "int8"])
def test_every_form_of_weights_is_proven_on_real_pictures(
    searched: Searched, cli: Run, tmp_path: Path, weights: str
) -> None:
    options = ("--weights", weights, "--include-preprocessing", "--output", "t.onnx", "--json")
    found = document(cli("export", searched[0], *options))
    assert found["weights"] == weights
    assert found["bytes"] == (tmp_path / "t.onnx").stat().st_size
    assert found["bit_identical_to_plain"]
    assert found["bit_identical_to_dense"] == (weights != "int8")
    assert found["pictures"] == 360
    assert found["predictions_equal"] >= (350 if weights == "int8" else 360)
    assert found["calibration_pictures"] == (256 if weights == "int8" else 0)
    measured = document(cli("evaluate", "t.onnx", "--json"))
    assert measured["accuracy"] == found["accuracy_after"]
    assert abs(found["accuracy_after"] - found["accuracy_before"]) <= 0.01


def test_an_edge_device_needs_three_packages(searched: Searched, cli: Run, tmp_path: Path) -> None:
    """The example classifies digits as the evaluation does, and imports neither torch nor this package."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index in range(10):
        pixels = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    pictures = [f"{index}.png" for index in range(10)]
    script = Path(__file__).parent.parent / "examples" / "edge" / "classify.py"
    blocked = "import sys; sys.modules.update(torch=None, slt_compress=None); import runpy; sys.argv = sys.argv[1:]; "
    for option in ((), ("--include-preprocessing",)):
        assert cli("export", searched[0], "--output", "t.onnx", *option).returncode == 0
        command = [sys.executable, "-c", f"{blocked}runpy.run_path(sys.argv[0], run_name='__main__')", str(script)]
        done = subprocess.run(
            [*command, "t.onnx", *pictures], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found = re.findall(r"(\d)\.png: (\d) \(", done.stdout)
        assert len(found) == 10
        assert sum(digits.target[int(index)] == int(label) for index, label in found) >= 9


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--weights", "int2", "--opset", 20), 2, "--weights int2 needs --opset 25"),
        (("--weights", "int8", "--max-accuracy-drop", 2), 2, "max-accuracy-drop"),
        (("--dataset", "mnits"), 2, "unknown data set 'mnits': did you mean mnist"),
        (("--dataset", "imagefolder"), 1, "imagefolder needs --data-dir"),
        (("--data-dir", "nowhere", "--dataset", "imagefolder"), 1, "nowhere"),
    ],
)
def test_wrong_ways_to_export(
    searched: Searched, cli: Run, tmp_path: Path, options: tuple[object, ...], code: int, words: str
) -> None:
    refused(cli("export", searched[0], "--output", "t.onnx", *options), code, words, tmp_path)


def test_resnet18_on_a_folder_of_pictures(cli: Run, tmp_path: Path) -> None:
    """The whole road for a timm network: 11 M weights at one bit each, 1.4 MB."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 4)):
        for label, name in enumerate(("dark", "light")):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 128, (16, 16, 3)) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / part / name / f"{index}.png")
    folder = ("--dataset", "imagefolder", "--data-dir", "pictures")
    options = ("--max-steps", 4, "--codec", "raw", "--output", "t.safetensors")
    found = document(cli("search", "resnet18", *folder, *options, "--json"))
    assert found["sparsity"] == pytest.approx(0.9, abs=0.0005)
    assert found["bytes"] == pytest.approx(11_164_352 / 8, rel=0.05)
    assert found["dense_bytes"] == pytest.approx(44.7e6, rel=0.01)
    dense = document(cli("export", "t.safetensors", "--weights", "dense", "--output", "dense.onnx", "--json"))
    assert dense["bytes"] == pytest.approx(44.7e6, rel=0.01)
    exported = document(cli("export", "t.safetensors", "--json"))
    assert exported["bit_identical_to_dense"] is True
    assert exported["bytes"] < 0.6 * found["bytes"]  # the masks of a raw ticket travel in the shorter code
    results = [
        document(cli("evaluate", name, "--data-dir", "pictures", "--json")) for name in ("t.safetensors", "t.onnx")
    ]
    assert results[0]["accuracy"] == results[1]["accuracy"] == found["accuracy"]
