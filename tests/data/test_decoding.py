"""Images of PIL as pixels: every mode, what files say besides their pixels, and one clear error for a damaged one."""

import ast
import inspect
import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageCms

from slt_compress.data import decoding
from slt_compress.data.decoding import image_suffixes, is_grey, opened, pixels, readable, shown
from slt_compress.errors import DataError
from tests.support.pictures import cmyk_profile

ROOT = Path(__file__).parents[2]
GENERATOR = np.random.default_rng(0)
NOISE = GENERATOR.integers(0, 256, (16, 16, 4), np.uint8)
RAMP = np.tile(np.linspace(0, 65535, 16).astype("u2"), (16, 1))
Bytes = npt.NDArray[np.uint8]


def decoded(content: bytes, mode: str, size: int | None = None) -> Bytes:
    """Return a file's image as (channels, height, width), uncut, or as a square."""
    with opened(io.BytesIO(content), "it") as image:
        if size is None:
            found = np.array(shown(image, mode))
            return found.reshape(*found.shape[:2], -1).transpose(2, 0, 1)
        return pixels(image, size, 1 if mode == "L" else 3).numpy()


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the content of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, bits: int, colours: int, row: bytes, *chunks: bytes) -> bytes:
    """Return a PNG of one row, of a kind that PIL cannot write."""
    header = struct.pack(">IIBBBBB", width, 1, bits, colours, 0, 0, 0)
    content = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(content)


def test_the_shorter_side_is_resized_and_the_centre_cropped() -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = (10, 20, 30)
    image = Image.fromarray(wide)
    assert torch.equal(pixels(image, 8, 3), torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 8, 8))


@pytest.mark.parametrize(("width", "height", "size"), [(50, 50, 16), (96, 32, 8), (7, 20, 12), (31, 50, 31)])
def test_the_square_is_the_one_that_the_format_page_describes(width: int, height: int, size: int) -> None:
    image = GENERATOR.integers(0, 256, (height, width, 3), np.uint8)
    assert np.array_equal(
        pixels(Image.fromarray(image), size, 3).numpy().transpose(1, 2, 0), as_the_page_says(image, size)
    )


def as_the_page_says(image: Bytes, size: int) -> Bytes:
    """Cut and scale (height, width, channels) by section 8 of docs/ticket-format.md."""
    side = min(image.shape[:2])
    for axis in (1, 0):  # rows first
        length = image.shape[axis]
        scale, start = side / size, (length - side) / 2
        support = max(scale, 1.0)
        rows = []
        for output in range(size):
            centre = start + (output + 0.5) * scale
            first, last = max(0, int(centre - support + 0.5)), min(length, int(centre + support + 0.5))
            weights = np.maximum(0, 1 - np.abs((np.arange(first, last) + 0.5 - centre) / support))
            whole = np.floor(weights / weights.sum() * 2**22 + 0.5).astype(np.int64)
            part = np.moveaxis(image, axis, -1)[..., first:last].astype(np.int64)
            rows.append((part @ whole + 2**21) >> 22)
        image = np.clip(np.moveaxis(np.stack(rows, -1), -1, axis), 0, 255).astype(np.uint8)
    return image


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "PA"])
@pytest.mark.parametrize("wanted", ["L", "RGB"])
def test_opaque_images_of_8_bits_are_what_pil_makes_of_them(mode: str, wanted: str) -> None:
    image = Image.fromarray(NOISE[..., :3]).convert(mode)
    assert np.array_equal(pixels(image, 16, len(wanted)).numpy(), pixels(image.convert(wanted), 16, len(wanted)))
    assert np.array_equal(np.array(shown(image, wanted)), np.array(image.convert(wanted)))


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(RAMP)),
        saved(Image.fromarray(RAMP), "TIFF"),
        saved(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"),
        saved(Image.frombytes("I;16B", (16, 16), RAMP.astype(">u2").tobytes()), "TIFF"),
        b"P5 16 16 65535\n" + RAMP.astype(">u2").tobytes(),
        saved(Image.fromarray(RAMP), "JPEG2000"),
    ],
    ids=["png", "tiff", "tiff-lzw", "tiff-big", "pgm", "jpeg2000"],
)
def test_16_bit_greys_keep_their_high_byte(content: bytes) -> None:
    for mode in ("L", "RGB"):
        assert np.array_equal(decoded(content, mode), np.broadcast_to(RAMP >> 8, (len(mode), 16, 16)))
    with opened(io.BytesIO(content), "it") as image:
        assert is_grey(image)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_all_orders_of_bytes_are_read(mode: str) -> None:
    stored = RAMP.astype(">u2" if mode == "I;16B" else "=u2" if mode == "I;16N" else "<u2")
    assert np.array_equal(np.array(shown(Image.frombuffer(mode, (16, 16), stored.tobytes()), "L")), RAMP >> 8)


