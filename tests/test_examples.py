"""The examples that classify image files give the answers of `evaluate`: they prepare images as the training did."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from PIL import Image

import slt_compress
from slt_compress.errors import VerificationError
from slt_compress.ticket.ticket import Ticket
from tests.support.images import predictions_of
from tests.support.references import with_reference, write_pictures

ROOT = Path(__file__).parents[1]
CLASSES = ("light above", "light below")
Bytes = npt.NDArray[np.uint8]


def banner(label: int, seed: int) -> Bytes:
    """Return grey (32, 96): the class is in the middle third, and both thirds beside it look like the other class."""
    noise = np.random.default_rng(seed).integers(0, 40, (32, 96))
    light = np.zeros((32, 96), int)
    light[:16, 32:64] = 1
    light[16:, :32] = light[16:, 64:] = 1
    return (noise + 200 * (light ^ label)).astype(np.uint8)


def save_plain(image: Bytes, path: Path) -> None:
    Image.fromarray(image).save(path)


def save_deep(image: Bytes, path: Path) -> None:
    """Save 16 bits of grey, of which the upper eight are the image's."""
    Image.fromarray(image.astype(np.uint16) << 8 | 0x7F).save(path)


def save_turned(image: Bytes, path: Path) -> None:
    """Save it upside down, with the tag that makes viewers turn it."""
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(image[::-1, ::-1]).save(path, exif=exif)


def save_on_its_side(image: Bytes, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image.T[::-1]).save(path, exif=exif)


def save_transparent(image: Bytes, path: Path) -> None:
    """Save it with all that is light left out, and black hidden there."""
    light = image >= 200
    Image.fromarray(np.stack([np.where(light, 0, image), np.where(light, 0, 255)], -1).astype(np.uint8)).save(path)


def save_cmyk(image: Bytes, path: Path) -> None:
    Image.fromarray(image).convert("CMYK").save(path.with_suffix(".jpg"), quality=95)


def save_palette(image: Bytes, path: Path) -> None:
    Image.fromarray(image).quantize(16).save(path, transparency=0)


GREY = (save_plain, save_deep, save_turned, save_on_its_side, save_transparent)
COLOUR = (*GREY, save_cmyk, save_palette)


