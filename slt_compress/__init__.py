"""Strong lottery tickets: a seed plus at most one mask bit per weight.

>>> from slt_compress import Ticket
>>> module = Ticket.load("ticket.safetensors").restore()
"""

from typing import TYPE_CHECKING

from slt_compress.version import __version__

__all__ = ["Ticket", "__version__"]

if TYPE_CHECKING:
    from slt_compress.ticket.ticket import Ticket


def __getattr__(name: str) -> object:
    # `slt-compress --help` imports this package, so numpy and safetensors wait until a ticket is asked for.
    if name == "Ticket":
        from slt_compress.ticket.ticket import Ticket

        return Ticket
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
