"""From an address of the hub to a file on this machine: in the library's cache, which is asked where the hub cannot be.

What the repository has is asked first. So a file that is not there, or is far too large, is told before anything is
downloaded, and without a network nothing waits for it.
"""

from pathlib import Path
from typing import Any

from slt_compress.errors import HubError, few
from slt_compress.hub.address import TICKET_NAME, Address, is_address, parse
from slt_compress.hub.client import library, of_network, quiet, told, unreachable
from slt_compress.version import __version__

MAX_BYTES = 4 * 2**30  # of a file; that of the largest ticket
_SUFFIX = ".safetensors"


def located(file: str | Path) -> Path:
    """Return the path of a file, which is downloaded first if it is named by an address. Raises as `fetch` does."""
    return fetch(parse(file)) if is_address(file) else Path(file)


def fetch(
    address: Address,
    *,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Return the path of a file of the hub in the cache on this machine, where it is put if it is not there.

    Args:
        address: of the file.
        token: for a private repository; True, or None, for that of the user's login, False for none.
        cache_dir: the cache, that of the library if none is given.
        local_files_only: never asks the hub.
        force_download: downloads what is in the cache already.

    Raises MissingPackageError without the library, UsageError for a name that cannot be, and HubError, with what to do,
    if there is no such repository, revision or file, it may not be read, or the hub cannot be reached and the file is
    not in the cache.
    """
    hub = library()
    api = hub.HfApi(token=token, library_name="slt-compress", library_version=__version__)
    with quiet(), told(address, token):
        sizes, reason = ({}, None) if local_files_only else _sizes(api, address)
        offline = local_files_only or reason is not None
        name = address.file or (_cached_name(hub, address, cache_dir) if offline else _only_ticket(address, sizes))
        if not offline:
            _check(address, name, sizes)
        try:
            return Path(
                api.hf_hub_download(
                    address.repository,
                    name,
                    revision=address.revision,
                    cache_dir=cache_dir,
                    local_files_only=offline,
                    force_download=force_download and not offline,
                )
            )
        except FileNotFoundError as error:  # or one derived from it
            if not offline:
                raise
            raise _not_cached(Address(address.repository, name, address.revision), cache_dir, reason) from error


def _sizes(api: Any, address: Address) -> tuple[dict[str, int | None], Exception | None]:
    """Return the bytes of the files of a repository by name; or why the hub cannot tell, for now."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = api.model_info(
            address.repository,
            revision=address.revision,
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
            files_metadata=True,
        )
    except Exception as error:
        is_down = isinstance(error, HfHubHTTPError) and error.response.status_code >= 500
        if is_down or of_network(error):
            return {}, error
        raise
    return {each.rfilename: each.size for each in found.siblings or ()}, None


def _only_ticket(address: Address, names: Any) -> str:
    """Return the name of the ticket of a repository: the usual one, or the only one. Raises HubError without one."""
    tickets = sorted(name for name in names if name.endswith(_SUFFIX))
    if TICKET_NAME in tickets or len(tickets) == 1:
        return TICKET_NAME if TICKET_NAME in tickets else tickets[0]
    if tickets:
        example = Address(address.repository, tickets[0], address.revision)
        raise HubError(f"{address} has several tickets, {few(tickets)}: name one, such as {example}")
    raise HubError(f"{address} has no ticket ({_SUFFIX}); it has {few(sorted(names)) or 'no files'}")


def _cached_name(hub: Any, address: Address, cache_dir: str | Path | None) -> str:
    """Return the usual name of a ticket, where the hub cannot be asked which one a repository has.

    Raises HubError if only others are in the cache: none of them need be the one.
    """
    try:
        folder = Path(
            hub.snapshot_download(
                address.repository, revision=address.revision, cache_dir=cache_dir, local_files_only=True
            )
        )
    except FileNotFoundError:
        return TICKET_NAME
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob(f"*{_SUFFIX}"))
    if names and TICKET_NAME not in names:
        example = Address(address.repository, names[0], address.revision)
        raise HubError(
            f"{address} names no file, and the hub cannot be asked; the cache has {few(names)}: name {example}"
        )
    return TICKET_NAME


def _check(address: Address, name: str, sizes: dict[str, int | None]) -> None:
    """Raise HubError if there is no such file, or it is far too large for what this package reads."""
    if name not in sizes:
        there = few(sorted(sizes)) or "no files"
        raise HubError(f"{address.repository} has no file {name} at {address.revision or 'main'}; it has {there}")
    if (size := sizes[name] or 0) > MAX_BYTES:
        raise HubError(f"{name} of {address.repository} has {size:,} bytes, expected at most {MAX_BYTES:,}")


def _not_cached(address: Address, cache_dir: str | Path | None, reason: Exception | None) -> HubError:
    from huggingface_hub import constants

    cache = cache_dir or constants.HF_HUB_CACHE
    unasked = "the hub was not to be asked"
    if status := getattr(getattr(reason, "response", None), "status_code", None):
        unasked = f"the hub answers with {status}"
    elif reason is not None:
        unasked = unreachable(of_network(reason) or reason)
    return HubError(
        f"{address} is not in the cache {cache}, and {unasked}; on a machine with internet run "
        f"hf download {address.repository} {address.file}, copy the file here and give its path"
    )
