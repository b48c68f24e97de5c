"""Where `Ticket.from_pretrained` finds a ticket: in a file, a folder, or a repository of the Hugging Face hub."""

from pathlib import Path
from typing import Any

from slt_compress.errors import TicketError, UsageError, few
from slt_compress.hub.address import FORM, TICKET_NAME, Address, check_repository, is_address, parse
from slt_compress.hub.download import fetch


def find(name: str | Path, revision: str | None, **options: Any) -> Path:
    """Return the path of a ticket that is named by a file, a folder, OWNER/NAME or an address.

    What is on this machine comes first. `options` are those of `fetch`. Raises TicketError for a folder without a
    ticket, UsageError for a name of no form, and what `fetch` raises.
    """
    path = Path(name)
    if not is_address(name) and path.exists():
        if revision is not None:
            raise UsageError(f"{path} is on this machine, it has no revision")
        return _of_folder(path) if path.is_dir() else path
    if is_address(name):
        address = parse(name)
    else:
        try:
            address = Address(check_repository(str(name)))
        except UsageError as error:
            raise UsageError(f"{name} is no file or folder here, nor OWNER/NAME, nor {FORM}") from error
    if revision is not None and address.revision not in (None, revision):
        raise UsageError(f"{address} names a revision already, and {revision!r} is given too")
    return fetch(Address(address.repository, address.file, revision or address.revision), **options)


def _of_folder(folder: Path) -> Path:
    tickets = sorted(path.name for path in folder.glob("*.safetensors"))
    if TICKET_NAME in tickets:
        return folder / TICKET_NAME
    if len(tickets) != 1:
        found = f"several: {few(tickets)}; name one" if tickets else "no file that ends in .safetensors"
        raise TicketError(f"the folder {folder} has no {TICKET_NAME}, and {found}")
    return folder / tickets[0]
