"""`from_pretrained` and `push_to_hub`, as libraries of the hub have them; and a folder or file here."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelHubMixin, get_token

from slt_compress import Ticket
from slt_compress.errors import HubError, SltError, TicketError, UsageError
from tests.support.hub_server import TOKEN, Hub


def test_the_arguments_are_those_of_the_hub_s_own_mixin() -> None:
    ours = inspect.signature(Ticket.from_pretrained).parameters
    theirs = inspect.signature(ModelHubMixin.from_pretrained).parameters
    assert {name: (one.default, one.kind) for name, one in ours.items()} == {
        name: (one.default, one.kind) for name, one in theirs.items() if name != "model_kwargs"
    }
    known = inspect.signature(ModelHubMixin.push_to_hub).parameters
    assert set(inspect.signature(Ticket.push_to_hub).parameters) <= set(known)


def test_a_ticket_goes_to_the_hub_and_comes_back(
    hub: Hub, ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert get_token() is None
    kwargs: dict[str, Any] = {"token": TOKEN, "model_card_kwargs": {"license": "mit"}}
    url = ticket.push_to_hub("me/net", commit_message="mine", private=True, **kwargs)
    repository = hub.repositories["me/net"]
    first = repository.branches["main"]
    assert url == f"{hub.url}/me/net/commit/{first}"
    assert set(repository.files()) == {"ticket.safetensors", "README.md"}
    assert b'\nlicense: "mit"\n' in b"\n" + repository.files()["README.md"].replace(b"---", b"", 1)
    assert repository.messages[-1] == "mine"
    with pytest.raises(HubError, match="or it is private"):
        Ticket.from_pretrained("me/net")
    for name in ("me/net", "hf://me/net", "hf://me/net/ticket.safetensors"):
        found = Ticket.from_pretrained(name, token=TOKEN, cache_dir=tmp_path / "cache", revision=first)
        assert found.to_bytes() == ticket.to_bytes()
    hub.requests.clear()
    kept = Ticket.from_pretrained("me/net", cache_dir=str(tmp_path / "cache"), revision=first, local_files_only=True)
    assert kept.digest == ticket.digest
    assert hub.requests == []
    Ticket.from_pretrained("me/net", token=TOKEN, cache_dir=tmp_path / "cache", revision=first, force_download=True)
    assert [path for _, path, _ in hub.requests if path.startswith("/storage/")] != []


def test_what_is_on_this_machine_comes_first(
    hub: Hub, ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "me" / "net"
    folder.mkdir(parents=True)
    ticket.save(folder / "odd.safetensors")
    for name in ("me/net", folder, folder / "odd.safetensors"):
        assert Ticket.from_pretrained(name).digest == ticket.digest
    (folder / "ticket.safetensors").write_bytes(b"noise")
    with pytest.raises(TicketError, match="is not a valid ticket"):
        Ticket.from_pretrained("me/net")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "revision", "kind", "words"),
    [
        ("empty", None, TicketError, "the folder empty has no ticket.safetensors, and no file that ends in .safetens"),
        ("two", None, TicketError, "has no ticket.safetensors, and several: a.safetensors, b.safetensors; name one"),
        ("two", "v1", UsageError, "two is on this machine, it has no revision"),
        ("none", None, UsageError, "none is no file or folder here, nor OWNER/NAME, nor hf://OWNER/NAME[/FILE][@REV"),
        ("a/b/c", None, UsageError, "a/b/c is no file or folder here"),
        ("hf://me/net@v1", "v2", UsageError, "hf://me/net@v1 names a revision already, and 'v2' is given too"),
        ("me/net", "v1", HubError, "there is no repository me/net"),
    ],
)
def test_names_that_lead_nowhere(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    revision: str | None,
    kind: type[SltError],
    words: str,
) -> None:
    assert not hub.repositories
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "two"):
        (tmp_path / folder).mkdir()
    for file in "ab":
        (tmp_path / "two" / f"{file}.safetensors").touch()
    with pytest.raises(kind, match=re.escape(words)):
        Ticket.from_pretrained(name, revision=revision)
