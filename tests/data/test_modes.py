"""Each mode of Pillow in each format that holds it: decoded as a slow rule says, or refused, never at another scale."""

import io
import warnings

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from slt_compress.data.decoding import opened, pixels
from slt_compress.errors import DataError

Image.init()
_BANDS = {
    "1": 1,
    "L": 1,
    "P": 1,
    "I": 1,
    "F": 1,
    "I;16": 1,
    "I;16B": 1,
    "LA": 2,
    "La": 2,
    "PA": 2,
    "RGB": 3,
    "YCbCr": 3,
    "LAB": 3,
    "HSV": 3,
    "RGBA": 4,
    "RGBa": 4,
    "RGBX": 4,
    "CMYK": 4,
}
_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # greys of 16 bits, where they are not refused
_CLOSE = 2  # greatest difference
# Without those that Pillow only writes, that it makes icons of 1,024 px of, or that it will soon give up.
_FORMATS = sorted(set(Image.SAVE) - {"PDF", "PALM", "ICNS", "IM"})
_UNREAD = {"FITS", "MPEG", "EPS"}  # formats that are left out on purpose


def values(mode: str, height: int, width: int, noise: int | None) -> npt.NDArray[np.int64]:
    """Return the numbers of an image, (height, width, bands): random ones, or a slope that uses the whole range."""
    top = 65_535 if mode in _WIDE else 255
    shape = (height, width, _BANDS[mode])
    if noise is not None:
        return np.random.default_rng(noise).integers(0, top + 1, shape)
    slope = np.linspace(0, top, width).astype(np.int64)
    return np.broadcast_to(slope[None, :, None], shape).copy()


def image_of(mode: str, numbers: npt.NDArray[np.int64]) -> Image.Image:
    """Return an image of these numbers. Of a palette, colour v is (v, 255 - v, v // 2)."""
    height, width, bands = numbers.shape
    kind = {"I": "<i4", "F": "<f4", "I;16": "<u2", "I;16B": ">u2"}.get(mode, "u1")
    if mode == "1":
        return Image.fromarray(((numbers[..., 0] > 127) * 255).astype(np.uint8)).convert("1", dither=Image.Dither.NONE)
    if mode in ("La", "RGBa"):
        numbers[..., :-1] = np.minimum(numbers[..., :-1], numbers[..., -1:])
    found = Image.frombytes(mode, (width, height), numbers.reshape(height, width * bands).astype(kind).tobytes())
    if mode in ("P", "PA"):
        found.putpalette([part for v in range(256) for part in (v, 255 - v, v // 2)])
    return found


def seen(image: Image.Image) -> npt.NDArray[np.float64]:
    """Return what a person sees of an image on white, (height, width, 3), pixel by pixel."""
    found = np.zeros((image.height, image.width, 3))
    palette = image.getpalette() or []
    for row in range(image.height):
        for column in range(image.width):
            value = image.getpixel((column, row))
            pixel = [int(part) for part in (value if isinstance(value, tuple) else [value or 0])]
            if image.mode in ("P", "PA"):
                pixel[:1] = palette[3 * pixel[0] : 3 * pixel[0] + 3]
            found[row, column] = _seen(image.mode, pixel)
    return found


def _seen(mode: str, pixel: list[int]) -> list[float]:
    first = pixel[0]
    if mode == "1":
        return [255.0 * (first > 0)] * 3
    if mode in _WIDE:
        return [first / 257] * 3
    if mode == "CMYK":
        return [(255 - ink) * (255 - pixel[3]) / 255 for ink in pixel[:3]]
    if mode == "YCbCr":
        blue, red = pixel[1] - 128, pixel[2] - 128
        mixed = [first + 1.402 * red, first - 0.34414 * blue - 0.71414 * red, first + 1.772 * blue]
        return [min(255.0, max(0.0, part)) for part in mixed]
    colours = pixel[:3] if len(pixel) > 2 else [first] * 3
    if mode in ("LA", "PA", "RGBA"):
        return [(part * pixel[-1] + 255 * (255 - pixel[-1])) / 255 for part in colours]
    if mode in ("La", "RGBa"):
        return [part + 255 - pixel[-1] for part in colours]
    return [float(part) for part in colours]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    mode=st.sampled_from(sorted(_BANDS)),
    kind=st.sampled_from(_FORMATS),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    noise=st.none() | st.integers(0, 9),
)
def test_a_mode_is_decoded_at_its_scale_or_refused(
    mode: str, kind: str, size: tuple[int, int], noise: int | None
) -> None:
    file = io.BytesIO()
    image = image_of(mode, values(mode, *size, noise))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image.save(file, kind)
            stored = Image.open(io.BytesIO(file.getvalue()))
            stored.load()
        except Exception:
            return  # the format does not hold the mode, or Pillow only writes it
    if stored.mode in ("LAB", "HSV") or "transparency" in stored.info:
        return  # colours that no short rule gives; transparency has tests of its own
    side = min(stored.size)
    try:
        with opened(file, "x") as picture:
            found = pixels(picture, side, 3).permute(1, 2, 0).numpy().astype(float)
    except DataError:
        assert stored.mode in ("I", "F") or kind in _UNREAD
        return
    assert stored.mode != "F"
    assert stored.mode != "I" or (stored.format in ("PNG", "PPM") and mode in _WIDE)
    expected = seen(stored)
    if stored.width == stored.height:
        assert np.abs(found - expected).max() <= _CLOSE
    else:  # a square of the middle, which is blurred where sides are odd and even
        assert expected.min() - _CLOSE <= found.min()
        assert found.max() <= expected.max() + _CLOSE
    if mode in _WIDE and stored.mode == mode and stored.width == stored.height:
        assert np.abs(found[..., 0] - values(mode, *size, noise)[..., 0] / 257).max() <= _CLOSE
