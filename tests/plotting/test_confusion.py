"""The picture of a confusion matrix, for few and many classes."""

import io

import numpy as np
import pytest
from PIL import Image

from slt_compress.plotting.confusion import confusion_png


@pytest.mark.parametrize("classes", [2, 30, 200])
def test_it_is_drawn_for_any_number_of_classes(classes: int) -> None:
    counts = [[int(row == column) * 5 for column in range(classes)] for row in range(classes)]
    counts[0] = [0] * classes  # a class without images
    names = [f"${index}_\udcff" for index in range(classes)]  # no formula, and no text
    image = Image.open(io.BytesIO(confusion_png(counts, names, "title")))
    assert image.format == "PNG"
    assert len(np.unique(np.asarray(image.convert("L")))) > 2
