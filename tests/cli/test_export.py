"""`export`: every form is proven on real images, records where it comes from, and runs without this package."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from slt_compress import Ticket
from slt_compress.html_export import wasm
from slt_compress.ticket.sample import with_values
from tests.support.c_code import needs_compiler
from tests.support.commands import EXPORT_KEYS, Searched, document, refused
from tests.support.neuron_tickets import make_neuron_ticket
from tests.support.pages import needs_wasm
from tests.support.process import Run
from tests.support.tickets import make_ticket

ROOT = Path(__file__).parents[2]


def test_it_reports_what_it_wrote(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    found = document(invoke("export", searched[0], "--output", "t.onnx", "--json"))
    assert set(found) == EXPORT_KEYS
    assert found["bytes"] == (tmp_path / "t.onnx").stat().st_size
    assert found["max_abs_difference"] < 1e-4
    assert found["bit_identical_to_dense"]
    assert found["pictures"] == found["predictions_equal"] == 360


def test_stored_weights_take_the_forms_that_can_hold_them(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    ticket = with_values(Ticket.load(searched[0]), "int4")
    ticket.save(tmp_path / "t.safetensors")
    for options in ((), ("--weights", "int8", "--max-accuracy-drop", "1")):
        found = document(invoke("export", "t.safetensors", *options, "--output", "t.onnx", "--json"))
        assert found["bit_identical_to_dense"] == ("int8" not in options)
        assert found["bytes"] < 1.1 * len(ticket.to_bytes()) + 6000
        assert found["pictures"] == 360
    done = invoke("export", "t.safetensors", "--weights", "ternary8")
    assert done.returncode == 1
    assert "--weights ternary8 is for weights that follow from the seed, those of 1.weight are trained" in done.stderr
    assert "use --weights compact, or --weights dense" in done.stderr


def test_a_person_is_told_the_next_command(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    shutil.copy(searched[0], tmp_path / "t.safetensors")
    done = invoke("export", "t.safetensors")
    assert done.returncode == 0
    assert "next: slt-compress evaluate t.onnx" in done.stdout


def test_the_onnx_file_records_where_it_comes_from(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    assert invoke("export", searched[0], "--output", "t.onnx").returncode == 0
    recorded = {entry.key: entry.value for entry in onnx.load(tmp_path / "t.onnx").metadata_props}
    origin = json.loads(recorded["slt_compress"])
    assert origin["dataset"] == "digits"
    assert origin["classes"] == list("0123456789")
    assert origin["preprocessing"]["size"] == 8
    assert origin["ticket"] == document(invoke("inspect", searched[0], "--json"))["digest"]


@pytest.mark.parametrize("weights", ["compact", "dense", "int2", "ternary8", "int8"])
def test_every_form_of_weights_is_proven_on_real_images(
    searched: Searched, invoke: Run, tmp_path: Path, weights: str
) -> None:
    options = ("--weights", weights, "--include-preprocessing", "--output", "t.onnx", "--json")
    found = document(invoke("export", searched[0], *options))
    assert found["weights"] == weights
    assert found["bytes"] == (tmp_path / "t.onnx").stat().st_size
    assert found["bit_identical_to_plain"]
    assert found["bit_identical_to_dense"] == (weights != "int8")
    assert found["pictures"] == 360
    assert found["predictions_equal"] >= (350 if weights == "int8" else 360)
    assert found["calibration_pictures"] == (256 if weights == "int8" else 0)
    measured = document(invoke("evaluate", "t.onnx", "--json"))
    assert measured["accuracy"] == found["accuracy_after"]
    assert abs(found["accuracy_after"] - found["accuracy_before"]) <= 0.01


def test_an_edge_device_needs_three_packages(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    """The example classifies digits as the evaluation does, and imports neither torch nor this package."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index in range(10):
        pixels = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    images = [f"{index}.png" for index in range(10)]
    script = ROOT / "examples" / "edge" / "classify.py"
    blocked = "import sys; sys.modules.update(torch=None, slt_compress=None); import runpy; sys.argv = sys.argv[1:]; "
    for option in ((), ("--include-preprocessing",)):
        assert invoke("export", searched[0], "--output", "t.onnx", *option).returncode == 0
        command = [sys.executable, "-c", f"{blocked}runpy.run_path(sys.argv[0], run_name='__main__')", str(script)]
        done = subprocess.run([*command, "t.onnx", *images], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = re.findall(r"(\d)\.png: (\d) \(", done.stdout)
        assert len(found) == 10
        assert sum(digits.target[int(index)] == int(label) for index, label in found) >= 9


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--weights", "int2", "--opset", 20), 2, "--weights int2 needs --opset 25"),
        (("--weights", "int8", "--max-accuracy-drop", 2), 2, "max-accuracy-drop"),
        (("--max-accuracy-drop", 0.01), 2, "--max-accuracy-drop has no meaning for --weights compact"),
        (("--weights", "dense", "--max-accuracy-drop", 0), 2, "--max-accuracy-drop has no meaning for --weights dense"),
        (("--data-dir", "."), 2, "--data-dir has no meaning for --dataset digits"),
        (("--dataset", "mnits"), 2, "unknown data set 'mnits': did you mean mnist"),
        (("--dataset", "imagefolder"), 1, "imagefolder needs --data-dir"),
        (("--data-dir", "nowhere", "--dataset", "imagefolder"), 1, "nowhere"),
    ],
)
def test_wrong_ways_to_export(
    searched: Searched, invoke: Run, tmp_path: Path, options: tuple[object, ...], code: int, words: str
) -> None:
    refused(invoke("export", searched[0], "--output", "t.onnx", *options), code, words, tmp_path)


