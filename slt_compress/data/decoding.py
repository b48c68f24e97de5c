"""What an image of PIL is as pixels of a network: as a viewer shows it, with 8 bits, cut to a square.

`shown` is the pipeline, and `square` its end. docs/data.md tells users of it, docs/ticket-format.md other readers.
`examples/edge/classify.py` must do without this package: it has these functions too, word for word.

Left out: profiles of RGB and grey images, and all frames but the first.
"""

import contextlib
import io
import os
import re
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from slt_compress.errors import DataError, SltError, first_line, one_line

_GREY = ("1", "L", "LA", "La", "I", "F")  # and those that begin with I;16
_BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLE_FORMAT = 258, 262, 274, 339  # tags of TIFF and EXIF
_SIGNED = 2  # a sample format
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STEPS = {"L;2": 85, "L;4": 17}  # of greys that PIL has scaled to 8 bits
# Of what Pillow knows: one would run Ghostscript, of one it reads the size alone, and of one not which number is white.
_NO_PICTURES = {"EPS", "MPEG", "FITS"}
_USUAL_GAMMA = 0.45455  # of a PNG whose values are shown as they are

_warned: set[tuple[str, type[Warning]]] = set()  # what this process has passed on of PIL's warnings


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """Raise DataError, naming the image, for whatever goes wrong with it: PIL's readers have errors of all types, and
    their warnings are errors where the user has asked for that. Other warnings come with the name of an image, too.
    """
    try:
        with warnings.catch_warnings(record=True) as told:
            yield
        for one in told:
            _warn(name, str(one.message), one.category)
    except SltError:
        raise
    except Exception as error:
        found = first_line(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # whose words name the file once more, or an object in memory
            found = "its content is of no format that Pillow reads"
        raise DataError(f"cannot read the image {name}: {found}") from error


def _warn(name: str, text: str, kind: type[Warning]) -> None:
    """Pass a warning of PIL's on, once of each kind: there may be many such images."""
    key = (re.sub("[0-9]+", "", text), kind)
    if key not in _warned:
        _warned.add(key)
        warnings.warn(one_line(f"the image {name}: {text} (said of one image)"), kind, stacklevel=2)


@contextlib.contextmanager
def opened(source: Any, name: str) -> Iterator[Any]:
    """Give the image in a file, named or open, as PIL's. Raises DataError, with `name`, if it or its use fails."""
    if isinstance(source, str | os.PathLike) and not os.path.isfile(source):  # noqa: PTH113, a pipe would never end
        raise DataError(f"cannot read the image {name}: there is no such file")
    with readable(name), Image.open(source, formats=_formats()) as image:
        yield image


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of the formats that are read: those of Pillow and its plugins."""
    known, formats = Image.registered_extensions(), {*_formats(), "MPO"}  # which is opened as the JPEG it begins with
    return frozenset(suffix.lower() for suffix, name in known.items() if name in formats)


@cache
def _formats() -> tuple[str, ...]:
    """Return what Pillow can decode of itself, in the order in which it looks at them."""
    Image.init()
    readers = {name: opener for name, (opener, _) in Image.OPEN.items()}
    stubs = {
        name
        for name, opener in readers.items()
        if isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)
    }
    return tuple(name for name in Image.ID if name in readers and name not in stubs | _NO_PICTURES)


def is_grey(image: Any) -> bool:
    """Return whether an image, opened but not yet loaded, has no colours."""
    return image.mode in _GREY or image.mode.startswith("I;16") or _layout(image).split(";")[0] == "LA"


def pixels(image: Any, size: int, channels: int) -> torch.Tensor:
    """Return an opened image as uint8 (channels, size, size). Raises ValueError for what `shown` refuses."""
    planes = np.array(square(shown(image, "L" if channels == 1 else "RGB"), size))
    return torch.from_numpy(planes.reshape(size, size, channels).transpose(2, 0, 1).copy())


def square(image: Any, size: int) -> Any:
    """Scale the shorter side of an image to `size` px and crop the centre."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # One direction after the other: which PIL takes first, and so how it rounds, changes between its releases.
    narrow = image.resize((size, height), Image.Resampling.BILINEAR, (left, 0, left + side, height))
    return narrow.resize((size, size), Image.Resampling.BILINEAR, (0, top, size, top + side))


def shown(image: Any, mode: str) -> Any:
    """Return an opened image as a viewer shows it on white, in the mode L or RGB.

    Raises ValueError for pixels that cannot be shown without a guess, and what PIL raises of a damaged file.
    """
    layout = _layout(image)  # forgotten once it is loaded
    image.load()
    turn = _turn(image)
    image = _with_plain_alpha(image)
    alpha = _alpha(image, layout)
    found = _colours(image).convert(mode)
    if alpha is not None:
        background = Image.new(mode, found.size, "white")
        background.paste(found, mask=alpha)
        found = background
    found.info = {}  # what it says has been followed
    return found if turn is None else found.transpose(turn)


def _layout(image: Any) -> str:
    """Return how pixels lie in an image's file, in PIL's words such as "RGB;16B"; empty if that is not known."""
    tiles = getattr(image, "tile", None)
    layout = tiles[0][3] if tiles else ""
    return str(layout[0] if isinstance(layout, tuple) and layout else layout)


def _turn(image: Any) -> Any:
    """Return what makes an image stand upright; None if it does, or if its EXIF is damaged."""
    if image.format == "TIFF":
        return None  # PIL has done it
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION))
    except Exception:
        return None


