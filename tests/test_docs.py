"""The documentation cannot drift: every command it shows is run, every command there is appears in it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from slt_compress.training import loop
from tests.support.commands import Searched, commands, options
from tests.support.process import Run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for pattern in ("*.md", "docs/**/*.md") for path in ROOT.glob(pattern))


def shell_lines(text: str) -> list[str]:
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line]


def test_the_readme_shows_every_command() -> None:
    assert set(commands()) == {line.split()[1] for line in shell_lines(README) if line.startswith("slt-compress")}
    for name in commands():
        assert f"| `{name} " in README


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches of 60 steps by default instead of 1,000: what is shown has to work, how good it is others measure."""
    monkeypatch.setattr(loop, "MIN_STEPS", 60)


@pytest.mark.usefixtures("short")
def test_the_road_of_the_readme_works(invoke: Run, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for index, image in enumerate(load_digits().images[:3]):
        Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8)).save(tmp_path / "pictures" / f"{index}.png")
    lines = [line for line in shell_lines(README) if line.startswith("slt-compress")]
    assert len(lines) >= 5
    for line in lines:
        done = invoke(*shlex.split(line)[1:])
        assert done.returncode == 0, (line, done.stderr)


@pytest.mark.usefixtures("short")
def test_the_python_of_the_readme_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for code, file in zip(re.findall(r"```python\n(.*?)```", README, re.DOTALL), ("ticket", "net"), strict=True):
        exec(code, {"__name__": "__main__"})
        assert capfd.readouterr().err == ""
        assert (tmp_path / f"{file}.onnx").exists()


def test_the_first_command_is_the_main_job() -> None:
    install, tests = shell_lines(README)[:2]
    assert install.endswith("slt-compress search lenet-300-100 --dataset digits")
    ours = (ROOT / ".ci" / "run").read_text()
    for part in tests.replace(".venv/bin", "$venv/bin").split(" && ")[1:]:
        program, *arguments = part.split()
        assert f'"{program}" {" ".join(arguments)}'.strip().replace('pip" install', 'pip" install --quiet') in ours


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    assert "@@" not in text
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert ((ROOT / document).parent / target).exists(), target


def test_defaults_in_the_help_are_those_of_the_code() -> None:
    from slt_compress.config import DEFAULT_EPOCHS, MIN_STEPS
    from slt_compress.onnx_export.forms import FORMS, PORTABLE

    opsets = {name: form.opset(None) for name, form in FORMS.items()}
    assert opsets["ternary8"] == opsets["dense"] == PORTABLE["compact"].opset(None)
    assert opsets["int8"] == opsets["compact"]
    others = f"for dense, ternary8 and --portable {opsets['dense']}, for int2 {opsets['int2']}"
    assert f"[default: {opsets['compact']}, {others}]" in options("export")["--opset"].help
    assert f"[default: {DEFAULT_EPOCHS}, or more for {MIN_STEPS:,} steps]" in options("search")["--epochs"].help


def test_the_page_of_models_shows_what_the_command_prints() -> None:
    from slt_compress.cli.console import size
    from slt_compress.models import catalogue

    page = (ROOT / "docs" / "models.md").read_text()
    for entry in catalogue.entries(list(catalogue.SELECTION), classes=10, channels=3, input_size=32):
        assert entry.gated_weights
        assert entry.ticket_bytes
        assert entry.dense_bytes
        sizes = f"{size(entry.ticket_bytes)} | {size(entry.dense_bytes)}"
        assert f"| `{entry.name}` | {entry.gated_weights:,} | {sizes} |" in page


def test_the_example_goes_from_a_folder_to_an_onnx_file(invoke: Run, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 10)):
        for bright, name in enumerate(("dark", "light")):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(100 * bright, 156 + 100 * bright, (32, 48, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    code = (
        "import runpy, sys; from slt_compress.training import loop; loop.MIN_STEPS = 250; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    example = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(ROOT / "examples" / "own_network.py"), "images"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert example.stdout.startswith("accuracy 100.0%, ticket ")
    done = invoke("evaluate", "own.onnx", "--data-dir", "images", "--json")
    assert json.loads(done.stdout)["accuracy"] == 1


def test_the_example_classifies_an_image(searched: Searched, tmp_path: Path) -> None:
    for digit, image in enumerate(load_digits().images[:10]):
        Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8)).save(tmp_path / f"{digit}.png")
    names = [f"{digit}.png" for digit in range(10)]
    example = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "classify.py"), str(searched[0]), *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    right = [line.split()[1] == str(digit) for digit, line in enumerate(example.stdout.splitlines())]
    assert len(right) == 10
    assert sum(right) >= 8