def test_a_missing_ticket_is_named(invoke: Run, tmp_path: Path) -> None:
    refused(invoke("export", "missing.safetensors", "--json"), 2, "missing.safetensors does not exist", tmp_path)


@pytest.mark.parametrize("other", ["t.onnx", "./t.onnx", "link", "hard", "sub/../t.onnx"])
def test_a_ticket_is_never_replaced_by_its_export(searched: Searched, invoke: Run, tmp_path: Path, other: str) -> None:
    """Whatever it is called."""
    ticket = tmp_path / "t.onnx"
    shutil.copy(searched[0], ticket)
    (tmp_path / "link").symlink_to("t.onnx")
    (tmp_path / "hard").hardlink_to(ticket)
    (tmp_path / "sub").mkdir()
    done = invoke("export", "t.onnx", "--output", other, "--json")
    assert (
        document(done, 2)["error"] == f"the ticket and --output are the same file, {Path(other)}: give another --output"
    )
    assert ticket.read_bytes() == searched[0].read_bytes()


def test_an_export_writes_over_no_image_that_it_is_checked_on(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    for name in ("lists/list.csv", "far/0.png", "set/data.arrow"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("path,label\n../far/0.png,a\n")
    for output, images, argument in (
        ("far/0.png", ("--dataset", "csv", "--data-dir", "lists"), "--data-dir"),
        ("set/data.arrow", ("--dataset", "hf:~/set"), "--dataset"),
    ):
        done = invoke("export", searched[0], "--output", output, *images, "--json", HOME=str(tmp_path))
        words = f"--output would replace {output}, one of the files in {argument}: give another --output"
        assert document(done, 2)["error"] == words
        assert (tmp_path / output).read_text().startswith("path,label")


def test_the_default_name_is_that_of_the_ticket_and_another_file(
    searched: Searched, invoke: Run, tmp_path: Path
) -> None:
    names = {"run-0.9": "run-0.9.onnx", "run-0.95": "run-0.95.onnx", "t.onnx": "t.onnx.onnx"}
    for ticket, expected in names.items():
        shutil.copy(searched[0], tmp_path / ticket)
        assert document(invoke("export", ticket, "--json"))["onnx"] == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, *names.values()])