def _with_plain_alpha(image: Any) -> Any:
    """Return an image without alpha in its palette or multiplied into its colours."""
    if image.mode == "P" and ("transparency" in image.info or image.palette.mode == "RGBA"):
        return image.convert("RGBA")
    plain = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}.get(image.mode)
    return image.convert(plain) if plain else image


def _alpha(image: Any, layout: str) -> Any:
    """Return how opaque each pixel is, in the mode L; None if all are."""
    if "A" in image.getbands() and image.mode != "LAB":  # where it is a colour
        return image.getchannel("A")
    key = image.info.get("transparency")
    if key is None:
        return None
    if layout.startswith("RGB;16"):
        raise ValueError("one of its 16-bit colours is transparent, and only 8 bits are read: save it with 8 bits")
    values = np.asarray(image)
    if values.ndim == 2:  # grey, with a key of the file's own bits
        opaque = values != (bool(key) if image.mode == "1" else key * _STEPS.get(layout, 1))
    else:
        opaque = (values != key).any(2)
    return Image.fromarray(opaque.astype(np.uint8) * np.uint8(255))


def _colours(image: Any) -> Any:
    """Return an image with 8 bits a channel, in colours of sRGB. Its alpha may be lost."""
    info, tags = image.info, getattr(image, "tag_v2", {})
    signed = _SIGNED in tags.get(_SAMPLE_FORMAT, ())
    if not signed and (image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))):
        bits = tags.get(_BITS, (16,))[0]  # what others hold, PIL has scaled to 16
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
        image = Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)
    elif signed or image.mode in ("I", "F"):
        kind = "signed" if signed else "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise ValueError(f"its pixels are {kind}, and nothing says which one is white: save it with 8 or 16 bits")
    elif image.mode == "LAB":
        image = image.convert("RGB")  # which PIL can do, unlike LAB to grey
    elif image.mode == "CMYK" and "icc_profile" in info:
        image = _managed(image, info["icc_profile"])
    gamma = info.get("gamma")
    if gamma and gamma != _USUAL_GAMMA and not {"srgb", "icc_profile"} & set(info):  # which go before it
        linear = (np.arange(256) / 255) ** (1 / gamma)
        curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        image = image.convert("L" if image.mode in _GREY else "RGB")
        image = image.point(np.rint(255 * curve).astype(int).tolist() * len(image.getbands()))
    return image


def _managed(image: Any, profile: bytes) -> Any:
    """Return an image of CMYK in sRGB by its profile, as it is if the profile is damaged or of other colours."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):
        return image
