"""The plots: real PNGs that show every method, and the edge cases of a logarithm."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slt_compress.comparison import plots
from slt_compress.comparison.results import Summary

HALF = Summary("crbg", 0.5, 3, 0.98, 0.001, 0.97, 0.001, 9700.0, 1.0)
SUMMARIES = [HALF, replace(HALF, target_sparsity=0.98, accuracy=0.93, accuracy_std=0.02, bytes=4200.0)]
DENSE = replace(HALF, label="dense", target_sparsity=0.0, accuracy=0.985, bytes=204_104.0)
PLOTS = [plots.accuracy_against_sparsity, plots.accuracy_against_bytes]


def pixels(content: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("plot", PLOTS)
def test_every_method_is_drawn(plot: "plots.Plot") -> None:
    one, two = SUMMARIES, [replace(summary, label="random", accuracy=0.5) for summary in SUMMARIES]
    alone, together, beside = (pixels(plot(part, "title")) for part in (one, one + two, [*one, DENSE]))
    blue, orange = np.array([31, 119, 180]), np.array([255, 127, 14])
    for image, second in ((alone, False), (together, True), (beside, False)):
        assert (image == blue).all(-1).sum() > 200
        assert ((image == orange).all(-1).sum() > 200) == second
    assert not np.array_equal(alone, beside)


@pytest.mark.parametrize("plot", PLOTS)
def test_the_same_results_give_the_same_image(plot: "plots.Plot") -> None:
    assert plot(SUMMARIES, "title") == plot(SUMMARIES, "title")


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(("accuracy", "std"), [(1.0, 0.0), (1.0, None), (0.99, 0.3), (0.0, 0.0)])
def test_no_error_at_all_and_wide_deviations_can_be_drawn(
    plot: "plots.Plot", accuracy: float, std: float | None
) -> None:
    extreme = replace(HALF, accuracy=accuracy, accuracy_std=std)
    assert pixels(plot([extreme, *SUMMARIES[1:]], "title")).shape == (540, 840, 3)


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_a_single_point_can_be_drawn(plot: "plots.Plot", sparsity: float) -> None:
    alone = replace(HALF, target_sparsity=sparsity, accuracy=0.1625, accuracy_std=None)
    for others in ([], [replace(DENSE, accuracy=0.2923, accuracy_std=None)], [replace(DENSE, accuracy=0.1625)]):
        part = [alone, *others]
        assert (pixels(plot(part, "title")) == np.array([31, 119, 180])).all(-1).sum() > 50


SETTINGS = """
text.usetex: True
savefig.dpi: 10
savefig.format: pdf
savefig.bbox: tight
figure.figsize: 1, 1
font.size: 40
axes.prop_cycle: cycler("color", ["k"])
lines.linewidth: 20
"""


@pytest.mark.parametrize("backend", ["", "module://matplotlib_inline.backend_inline", "none-of-them", "Qt5Agg", "pdf"])
def test_the_settings_of_the_user_change_nothing(backend: str, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(SETTINGS)
    code = (
        "import os, sys\nfrom tests.comparison.test_plots import PLOTS, SUMMARIES\n"
        "for plot in PLOTS:\n    sys.stdout.buffer.write(plot(SUMMARIES, 'title'))\n"
        "assert os.environ.get('MPLBACKEND', '') == sys.argv[1]\n"
        "import matplotlib\nassert matplotlib.rcParams['savefig.dpi'] == 10\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= {"MPLBACKEND": backend} if backend else {}
    command = [sys.executable, "-W", "error", "-c", code, backend]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"".join(plot(SUMMARIES, "title") for plot in PLOTS)


@pytest.mark.parametrize("title", ["a$b$c on hf:$x", "\udcff on 雪", "\\frac{", "_^ % #"])
def test_every_title_can_be_drawn(title: str) -> None:
    assert all(pixels(plot(SUMMARIES, title)).shape == (540, 840, 3) for plot in PLOTS)
