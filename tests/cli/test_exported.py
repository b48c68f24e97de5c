"""What `export` says: of a folder here, of files in `test_export`."""

import re
import shutil
from pathlib import Path

import pytest

from slt_compress.html_export import wasm
from tests.support.commands import EXPORT_KEYS, Searched, document, refused
from tests.support.pages import RUNTIME, fake_runtime, needs_node, needs_runtime
from tests.support.process import Run
from tests.support.tickets import make_ticket

FILES = {"index.html", "network.onnx", "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"}


@needs_node
@needs_runtime
def test_a_folder_is_proven_and_described(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    call = ("export", searched[0], "--format", "web", "--output", "site", "--runtime", RUNTIME)
    found = document(invoke(*call, "--title", "<Digits>", "--json"))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "site").iterdir()}
    assert set(sizes) == FILES
    assert found["files"] == sizes
    assert found["bytes"] == sum(sizes.values()) > found["gzip_bytes"]
    assert found["pictures"] == found["predictions_equal"] == 360
    assert found["runtime_pictures"] == found["runtime_predictions_equal"] == 360
    assert found["runtime_proven_with"] == wasm.node()
    assert found["runtime_max_abs_difference"] < 1e-4
    assert re.fullmatch(r"1\.[\d.]+", found["runtime_version"])
    assert found["session_ms"] > 0
    assert found["heap_bytes"] > 2**20
    assert "<h1>&lt;Digits&gt;</h1>" in (tmp_path / "site" / "index.html").read_text()
    done = invoke(*call)
    assert done.returncode == 0
    assert "next: python -m http.server --directory site, and open http://localhost:8000" in done.stdout
    assert "the same class for 360 of 360 test images" in done.stdout


def test_without_node_a_folder_is_written_and_a_note_says_so(
    searched: Searched, invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm, "node", lambda: None)
    fake_runtime(tmp_path / "node_modules" / "onnxruntime-web" / "dist")
    shutil.copy(searched[0], tmp_path / "run-0.9.safetensors")
    (tmp_path / "run-0.9.web").mkdir()
    (tmp_path / "run-0.9.web" / "notes").write_bytes(b"mine")
    found = document(invoke("export", "run-0.9.safetensors", "--format", "web", "--json"))
    assert found["web"] == "run-0.9-2.web"
    assert set(found) == EXPORT_KEYS - {"onnx"} | {
        *("web", "files", "gzip_bytes", "runtime_version", "runtime_proven_with", "runtime_max_abs_difference"),
        *("runtime_pictures", "runtime_predictions_equal", "session_ms", "heap_bytes"),
    }
    names = ("runtime_proven_with", "runtime_max_abs_difference", "runtime_predictions_equal", "session_ms")
    assert [found[name] for name in (*names, "heap_bytes")] == [None] * 5
    assert found["runtime_pictures"] == 0
    done = invoke("export", "run-0.9.safetensors", "--output", "site.web")
    assert "no Node.js here to run onnxruntime-web" in done.stderr
    assert "not run: there is no Node.js here" in done.stdout
    assert [path.name for path in (tmp_path / "run-0.9.web").iterdir()] == ["notes"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 1, "--format web needs onnxruntime-web, and node_modules/onnxruntime-web/dist is not here: npm install"),
        (("--runtime", "nowhere"), 2, "--runtime must be the folder dist of onnxruntime-web, nowhere has no ort.wasm"),
        (("--layout", "gap"), 2, "--layout has no meaning for --format web"),
        (("--include-preprocessing",), 2, "--include-preprocessing has no meaning for --format web"),
        (("--runtime", "dist", "--title", " "), 2, "--title must be a line of text, got ' '"),
        (("--runtime", "dist", "--weights", "int2", "--portable"), 2, "--portable is for --weights "),
        (("--runtime", "dist", "--output", "dist"), 1, "the folder dist holds ort-wasm-simd-threaded.wasm, which no"),
        (("--runtime", "dist", "--output", "no/site"), 1, "/no does not exist"),
        (("--runtime", "dist", "--output", "."), 1, "the current folder lies in it"),
        (("--runtime", "dist", "--output", "t"), 2, "the ticket and --output are the same file, t: give another"),
        (("--format", "onnx", "--runtime", "dist"), 2, "--runtime has no meaning for --format onnx"),
    ],
)
def test_wrong_ways_to_export_a_folder(
    searched: Searched, invoke: Run, tmp_path: Path, options: tuple[object, ...], code: int, words: str
) -> None:
    fake_runtime(tmp_path / "dist")
    shutil.copy(searched[0], tmp_path / "t")
    refused(invoke("export", "t", "--format", "web", "--output", "site", *options), code, words, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"dist", "t"}
    assert {path.name for path in (tmp_path / "dist").iterdir()} == FILES - {"index.html", "network.onnx"}


def test_a_folder_of_images_stays(invoke: Run, tmp_path: Path) -> None:
    fake_runtime(tmp_path / "dist")
    make_ticket("lenet-5", 0.5).save(tmp_path / "ticket")
    (tmp_path / "images" / "test").mkdir(parents=True)
    words = "the folder images holds test, which no export to --format web wrote: empty it, or give another --output"
    call = ("export", "ticket", "--format", "web", "--runtime", "dist", "--output", "images")
    refused(invoke(*call), 1, words, tmp_path)
    assert (tmp_path / "images" / "test").is_dir()
