"""What is known of a network, and a way to run it, as the text of an HTML page.

The page of one file holds the network as a WebAssembly module and asks for nothing: no script, style, font or image
comes from elsewhere, and a policy in it forbids to load any. Another page has the same parts with a script and a policy
of its own, see `Kind`. The parts lie in `template/`, written to be read; indentation and lines of comments are left out
of a page.

Names of classes and the title come from a ticket, so from anywhere: in markup they are escaped, in the script they are
JSON without `<`, and the script shows them as text.
"""

import base64
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from string import Template
from typing import Any

from slt_compress.c_export.text import classifies
from slt_compress.errors import UnreachableError, UsageError
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket

_HERE = "slt_compress.html_export"
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


@dataclass(frozen=True)
class Kind:
    """What sets a kind of page apart from others.

    Attributes:
        room: package whose `template/` has `start.js`, the script that makes `net`: pixels -> outputs, at once or
            later, or nothing.
        head: the script and the style of a page -> lines of markup, such as its policy.
        network: what its scripts know of the network beside its images and classes, as JSON can have it.
    """

    room: str
    head: Callable[[str, str], str]
    network: Mapping[str, Any] = field(default_factory=dict)


def check(record: NetworkRecord, title: str | None, format_name: str) -> None:
    """Raise UsageError for a title that is no line of text, UnreachableError for a network that does not tell the class
    of a grey or colour image. `format_name` is what messages call the format.
    """
    if title is not None and not (title.isprintable() and title.strip()):
        raise UsageError(f"`title` must be a line of text, got {title!r}")
    pixels = record.preprocessing
    if not pixels or pixels.channels not in (1, 3):
        taken = f"images of {pixels.channels} channels" if pixels else f"inputs of the shape {record.inputs[0].shape}"
        raise UnreachableError(
            f"`format={format_name}` classifies grey or colour images, this network takes {taken}; use `format=c` or "
            "`format=onnx`"
        )
    if not classifies(record):
        raise UnreachableError(
            f"`format={format_name}` shows one class an image, this network is for {record.task.name}; use `format=c` "
            "or `format=onnx`"
        )


def default_title(record: NetworkRecord) -> str:
    """Return the title of a page that was given none."""
    return f"{record.model} · {record.dataset or 'images'}"


def about(ticket: Ticket) -> str:
    """Return a sentence on a network for the foot of its page."""
    stored = [bool(layer.values) for layer in ticket.layers]
    kind = "trained" if all(stored) else "random and trained" if any(stored) else "random"
    kept = f"{ticket.kept:,} of {ticket.weight_count:,} {kind} weights"
    return f"{kept} of {ticket.provenance.model.title}, seed {ticket.seed}. No image leaves this page."


def write(module: bytes, record: NetworkRecord, title: str, foot: str) -> str:
    """Return the page of one file, with this text at its foot."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)  # without a header, as "deflate-raw" has it
    embedded = base64.b64encode(packed.compress(module) + packed.flush()).decode()
    return assemble(record, title, foot, Kind(_HERE, _head, {"module": embedded}))


def _head(_script: str, _style: str) -> str:
    return policy_line("default-src 'unsafe-inline' 'wasm-unsafe-eval'")


def policy_line(policy: str) -> str:
    """Return the markup of a Content-Security-Policy."""
    return f'<meta http-equiv=Content-Security-Policy content="{policy}">'


def assemble(record: NetworkRecord, title: str, foot: str, kind: Kind) -> str:
    """Return a page of a kind, as `write` does."""
    pixels = record.preprocessing
    assert pixels
    draws = pixels.channels == 1
    network = {"size": pixels.size, "channels": pixels.channels, "classes": record.classes, **kind.network}
    if draws:
        pen = _PENS.get(record.dataset, _MNIST)
        network |= {"fit": round(pen.fit, 4), "pen": round(pen.width * pixels.size, 2), "mass": pen.mass}
        if pixels.mean[0] > _LIGHT:
            network["dark"] = True
    parts = ((_HERE, "page.js"), (_HERE, "pad.js" if draws else "camera.js"), (kind.room, "start.js"))
    text = Template("".join(_squeezed(_part(name, room), _SCRIPT) for room, name in parts))
    script, style = text.substitute(network=_script(network)), _squeezed(_part("style.css"), _STYLE)
    markup = _part("page.html").replace(">\n<", "><")
    return Template(markup).substitute(
        head=kind.head(script, style),
        title=escape(title),
        invitation="Draw, or drop or paste an image." if draws else "Drop or paste an image, or use the camera.",
        pad_label="Drawing pad" if draws else "The image that is classified",
        button="Clear" if draws else "Camera",
        size=pixels.size,
        footer=escape(foot),
        style=style,
        script=script,
    )


def _part(name: str, room: str = _HERE) -> str:
    """Return a part of the template, without indentation, lines of comments and empty lines."""
    text = (resources.files(room) / "template" / name).read_text("utf-8")
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


def _squeezed(text: str, marks: str) -> str:
    """Return a script or style without the spaces and line ends beside these marks, and without the semicolon at the
    end of a block. `const` becomes `let`, which is shorter and means the same where nothing is assigned again. Strings
    stay as they are.
    """
    return re.sub(rf"""(\"[^\"]*\")|\b(const)\b|\s*([{re.escape(marks)}])\s*""", _kept, text)


def _kept(found: re.Match[str]) -> str:
    text, constant, mark = found.groups("")
    if mark == ";" and found.string.startswith("}", found.end()):
        mark = ""
    return text or ("let" if constant else mark)


def _script(value: object) -> str:
    """Return a value as an expression in a script that nothing in it can end."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
