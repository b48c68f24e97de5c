"""The picture of windows is a PNG, whatever is known of them."""

import io

import numpy as np
from PIL import Image

from slt_compress.monitoring.counts import Counts
from slt_compress.monitoring.judge import judge
from slt_compress.monitoring.plots import windows_png
from tests.support.references import CLASSES, reference_of, seen


def test_windows_become_a_picture() -> None:
    generator = np.random.default_rng(0)
    reference = reference_of(seen(500, generator))
    windows = [
        judge(reference, Counts.of(seen(100, generator, shift), reference, CLASSES), first=100 * place)
        for place, shift in enumerate((0, 0, 1))
    ]
    unknown = judge(reference, Counts(5, {}, (0,) * CLASSES))
    pictures = [windows_png(chosen, "$a_\udcff") for chosen in (windows, windows[:1], [unknown])]
    for content in pictures:
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == "PNG"
            assert image.width > 800
    assert len(set(pictures)) == 3
