"""The page of a folder: that of html_export, with a script that loads the network and the runtime from beside it.

A policy in it allows to load from its own server alone, and no script or style but those that it names by their digest.

The page makes the images of the graph's probes itself and compares the outputs before it answers; see `ticket.probes`.
"""

import base64
import hashlib

from slt_compress.html_export.page import Kind, assemble, policy_line
from slt_compress.ticket.probes import Probes
from slt_compress.ticket.record import NetworkRecord
from slt_compress.web_export.folder import MARK
from slt_compress.web_export.runtime import SCRIPT

MODEL = "network.onnx"
_TOLERANCE = 1e-3  # of the largest output, where the probes have none of their own


def write(record: NetworkRecord, probes: Probes | None, title: str, foot: str) -> str:
    """Return the page. `probes` are those that the graph records; without them, it does not test itself."""
    network = {"model": MODEL, "runtime": f"./{SCRIPT}", "seed": record.seed % 2**32, "probes": [], "limit": 0.0}
    if probes:
        (output,) = probes.outputs
        network["probes"] = [list(values) for values in output.values]
        share = _TOLERANCE if probes.tolerance is None else probes.tolerance
        network["limit"] = share * max(1.0, output.largest)
    return assemble(record, title, foot, Kind("slt_compress.web_export", _head, network))


def _head(script: str, style: str) -> str:
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'wasm-unsafe-eval' {_digest(script)}",
            f"style-src {_digest(style)}",
            *("connect-src 'self'", "worker-src 'self'", "base-uri 'none'", "form-action 'none'"),
        )
    )
    return f"{MARK}\n{policy_line(policy)}"


def _digest(text: str) -> str:
    """Return what stands in a policy for the text of an element, which begins with the end of a line."""
    digest = hashlib.sha256(f"\n{text}".encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
