"""Classify images with an exported network. Needs numpy, pillow and onnxruntime, and nothing else.

    python classify.py ticket.onnx image.png …

Everything it must know of the images, their size, channels, mean, standard deviation and the names of the classes,
stands in the file. Files exported with --include-preprocessing take raw pixels.

Images are decoded as in the training, by the functions of slt_compress.data.decoding: `shown`, `square`, and what they
call. A camera whose frames are upright RGB arrays of 8 bits needs only `square`, of PIL's Image.fromarray(frame).
"""

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image, ImageCms

GEOMETRY = "scale-shorter-side-crop-centre"  # what `square` does; older files do not say so

_GREY = ("1", "L", "LA", "La", "I", "F")  # and those that begin with I;16
Image.init()
FORMATS = [name for name in Image.ID if name not in ("EPS", "FITS")]  # one would run Ghostscript, one states no white

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
_USUAL_GAMMA = 0.45455  # of a PNG whose values are shown as they are


def load(path: str) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Return a session for a small machine, and what the file says about itself."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL  # folds the weights, once
    options.enable_cpu_mem_arena = False  # give memory back instead of keeping it for larger batches
    options.intra_op_num_threads = 0  # all cores; set 1 to leave the others alone
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        recorded = json.loads(session.get_modelmeta().custom_metadata_map["slt_compress"])
        missing = [
            key for key in ("model", "sparsity", "classes", "preprocessing", "input") if recorded.get(key) is None
        ]
    except Exception as error:  # of a file that onnxruntime cannot load, or that something else has written
        sys.exit(f"{path} is no network for images that slt-compress has exported: {type(error).__name__}: {error}")
    if missing:
        sys.exit(f"{path} records no {missing[0]}: it is for something else than images, or was changed")
    if recorded.get("geometry", GEOMETRY) != GEOMETRY:
        sys.exit(f"{path}: its images become squares by another rule, {recorded['geometry']}")
    return session, recorded


def read(file: str, recorded: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Return an image as pixels (1, size, size, channels). Raises ValueError if it cannot be read."""
    expected = recorded["preprocessing"]
    if not Path(file).is_file():  # a pipe would never end
        raise ValueError(f"cannot read the image {file}: there is no such file")
    try:
        with Image.open(file, formats=FORMATS) as image:
            fitted = square(shown(image, "L" if expected["channels"] == 1 else "RGB"), expected["size"])
    except Exception as error:  # each of PIL's readers has its own
        raise ValueError(f"cannot read the image {file}: {error}") from error
    return np.asarray(fitted).reshape(1, expected["size"], expected["size"], expected["channels"])


def prepare(pixels: npt.NDArray[np.uint8], recorded: dict[str, Any]) -> npt.NDArray[Any]:
    """Return pixels (n, size, size, channels) as the network expects them."""
    expected = recorded["preprocessing"]
    if recorded["input"] == "pixels":
        return pixels
    mean, std = (np.array(expected[key], np.float32) for key in ("mean", "std"))
    normalised = (pixels.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def main(model: str, *files: str) -> None:
    start = time.perf_counter()
    session, recorded = load(model)
    print(f"{recorded['model']}, {recorded['sparsity']:.0%} sparse, loaded in {time.perf_counter() - start:.2f} s")
    for file in files:
        try:
            images = prepare(read(file, recorded), recorded)
        except ValueError as error:
            sys.exit(str(error))
        start = time.perf_counter()
        logits = session.run(None, {session.get_inputs()[0].name: images})[0][0]
        seconds = time.perf_counter() - start
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        best = int(probabilities.argmax())
        print(f"{file}: {recorded['classes'][best]} ({probabilities[best]:.1%}), {1e3 * seconds:.1f} ms")


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


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    main(*sys.argv[1:])
