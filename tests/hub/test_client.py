"""The library: missing, too old or broken; and tokens, which no message holds."""

import builtins
import logging
import sys
import types
import warnings
from typing import Any

import pytest
from huggingface_hub import utils
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

from slt_compress.errors import HubError, MissingPackageError, UsageError
from slt_compress.hub import client
from slt_compress.hub.address import Address

ADDRESS = Address("me/net", "t.safetensors")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, r'need the package huggingface_hub, 1\.0 or newer: pip install "huggingface_hub>=1"$'),
        (types.SimpleNamespace(), r'pip install "huggingface_hub>=1"$'),
        (types.SimpleNamespace(__version__="0.36.0"), r"; found 0\.36\.0$"),
    ],
)
def test_without_the_library_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, module: Any, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    with pytest.raises(MissingPackageError, match=words):
        client.library()


def test_a_library_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def broken(name: str, *arguments: Any) -> Any:
        if name == "huggingface_hub":
            raise ImportError("libssl.so.3 is missing")
        return found(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(MissingPackageError, match=r"cannot be imported \(ImportError: libssl\.so\.3 is missing\)$"):
        client.library()


def test_what_the_library_says_is_not_heard(capfd: pytest.CaptureFixture[str]) -> None:
    utils.enable_progress_bars()
    level = logging.root.manager.disable
    with client.quiet():
        print("printed")
        warnings.warn("warned", stacklevel=1)
        logging.getLogger("huggingface_hub").error("logged")
        assert utils.are_progress_bars_disabled()
    assert capfd.readouterr() == ("", "")
    assert not utils.are_progress_bars_disabled()
    assert logging.root.manager.disable == level


@pytest.mark.parametrize("secret", ["hf_abcDEF123456", "plain-secret"])
@pytest.mark.parametrize("where", ["call", "environment"])
def test_no_message_holds_a_token(monkeypatch: pytest.MonkeyPatch, secret: str, where: str) -> None:
    monkeypatch.setenv("HF_TOKEN", secret if where == "environment" else "")
    token = secret if where == "call" else None
    with pytest.raises(HubError, match="cannot be read") as caught, client.told(ADDRESS, token):
        raise RuntimeError(f"Bearer {secret} at https://me:{secret}@example.org/{secret}")
    assert secret not in str(caught.value)
    assert "example.org" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["Authorization: Bearer a.b-c/d+e=", "https://user:pass@host/x", "hf_0123456789", "api_org_0123456789"]
)
def test_what_looks_like_a_token_goes(text: str) -> None:
    shown = client.redacted(f"({text})", None)
    assert "***" in shown
    assert not {part for part in ("a.b-c/d+e=", "user:pass", "0123456789") if part in shown}
    assert shown[0] + shown[-1] == "()"
    assert client.redacted("hf://me/net in /hf_home", None) == "hf://me/net in /hf_home"


def test_errors_of_the_network_are_found_behind_others() -> None:
    class TransportError(Exception):
        """As the library's HTTP client calls its base."""

    class SlowError(TransportError):
        pass

    for network in (SlowError("slow"), ConnectionError("no route"), TimeoutError()):
        outer = RuntimeError("upload failed")
        outer.__cause__ = network
        assert client.of_network(outer) is network
    assert client.of_network(ValueError("no")) is None
    loop = ValueError("loop")
    loop.__context__ = loop
    assert client.of_network(loop) is None


def test_what_has_no_case_of_its_own() -> None:
    failed = client.failure(HFValidationError("Repo id must be\nshort"), ADDRESS, None)
    assert isinstance(failed, UsageError)
    assert str(failed) == "hf://me/net/t.safetensors cannot be: Repo id must be"
    failed = client.failure(OSError(28, "No space left on device"), ADDRESS, None)
    assert str(failed).endswith("t.safetensors cannot be read (OSError: [Errno 28] No space left on device)")
    failed = client.failure(OfflineModeIsEnabled("…"), ADDRESS, None, writing=True)
    assert str(failed).startswith("HF_HUB_OFFLINE is set: the Hugging Face hub is not asked")
    assert str(failed).endswith("; nothing was pushed")