def test_white_is_what_the_file_states_and_not_what_the_image_holds() -> None:
    dark = RAMP >> 6
    assert decoded(saved(Image.fromarray(dark)), "L").max() == 3
    for white, dtype in ((100, "u1"), (1023, ">u2"), (4095, ">u2")):
        values = np.array([[0, white // 4, white // 2, white]])
        content = b"P5 4 1 %d\n" % white + values.astype(dtype).tobytes()
        assert np.abs(decoded(content, "L")[0] - values * 255 / white).max() <= 1
        content = b"P6 4 1 %d\n" % white + np.stack([values, values // 2, 0 * values], -1).astype(dtype).tobytes()
        assert np.abs(decoded(content, "RGB")[1, 0] - values // 2 * 255 / white).max() <= 1


def tiff(width: int, bits: int, photometric: int, content: bytes, sample: int = 1) -> bytes:
    """Return a grey TIFF of one row, of a kind that PIL cannot write."""
    tags = [(256, 3, width), (257, 3, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 3, 1), (279, 4, len(content)), (339, 3, sample)]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(content)) + content + struct.pack("<H", len(tags)) + directory + bytes(4)
    )


def test_a_tiff_of_12_bits_and_one_whose_zero_is_white() -> None:
    assert decoded(tiff(2, 12, 1, bytes([0x80, 0x0F, 0xFF])), "L").tolist() == [[[0x80, 0xFF]]]
    assert decoded(tiff(3, 16, 0, struct.pack("<3H", 0, 0x8000, 0xFFFF)), "L").tolist() == [[[255, 127, 0]]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), "floating-point numbers"),
        (saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), "signed"),
        (tiff(2, 16, 1, bytes(4), sample=2), "signed"),
    ],
    ids=["float", "int32", "int16"],
)
def test_without_a_stated_white_an_image_is_refused_by_name(content: bytes, words: str) -> None:
    with opened(io.BytesIO(content), "it") as image:
        assert is_grey(image)
    for mode in ("L", "RGB"):
        with pytest.raises(
            DataError, match=rf"^cannot read the image it: its pixels are {words}, .* save it with 8 or 16 bits$"
        ):
            decoded(content, mode)