def test_a_default_name_replaces_nothing_else(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    """Two tickets may have one, and a file of a user's, too; the same export again has nothing to lose."""
    other = make_ticket("lenet-5", 0.5, seed=7)
    shutil.copy(searched[0], tmp_path / "run-0.9")
    other.save(tmp_path / "run-0.9.safetensors")
    (tmp_path / "run-0.9-2.onnx").write_bytes(b"mine")
    for ticket, expected in (
        *(("run-0.9", "run-0.9.onnx"), ("run-0.9.safetensors", "run-0.9-3.onnx"), ("run-0.9", "run-0.9.onnx")),
        ("run-0.9.safetensors", "run-0.9-3.onnx"),
    ):
        done = invoke("export", ticket, "--json")
        assert document(done)["onnx"] == expected
        assert (done.stderr == "run-0.9.onnx holds something else and stays as it is\n") == ("-3" in expected)
    assert (tmp_path / "run-0.9-2.onnx").read_bytes() == b"mine"
    assert other.digest.encode() in (tmp_path / "run-0.9-3.onnx").read_bytes()
    assert document(invoke("export", "run-0.9", "--output", "run-0.9-2.onnx", "--json"))["onnx"] == "run-0.9-2.onnx"
    assert (tmp_path / "run-0.9-2.onnx").read_bytes() == (tmp_path / "run-0.9.onnx").read_bytes()


def test_a_default_name_that_is_too_long_comes_with_advice(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    shutil.copy(searched[0], tmp_path / ("x" * 252))
    words = f"File name too long; {'x' * 252}.onnx is the name by default, give another with --output"
    refused(invoke("export", "x" * 252), 1, words, tmp_path)


def test_a_device_is_not_replaced(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    for output in ("null", "/dev/null"):
        done = invoke("export", searched[0], "--output", output)
        refused(done, 1, f"cannot write {output}: it is a device, expected a regular file", tmp_path)


C_KEYS = {
    *("c", "header", "bytes", "layout", "arithmetic", "table_bytes", "arena_bytes", "arena_bound_bytes", "compiler"),
    *("max_abs_difference", "pictures", "predictions_equal", "accuracy_before", "accuracy_after"),
    *("calibration_pictures", "neurons", "removed_neurons", "parameters_before", "parameters_after"),
    *("macs_before", "macs_after"),
}


@needs_compiler
def test_a_c_file_is_proven_and_described(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    found = document(invoke("export", searched[0], "--output", "t.c", "--layout", "signs", "--json"))
    assert set(found) == C_KEYS
    assert found["layout"] == "signs"
    assert found["bytes"] == (tmp_path / "t.c").stat().st_size
    assert found["header"] == "t.h"
    assert found["arena_bytes"] == found["arena_bound_bytes"] == 1600
    assert found["pictures"] == found["predictions_equal"] == 360


@needs_compiler
def test_a_c_file_in_whole_numbers_is_calibrated_and_measured(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    found = document(invoke("export", searched[0], "--output", "t.c", "--arithmetic", "fixed", "--json"))
    assert found["arithmetic"] == "fixed"
    assert found["bytes"] == (tmp_path / "t.c").stat().st_size
    assert found["arena_bytes"] < 500  # bytes, not words
    assert found["calibration_pictures"] == 256
    assert found["predictions_equal"] >= 350
    assert abs(found["accuracy_after"] - found["accuracy_before"]) <= 0.01
    done = invoke("export", searched[0], "--output", "t.c", "--arithmetic", "fixed", "--max-accuracy-drop", 1)
    assert f"{found['accuracy_before']:.2%} before, {found['accuracy_after']:.2%} after" in done.stdout


@needs_compiler
def test_dead_neurons_are_in_no_c_file(invoke: Run, tmp_path: Path) -> None:
    make_neuron_ticket("lenet-5", 0.5, size=28).save(tmp_path / "t.safetensors")
    call = ("export", "t.safetensors", "--output", "t.c")
    found, kept = document(invoke(*call, "--json")), document(invoke(*call, "--keep-structure", "--json"))
    assert found["removed_neurons"] > 0.4 * found["neurons"]
    assert found["parameters_after"] < 0.5 * found["parameters_before"]
    assert kept["removed_neurons"] is None
    assert kept["parameters_after"] == found["parameters_before"]
    assert kept["macs_after"] == kept["macs_before"] == found["macs_before"] > 2 * found["macs_after"]
    assert found["table_bytes"] < 0.25 * kept["table_bytes"]
    assert found["arena_bytes"] < kept["arena_bytes"]
    removed = f"{found['removed_neurons']} of {found['neurons']} neurons; "
    assert removed in invoke(*call).stdout


@needs_compiler
def test_a_program_tells_the_class_of_an_image(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    """It follows the advice that the command gives, and reads what image software writes."""
    from PIL import Image
    from sklearn.datasets import load_digits

    shutil.copy(searched[0], tmp_path / "digits.safetensors")
    done = invoke("export", "digits.safetensors", "--format", "c", "--main")
    assert done.returncode == 0
    assert "1.6 KB of static memory" in done.stdout
    command = re.findall(r"next: (cc .*)", done.stdout)[0].split()
    subprocess.run(command, cwd=tmp_path, check=True)
    digits = load_digits()
    right = 0
    for index in range(20):
        pixels = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "digit.pgm")
        image = (tmp_path / "digit.pgm").read_bytes().replace(b"P5\n", b"P5\n# a comment 8 8\n", 1)
        answer = subprocess.run([tmp_path / "digits"], input=image, capture_output=True, check=True).stdout.split()
        assert len(answer) == 12
        assert answer[0] == answer[1]  # the class, and its name
        right += int(answer[0]) == digits.target[index]
    assert right >= 18
    for wrong in (b"", b"P5 9 8 255\n" + bytes(72), image[:-1], image.replace(b"P5", b"P6", 1)):
        refusal = subprocess.run([tmp_path / "digits"], input=wrong, capture_output=True, check=False)
        assert refusal.returncode == 2
        assert b"expected a binary PGM image of 8 x 8 pixels with 255 levels" in refusal.stderr


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--output", "t.c", "--weights", "dense"), 2, "--weights has no meaning for --format c"),
        (("--output", "t.c", "--opset", 20), 2, "--opset has no meaning for --format c"),
        (("--output", "t.c", "--include-preprocessing"), 2, "--include-preprocessing has no meaning for --format c"),
        (("--output", "t.onnx", "--layout", "gap"), 2, "--layout has no meaning for --format onnx"),
        (("--format", "onnx", "--output", "t.c", "--main"), 2, "--main has no meaning for --format onnx"),
        (("--output", "t.onnx", "--arithmetic", "fixed"), 2, "--arithmetic has no meaning for --format onnx"),
        (
            ("--output", "t.c", "--max-accuracy-drop", 0.1),
            2,
            "--max-accuracy-drop has no meaning for --arithmetic float",
        ),
        (("--format", "c", "--output", "t.h"), 2, "are the same file, t.h"),
        (("--format", "c", "--output", "t"), 2, "--output must be a name such as ticket.c"),
    ],
)
def test_wrong_ways_to_export_c(
    searched: Searched, invoke: Run, tmp_path: Path, options: tuple[object, ...], code: int, words: str
) -> None:
    refused(invoke("export", searched[0], *options), code, words, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_header_replaces_no_ticket(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    shutil.copy(searched[0], tmp_path / "t.h")
    refused(invoke("export", "t.h", "--output", "t.c"), 2, "are the same file", tmp_path)
    assert (tmp_path / "t.h").read_bytes() == searched[0].read_bytes()


@needs_wasm
def test_a_page_is_proven_and_described(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    shutil.copy(searched[0], tmp_path / "t.safetensors")
    (tmp_path / "t.html").write_bytes(b"mine")
    done = invoke("export", "t.safetensors", "--format", "html")
    assert done.returncode == 0
    assert "t.html holds something else and stays as it is" in done.stderr
    assert "next: open t-2.html in a browser" in done.stdout
    found = document(invoke("export", "t.safetensors", "--output", "t.html", "--title", "<Digits>", "--json"))
    assert set(found) == PAGE_KEYS
    assert found["bytes"] == (tmp_path / "t.html").stat().st_size
    assert "<h1>&lt;Digits&gt;</h1>" in (tmp_path / "t.html").read_text()
    assert found["predictions_equal"] == (360 if found["proven_with"] else None)


PAGE_KEYS = C_KEYS - {"c", "header", "table_bytes", "arena_bytes", "arena_bound_bytes"} | {
    *("html", "module_bytes", "proven_with", "module_run")
}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--main",), 2, "--main has no meaning for --format html"),
        (("--weights", "dense"), 2, "--weights has no meaning for --format html"),
        (("--title", " "), 2, "--title must be a line of text, got ' '"),
        (("--format", "c", "--title", "x"), 2, "--title has no meaning for --format c"),
    ],
)
def test_wrong_ways_to_export_a_page(
    searched: Searched, invoke: Run, tmp_path: Path, options: tuple[object, ...], code: int, words: str
) -> None:
    refused(invoke("export", searched[0], "--output", "t.html", *options), code, words, tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_wasm
def test_a_network_beyond_c_is_no_page(invoke: Run, tmp_path: Path) -> None:
    make_ticket("test_vit", 0.5, size=16, channels=1).save(tmp_path / "t.safetensors")
    done = invoke("export", "t.safetensors", "--output", "t.html")
    assert done.returncode == 1
    assert "C code has no " in done.stderr
    assert "use --format onnx" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_without_a_compiler_for_webassembly_one_line_says_what_to_install(
    searched: Searched, invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm, "_PACKAGE", "no_such_package")
    monkeypatch.setenv("PATH", str(tmp_path))
    words = "--format html needs a compiler for WebAssembly: pip install ziglang, or put clang and wasm-ld in PATH"
    refused(invoke("export", searched[0], "--output", "t.html"), 1, words, tmp_path)
