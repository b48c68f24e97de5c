"""A reference in a file of its own: a JSON object with the names of the classes and the reference in base64."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from slt_compress.errors import DataError, TicketError, few
from slt_compress.files import write_atomically
from slt_compress.ticket.held_out import Reference, group_count

FORMAT = "slt-compress reference"
_MOST_BYTES = 50_000_000  # with the names of a hundred thousand classes


def save_reference(path: Path, reference: Reference, classes: Sequence[str]) -> None:
    """Write a reference of a network with these classes. Raises OutputError if that is impossible."""
    content = base64.b64encode(reference.to_bytes()).decode()
    document = {"format": FORMAT, "classes": list(classes), "reference": content}
    write_atomically(path, (json.dumps(document) + "\n").encode())


def load_reference(path: Path, classes: Sequence[str]) -> Reference:
    """Read a reference. Raises DataError, naming the file, if it is none, or one of other classes."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} is no reference: it has {path.stat().st_size:,} bytes")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the reference {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no reference: it is not valid JSON, or only a part of it") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataError(f"{path} is no reference: expected what `save_reference` wrote")
    if set(document) != {"format", "classes", "reference"}:
        raise DataError(f"{path} is a damaged reference: it has the fields {few(sorted(document))}")
    if document["classes"] != list(classes):
        named = document["classes"] if isinstance(document["classes"], list) else []
        raise DataError(
            f"{path} is a reference of {len(named)} other classes ({few(list(map(str, named)))}), the network has "
            f"{len(classes)} ({few(classes)})"
        )
    try:
        found = Reference.from_bytes(base64.b64decode(document["reference"], validate=True))
    except (TicketError, TypeError, ValueError) as error:
        raise DataError(f"{path} is a damaged reference: {error}") from error
    if len(found.classes) != group_count(len(classes)):
        raise DataError(f"{path} is a damaged reference: it has {len(found.classes)} groups of classes")
    return found