def test_16_bit_colours_keep_their_high_byte() -> None:
    row = struct.pack(">8H", 0x00FF, 0x80FF, 0xFFFF, 0xFFFF, 0x1234, 0x5678, 0x9ABC, 0xFFFF)
    assert decoded(png(2, 16, 6, row), "RGB").reshape(3, 2).T.tolist() == [[0, 0x80, 0xFF], [0x12, 0x56, 0x9A]]
    grey = png(2, 16, 4, struct.pack(">4H", 0x8000, 0xFFFF, 0x1234, 0))
    assert decoded(grey, "L").tolist() == [[[0x80, 255]]]
    with opened(io.BytesIO(grey), "it") as image:
        assert is_grey(image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"])
def test_grey_images_are_known(mode: str) -> None:
    assert is_grey(Image.new(mode, (2, 2)))


@pytest.mark.parametrize("mode", ["P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"])
def test_colours_are_known(mode: str) -> None:
    assert not is_grey(Image.new(mode, (2, 2)))


def with_alpha(mode: str, hidden: int) -> Image.Image:
    """Return an image whose left half is transparent, and some of whose pixels let half of the background through."""
    values = np.array(NOISE)
    values[..., 3] = 255
    values[:, :8] = (hidden, 255 - hidden, hidden, 0)
    values[8:, 12:, 3] = 128
    return Image.fromarray(values).convert("LA" if mode in ("LA", "La") else "RGBA")


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa", "PA", "P"])
@pytest.mark.parametrize("wanted", ["L", "RGB"])
def test_what_is_transparent_is_white_whatever_colour_hides_there(mode: str, wanted: str) -> None:
    images = [with_alpha(mode, hidden) for hidden in (0, 200)]
    alpha = np.array(images[0].getchannel("A")) / 255
    if mode in ("La", "RGBa"):
        images = [image.convert(mode) for image in images]
    elif mode in ("P", "PA"):
        images = [image.quantize(64, Image.Quantize.FASTOCTREE) for image in images]
        alpha = np.array(images[0].convert("RGBA").getchannel("A")) / 255
    if mode == "PA":
        images = [image.convert("PA") for image in images]
    found, other = (np.array(shown(image, wanted)).astype(float) for image in images)
    assert np.array_equal(found[:, :8], np.full_like(found[:, :8], 255))
    assert np.array_equal(other[:, :8], found[:, :8])
    plain = images[0].convert(images[0].mode.replace("a", "A") if mode in ("La", "RGBa") else "RGBA").convert(wanted)
    alpha = alpha if wanted == "L" else alpha[..., None]
    assert np.abs(found - (np.array(plain) * alpha + 255 * (1 - alpha))).max() <= 1


@pytest.mark.parametrize(
    ("content", "grey"),
    [
        (png(4, 2, 0, b"\x1b", chunk(b"tRNS", struct.pack(">H", 1))), [0, 255, 170, 255]),
        (png(2, 4, 0, b"\x17", chunk(b"tRNS", struct.pack(">H", 1))), [255, 119]),
        (png(4, 1, 0, b"\x50", chunk(b"tRNS", struct.pack(">H", 0))), [255, 255, 255, 255]),
        (png(3, 8, 0, b"\x01\x02\x03", chunk(b"tRNS", struct.pack(">H", 2))), [1, 255, 3]),
        (png(3, 16, 0, b"\1\0\1\1\1\2", chunk(b"tRNS", b"\1\1")), [1, 255, 1]),
        (png(2, 8, 2, b"\1\1\1\2\2\2", chunk(b"tRNS", b"\0\2\0\2\0\2")), [1, 255]),
        (png(3, 8, 3, b"\0\1\2", chunk(b"PLTE", b"\1\1\1\2\2\2\3\3\3"), chunk(b"tRNS", b"\xff\0")), [1, 255, 3]),
        (saved(Image.fromarray(np.array([[5, 6]], np.uint8)), "GIF", transparency=5), [255, 6]),
    ],
    ids=["2-bit", "4-bit", "1-bit", "8-bit", "16-bit", "rgb", "palette", "gif"],
)
def test_a_colour_that_stands_for_transparency_is_white(content: bytes, grey: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decoded(content, "L")[0, 0].tolist() == grey
        assert decoded(content, "RGB")[2, 0].tolist() == grey


def test_a_transparent_colour_of_which_half_is_not_read_is_refused() -> None:
    content = png(1, 16, 2, bytes(6), chunk(b"tRNS", bytes(6)))
    with pytest.raises(DataError, match="one of its 16-bit colours is transparent"):
        decoded(content, "RGB")


TURNED: list[tuple[int, Callable[[Bytes], Bytes]]] = [
    (1, lambda image: image),
    (2, lambda image: image[:, ::-1]),
    (3, lambda image: image[::-1, ::-1]),
    (4, lambda image: image[::-1]),
    (5, lambda image: image.T),
    (6, lambda image: image[::-1].T),
    (7, lambda image: image[::-1, ::-1].T),
    (8, lambda image: image.T[::-1]),
    (9, lambda image: image),
]


@pytest.mark.parametrize(("orientation", "turned"), TURNED, ids=[str(number) for number, _ in TURNED])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_an_image_stands_upright(orientation: int, turned: Callable[[Bytes], Bytes], kind: str) -> None:
    stored = np.zeros((16, 32), np.uint8)
    stored[:8, :16], stored[8:, :16], stored[:8, 16:] = 255, 60, 120
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"PNG": {"exif": exif}, "WEBP": {"exif": exif, "lossless": True}, "JPEG": {"exif": exif}}
    content = saved(Image.fromarray(stored), kind, **options.get(kind, {"tiffinfo": {0x0112: orientation}}))
    found = decoded(content, "L")[0].astype(int)
    expected = turned(stored)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= (12 if kind == "JPEG" else 0)


def test_a_deep_grey_is_turned_too_and_nothing_is_done_twice() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.fromarray(RAMP), exif=exif)
    assert np.array_equal(decoded(content, "L")[0], (RAMP >> 8)[::-1].T)
    with Image.open(io.BytesIO(content)) as image:
        once = shown(image, "L")
    assert np.array_equal(np.array(shown(once, "L")), np.array(once))


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0", b"Exif\0\0"])
def test_a_damaged_exif_says_nothing(exif: bytes) -> None:
    content = saved(Image.fromarray(NOISE[..., 0]), exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(decoded(content, "L")[0], NOISE[..., 0])


def test_the_first_of_several_frames_is_taken() -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        assert decoded(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options), "L").max() == 10


