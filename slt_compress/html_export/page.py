"""A WebAssembly module, and what is known of its network, as the text of one HTML page.

The page asks for nothing: no script, style, font or image comes from elsewhere, and a policy in it forbids to load any.
Its parts lie in `template/`, written to be read; indentation and lines of comments are left out of a page.

Names of classes and the title come from a ticket, so from anywhere: in markup they are escaped, in the script they are
JSON without `<`, and the script shows them as text.
"""

import base64
import json
import re
import zlib
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template

from slt_compress.ticket.record import NetworkRecord

_SCRIPT = "{}()[];,:=<>+-*/?&|!%"  # what needs no space beside it; every statement ends in ; or }
_STYLE = "{};,:"  # no selector has a space before a colon
_LIGHT = 0.5  # mean of the pixels above which data is dark on light


@dataclass(frozen=True)
class Pen:
    """How drawings become images like those of a data set.

    Attributes:
        fit: share of the side of an image that the larger side of a drawing takes.
        width: of a line, as a share of the side.
        mass: whether the centre of its ink is put in the middle of the image, else that of its box.
    """

    fit: float
    width: float
    mass: bool


# Digits of MNIST are 20 px high in 28 px, with the centre of mass in the middle; those of scikit-learn fill the image.
_MNIST = Pen(20 / 28, 2.4 / 28, True)
_PENS = {"digits": Pen(1.0, 1.3 / 8, False)}


def write(module: bytes, record: NetworkRecord, title: str, about: str) -> str:
    """Return the page. `about` is a sentence on the network for its foot."""
    pixels = record.preprocessing
    assert pixels
    draws = pixels.channels == 1
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)  # without a header, as "deflate-raw" has it
    network = {
        "size": pixels.size,
        "channels": pixels.channels,
        "classes": record.classes,
        "module": base64.b64encode(packed.compress(module) + packed.flush()).decode(),
    }
    if draws:
        pen = _PENS.get(record.dataset, _MNIST)
        network |= {"fit": round(pen.fit, 4), "pen": round(pen.width * pixels.size, 2), "mass": pen.mass}
        if pixels.mean[0] > _LIGHT:
            network["dark"] = True
    parts = ("page.js", "pad.js" if draws else "camera.js", "start.js")
    script = Template("".join(_squeezed(_part(name), _SCRIPT) for name in parts))
    return Template(_part("page.html")).substitute(
        title=escape(title),
        invitation="Draw, or drop or paste an image." if draws else "Drop or paste an image, or use the camera.",
        pad_label="Drawing pad" if draws else "The image that is classified",
        button="Clear" if draws else "Camera",
        size=pixels.size,
        footer=escape(about),
        style=_squeezed(_part("style.css"), _STYLE),
        script=script.substitute(network=_script(network)),
    )


def _part(name: str) -> str:
    """Return a part of the template, without indentation, lines of comments and empty lines."""
    text = (resources.files("slt_compress.html_export") / "template" / name).read_text("utf-8")
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


def _squeezed(text: str, marks: str) -> str:
    """Return a script or style without the spaces and line ends beside these marks, and without the semicolon at the
    end of a block; strings stay as they are.
    """
    return re.sub(rf"""(\"[^\"]*\")|\s*([{re.escape(marks)}])\s*""", _kept, text)


def _kept(found: re.Match[str]) -> str:
    text, mark, end = found[1] or "", found[2] or "", found.string[found.end() : found.end() + 1]
    return text or ("" if mark == ";" and end == "}" else mark)


def _script(value: object) -> str:
    """Return a value as an expression in a script that nothing in it can end."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
