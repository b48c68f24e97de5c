"""The library huggingface_hub, which is optional: found, kept quiet, and what it raises told in a line.

No message holds a token: not that of the call, of the environment or of the user's login, nor anything that looks like
one.
"""

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

from slt_compress.errors import HubError, MissingPackageError, SltError, UsageError, first_line
from slt_compress.hub.address import FORM, Address

_MAJOR = 1  # version of the library: the first with the errors that are told apart here
_SECRETS = re.compile(r"\b(?:hf|api_org)_\w{6,}|(?<=://)[^/@\s]+(?=@)|(?<=Bearer )[\w.~+/=-]+")
_LOGIN = "log in with hf auth login, or set HF_TOKEN"
_BUSY = 429  # the first of the answers that are worth a second try, beside those from 500 on


def library() -> Any:
    """Import the library. Raises MissingPackageError if it is not there, too old, or cannot be imported."""
    problem = ""
    try:
        import huggingface_hub

        if int(huggingface_hub.__version__.partition(".")[0]) >= _MAJOR:
            return huggingface_hub
        problem = f"; found {huggingface_hub.__version__}"
    except ImportError as error:
        if error.name != "huggingface_hub":
            problem = f"; it is there, but cannot be imported ({described(error)})"
    except AttributeError:
        pass  # another module or folder of that name
    raise MissingPackageError(
        f"files on the Hugging Face hub need the package huggingface_hub, {_MAJOR}.0 or newer: pip install "
        f'"huggingface_hub>={_MAJOR}"{problem}'
    )


@contextlib.contextmanager
def quiet(*bars: Any) -> Iterator[None]:
    """Keep the library, and others with progress bars like its, from drawing, printing, logging and warning: what goes
    wrong, they raise as well.
    """
    from huggingface_hub import utils

    shown = [each for each in (utils, *bars) if not each.are_progress_bars_disabled()]
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            for each in shown:
                each.disable_progress_bars()
            yield
    finally:
        for each in shown:
            each.enable_progress_bars()
        logging.disable(disabled)


def of_network(error: BaseException | None) -> BaseException | None:
    """Return the network's error that led to an error, None if it came from elsewhere."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    for each in _causes(error):
        # The library's own HTTP client, whose package has changed its name twice, calls the base of them so.
        if "TransportError" in {kind.__name__ for kind in type(each).__mro__}:
            return each
        if isinstance(each, ConnectionError | TimeoutError | LocalEntryNotFoundError):
            return each
    return None


def unreachable(error: BaseException) -> str:
    """Return that the hub cannot be asked, and why."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: the Hugging Face hub is not asked"
    return f"the connection to the Hugging Face hub has failed ({described(error)})"


@contextlib.contextmanager
def told(address: Address, token: str | bool | None, *, writing: bool = False) -> Iterator[None]:
    """Raise what the library raises about a repository as HubError or UsageError, in a line that says what to do."""
    try:
        yield
    except SltError:
        raise
    except Exception as error:
        raise failure(error, address, token, writing=writing) from error


def failure(error: Exception, address: Address, token: str | bool | None, *, writing: bool = False) -> SltError:
    """Return an error of the library as one of this package."""
    from huggingface_hub import constants, errors

    def cause(kind: Any) -> Any:
        return next((each for each in _causes(error) if isinstance(each, kind)), None)

    text: str | None = None
    name = address.repository
    if cause(errors.HFValidationError):
        return UsageError(redacted(f"{address} cannot be: {first_line(error)}", token))
    if cause(errors.GatedRepoError):
        text = f"{name} is gated: ask for access on its page on the hub, then {_LOGIN}"
    elif cause(errors.RepositoryNotFoundError):
        seen = "the token that is set does not see it" if _has_token(token) else f"it is private: {_LOGIN}"
        text = f"there is no repository {name} on the hub, or {seen}"
    elif cause(errors.RevisionNotFoundError):
        text = f"{name} has no revision {address.revision or 'main'}"
        if "/" in (address.revision or ""):
            text += f"; what follows @ is the revision, and a file comes before it: {FORM}"
    elif cause(errors.RemoteEntryNotFoundError):
        text = f"{name} has no file {address.file} at the revision {address.revision or 'main'}"
    elif cause(errors.FileMetadataError) or cause(json.JSONDecodeError):
        text = f"{constants.ENDPOINT} does not answer as the Hugging Face hub does: look at HF_ENDPOINT and your proxy"
    elif found := cause(errors.HfHubHTTPError):
        text = _answered(found, name, token, writing=writing)
    elif network := of_network(error):
        text = f"{unreachable(network)}; try again later"
    else:
        text = f"{address} cannot be {'written' if writing else 'read'} ({described(error)})"
    return HubError(redacted(f"{text}; nothing was pushed" if writing else text, token))


def _answered(error: Any, name: str, token: str | bool | None, *, writing: bool) -> str:
    """Return what it means that the hub has answered with an error."""
    status = error.response.status_code
    said = first_line(ValueError(getattr(error, "server_message", None) or ""))
    if status in (401, 403):
        right = "write to" if writing else "read"
        if not _has_token(token):
            return f"the hub lets nobody {right} {name} without a token: {_LOGIN}"
        return f"the token that is set may not {right} {name} ({status}{f': {said}' if said else ''}): {_LOGIN}"
    what = f"the hub answers with {status} for {name}" + (f" ({said})" if said else "")
    return f"{what}; try again later" if status == _BUSY or status >= 500 else what


def described(error: BaseException) -> str:
    """Return an error as its type and the first line of what it says."""
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")


def redacted(text: str, token: str | bool | None) -> str:
    """Return a text without tokens."""
    from huggingface_hub import get_token

    for secret in (token, get_token()):
        if isinstance(secret, str) and secret:
            text = text.replace(secret, "***")
    return _SECRETS.sub("***", text)


def _has_token(token: str | bool | None) -> bool:
    from huggingface_hub import get_token

    return token is not False and bool(isinstance(token, str) or get_token())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    seen: set[int] = set()
    while error and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