@pytest.mark.parametrize(
    ("gamma", "extra", "shows"),
    [
        (45455, b"", [0, 16, 64, 128, 192, 255]),
        (100000, b"", [0, 71, 137, 188, 225, 255]),
        (55556, b"", [0, 20, 81, 146, 203, 255]),
        (22727, b"", [0, 0, 8, 62, 146, 255]),
        (100000, chunk(b"sRGB", b"\0"), [0, 16, 64, 128, 192, 255]),
    ],
)
def test_the_gamma_of_a_png_is_that_of_a_browser(gamma: int, extra: bytes, shows: list[int]) -> None:
    """Chromium 140 shows these values."""
    row = bytes([0, 16, 64, 128, 192, 255])
    content = png(6, 8, 0, row, extra, chunk(b"gAMA", struct.pack(">I", gamma)))
    assert decoded(content, "L")[0, 0].tolist() == shows
    colours = png(
        6, 8, 2, np.repeat(np.frombuffer(row, np.uint8), 3).tobytes(), chunk(b"gAMA", struct.pack(">I", 100000))
    )
    assert decoded(colours, "RGB")[:, 0].T.tolist() == [[value] * 3 for value in (0, 71, 137, 188, 225, 255)]


def test_cmyk_has_the_colours_of_its_profile() -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    plain = decoded(saved(image, "JPEG", quality=100), "RGB")[:, 8, 8]
    assert np.abs(plain.astype(int) - (0, 255, 255)).max() <= 3
    for kind in ("JPEG", "TIFF"):
        found = decoded(saved(image, kind, icc_profile=cmyk_profile()), "RGB")[:, 8, 8]
        assert np.abs(found.astype(int) - (0, 158, 224)).max() <= 6  # cyan ink, as the profile has it


@pytest.mark.parametrize(
    "profile",
    [b"nonsense", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()],
    ids=["nonsense", "another mode's"],  # not its bytes, which hold the time
)
def test_a_profile_that_does_not_fit_is_ignored(profile: bytes) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert np.array_equal(
        decoded(saved(image, "TIFF", icc_profile=profile), "RGB"), decoded(saved(image, "TIFF"), "RGB")
    )
    colours = Image.fromarray(NOISE[..., :3])
    assert np.array_equal(decoded(saved(colours, icc_profile=profile), "RGB"), NOISE[..., :3].transpose(2, 0, 1))


def test_lab_is_shown_in_grey_and_in_colours() -> None:
    lab = Image.new("LAB", (4, 4), (255, 128, 128))
    assert np.array(shown(lab, "L")).min() >= 250
    assert np.array(shown(lab, "RGB")).min() >= 240


def test_a_damaged_image_is_named() -> None:
    with pytest.raises(DataError, match=r"^cannot read the image here\.png: broken$"), readable("here.png"):
        raise OSError("broken")