def run(script: str, *arguments: object, cwd: Path, forbidden: str = "") -> "subprocess.CompletedProcess[str]":
    """Run an example in a process of its own, where some packages cannot be imported."""
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({forbidden.split()})); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(ROOT / "examples" / script)]
    return subprocess.run([*command, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("ways", [GREY, COLOUR], ids=["grey", "colour"])
def test_the_examples_answer_as_the_evaluation_does(
    tmp_path: Path, ways: tuple[Callable[[Bytes, Path], None], ...]
) -> None:
    for part, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for index in range(count * len(ways)):
                seed = 1000 * count + 100 * label + index
                ways[index % len(ways)](banner(label, seed), folder / f"{index:02}.png")
    result = slt_compress.search(
        *("lenet-300-100", "imagefolder"), data_dir=tmp_path / "images", input_size=16, max_steps=60, batch_size=16
    )
    result.ticket.save(tmp_path / "t.safetensors")
    evaluation = slt_compress.evaluate(result.ticket, data_dir=tmp_path / "images")
    assert evaluation.accuracy == 1
    expected = [CLASSES[label] for label in predictions_of(evaluation).tolist()]
    files = [str(file) for name in CLASSES for file in sorted((tmp_path / "images" / "test" / name).iterdir())]
    with_torch = run("classify.py", "t.safetensors", *files, cwd=tmp_path)
    assert re.findall(r": (.*) \(", with_torch.stdout) == expected, with_torch.stderr
    for pixels in (False, True):
        slt_compress.export(result.ticket, tmp_path / "t.onnx", include_preprocessing=pixels)
        edge = run("edge/classify.py", "t.onnx", *files, cwd=tmp_path, forbidden="torch slt_compress")
        assert re.findall(r": (.*) \((?:.*)\), ", edge.stdout) == expected, edge.stderr
        percent = r"\((\d+\.\d)%\)"
        assert re.findall(percent, edge.stdout) == pytest.approx(re.findall(percent, with_torch.stdout))


@pytest.mark.parametrize("file", ["float.tif", "photo.jpg"])
def test_a_file_that_cannot_be_read_is_named_in_one_line(ticket: Ticket, tmp_path: Path, file: str) -> None:
    ticket.save(tmp_path / "t.safetensors")
    slt_compress.export(ticket, tmp_path / "t.onnx")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "photo.jpg").write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf" + bytes(200))
    for script, network in (("classify.py", "t.safetensors"), ("edge/classify.py", "t.onnx")):
        done = run(script, network, file, cwd=tmp_path)
        assert done.returncode == 1
        assert re.fullmatch(rf"cannot read the image {re.escape(file)}: .+\n", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("geometry", "known"), [(None, True), ("scale-shorter-side-crop-centre", True), ("squash", False)]
)
def test_squares_are_made_by_the_rule_of_the_file_or_not_at_all(
    ticket: Ticket, tmp_path: Path, geometry: str | None, known: bool
) -> None:
    """Files from before the rule was recorded mean it, too."""
    slt_compress.export(ticket, tmp_path / "t.onnx")
    model = onnx.load(tmp_path / "t.onnx")
    (entry,) = (entry for entry in model.metadata_props if entry.key == "slt_compress")
    recorded = json.loads(entry.value)
    assert recorded.pop("geometry") == "scale-shorter-side-crop-centre"
    entry.value = json.dumps(recorded if geometry is None else {**recorded, "geometry": geometry})
    onnx.save(model, tmp_path / "other.onnx")
    Image.new("L", (8, 8)).save(tmp_path / "0.png")
    done = run("edge/classify.py", "other.onnx", "0.png", cwd=tmp_path)
    if known:
        assert done.returncode == 0, done.stderr
        assert slt_compress.evaluate(tmp_path / "other.onnx").samples == 360
    else:
        assert done.stderr == "other.onnx: its images become squares by another rule, squash\n"
        with pytest.raises(VerificationError, match=r"its images become squares by the rule 'squash', only "):
            slt_compress.evaluate(tmp_path / "other.onnx")


def test_what_a_file_has_lost_is_named_in_one_line(ticket: Ticket, tmp_path: Path) -> None:
    slt_compress.export(ticket, tmp_path / "t.onnx")
    model = onnx.load(tmp_path / "t.onnx")
    (entry,) = (entry for entry in model.metadata_props if entry.key == "slt_compress")
    recorded = json.loads(entry.value)
    entry.value = json.dumps({name: value for name, value in recorded.items() if name != "classes"})
    onnx.save(model, tmp_path / "other.onnx")
    done = run("edge/classify.py", "other.onnx", "0.png", cwd=tmp_path)
    assert done.stderr == ("other.onnx records no classes: it is for something else than images, or was changed\n")
    with pytest.raises(VerificationError, match=r"^what slt-compress recorded in .* was changed: it lacks 'classes'$"):
        slt_compress.evaluate(tmp_path / "other.onnx")


def test_a_file_that_is_no_network_is_named_in_one_line(ticket: Ticket, tmp_path: Path) -> None:
    ticket.save(tmp_path / "t.safetensors")
    for file in ("t.safetensors", "missing.onnx"):
        done = run("edge/classify.py", file, "a.png", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"{file} is no network for images that slt-compress has exported: ")
        assert "Traceback" not in done.stderr


def test_a_device_counts_what_the_package_counts(ticket: Ticket, tmp_path: Path) -> None:
    """Over several runs and both kinds of input, without the package; what cannot be read or added to is named."""
    referred = with_reference(ticket)
    (tmp_path / "digits").mkdir()
    names = [str(file) for file in sorted(write_pictures(tmp_path / "digits").glob("*/*.png"))]
    (tmp_path / "torn.png").write_bytes(b"no image")
    edge = ROOT / "examples" / "edge"
    code = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(['torch', 'slt_compress'])); "
        f"sys.path.insert(0, {str(edge)!r}); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )

    def count(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", code, str(edge / "monitor.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    (expected,) = slt_compress.monitor(referred, names).windows
    slt_compress.export(referred, tmp_path / "t.onnx", include_preprocessing=True)
    assert count("t.onnx", "h.json", *names[:100]).returncode == 0
    done = count("t.onnx", "h.json", "torn.png", *names[100:])
    assert len(done.stdout.splitlines()) == 260
    assert re.fullmatch(r"cannot read the image torn\.png: .+\n", done.stderr), done.stderr
    assert (tmp_path / "h.json").stat().st_size < 600
    (found,) = slt_compress.monitor(tmp_path / "t.onnx", histograms=[tmp_path / "h.json"]).windows
    assert found.images == 360
    psi = {one.quantity: one.psi for one in expected.drifts if not one.quantity.startswith("feature")}
    assert {one.quantity: one.psi for one in found.drifts} == psi
    assert found.estimated_accuracy == expected.estimated_accuracy
    (tmp_path / "h.json").write_text("[]")
    assert count("t.onnx", "h.json", names[0]).stderr.endswith("is no histogram of this network: start another file\n")