@pytest.mark.parametrize(
    "error", [RuntimeError(), struct.error("x"), EOFError(), KeyError("x"), UserWarning("two\nlines")]
)
def test_whatever_a_plugin_raises_is_one_line(error: Exception) -> None:
    with pytest.raises(DataError, match=r"^cannot read the image here\.png: .+$") as caught, readable("here.png"):
        raise error
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"^said before$"), readable("here.png"):
        raise DataError("said before")


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    avif = tmp_path / "photo.jpg"
    avif.write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf" + bytes(200))
    words = f"^cannot read the image {re.escape(str(avif))}: its content is of no format that Pillow reads$"
    with pytest.raises(DataError, match=words), opened(avif, str(avif)):
        pass


def test_a_warning_that_is_an_error_is_one_line_and_else_the_image_is_read() -> None:
    damaged = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0"
    content = saved(Image.fromarray(NOISE[..., 0]), "JPEG", exif=damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"^cannot read the image it: .*EXIF"):
            decoded(content, "L")
        warnings.simplefilter("ignore")
        assert decoded(content, "L").shape == (1, 16, 16)


def test_the_edge_example_decodes_by_the_same_words() -> None:
    """It must do without this package, so it holds a copy."""

    def definitions(text: str) -> dict[str, str]:
        found = {}
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = ast.unparse(node)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name | ast.Tuple):
                found[ast.unparse(node.targets[0])] = ast.unparse(node)
        return found

    ours = definitions(inspect.getsource(decoding))
    theirs = definitions((ROOT / "examples" / "edge" / "classify.py").read_text())
    own = {"readable", "_warn", "opened", "is_grey", "pixels", "image_suffixes", "_formats", "_NO_PICTURES"}
    assert set(ours) - set(theirs) == own
    for name in set(ours) & set(theirs):
        assert theirs[name] == ours[name], name


def test_suffixes_are_those_of_pictures() -> None:
    found = image_suffixes()
    usual = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp", ".gif", ".jfif", ".mpo", ".jp2"}
    assert usual <= found
    assert not found & {".eps", ".ps", ".pdf", ".h5", ".grib", ".mpg", ".wmf", ""}


def test_a_program_in_a_picture_is_never_run(tmp_path: Path) -> None:
    """Pillow would hand PostScript to Ghostscript, whatever the file is called."""
    file = tmp_path / "a.png"
    Image.new("RGB", (4, 4), "red").save(file, "EPS")
    with (
        pytest.raises(DataError, match=r"cannot read the image .*a\.png: its content is of no format"),
        opened(file, str(file)),
    ):
        pass


def test_a_colour_axis_is_no_opacity(tmp_path: Path) -> None:
    """LAB has an A too."""
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (4, 4), (200, 30, 40)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    file = tmp_path / "a.tif"
    assert lab
    lab.save(file)
    with opened(file, "a.tif") as image:
        assert not is_grey(image)
        found = pixels(image, 4, 3)[:, 0, 0].int()
    assert (found - torch.tensor([200, 30, 40])).abs().max() < 8


@pytest.mark.parametrize("signed", [np.int8, np.int16])
def test_signed_numbers_are_refused(tmp_path: Path, signed: type[np.generic]) -> None:
    file = tmp_path / "a.tif"
    values = np.zeros((4, 4), signed)
    grey = Image.fromarray(values.view(np.uint8 if signed is np.int8 else np.uint16))
    grey.save(file, tiffinfo={339: 2})
    with (
        pytest.raises(DataError, match=r"cannot read the image a\.tif: its pixels are signed"),
        opened(file, "a.tif") as image,
    ):
        pixels(image, 4, 1)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="there is no such file"), opened(tmp_path / "pipe.png", "pipe.png"):
        pass


def test_a_warning_of_pillows_names_an_image_and_is_passed_on_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_warned", set())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name, side in (("a", 8), ("b", 11), ("c", 12)):
        Image.new("L", (side, side)).save(tmp_path / f"{name}.png")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for name in "abcb":
            with opened(tmp_path / f"{name}.png", f"{name}.png") as image:
                image.load()
    (one,) = told
    assert str(one.message).startswith("the image b.png: Image size (121 pixels) exceeds limit of 100 pixels")
