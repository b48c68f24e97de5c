"""`push`, and every command that takes a file: hf://OWNER/NAME in its place, over HTTP."""

import json
import os
from pathlib import Path

import pytest
from huggingface_hub import constants

from slt_compress import Ticket
from slt_compress.hub.address import CARD_NAME, TICKET_NAME
from tests.support.commands import Searched, document, refused
from tests.support.hub_server import TOKEN, Hub
from tests.support.process import Run, run_cli


def test_what_is_pushed_is_read_by_every_command(
    hub: Hub, searched: Searched, invoke: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, found = searched
    pushed = document(invoke("push", path, "me/net", "--license", "mit", "--message", "first", "--json"))
    repository = hub.repositories["me/net"]
    files = repository.files()
    assert files[TICKET_NAME] == path.read_bytes()
    assert files[CARD_NAME].decode() == pushed["card"]
    assert pushed["files"] == {name: len(content) for name, content in files.items()}
    assert (pushed["repository"], pushed["url"]) == ("hf://me/net", f"{hub.url}/me/net/commit/{pushed['commit']}")
    assert repository.messages[-1] == "first"
    shown = invoke("push", path, "me/net", "--private", "--no-card", "--branch", "b")
    refused(shown, 1, "me/net is there already and is public: --private is for new repositories", tmp_path)

    assert document(invoke("evaluate", "hf://me/net", "--json"))["accuracy"] == found["accuracy"]
    assert document(invoke("inspect", "hf://me/net", "--json"))["bytes"] == path.stat().st_size
    assert document(invoke("verify", "hf://me/net", "--json"))["ticket"] == "hf://me/net"
    exported = document(invoke("export", "hf://me/net", "--weights", "dense", "--json"))
    assert exported["onnx"] == "ticket.onnx"
    assert (tmp_path / "ticket.onnx").exists()
    assert list(Path(constants.HF_HUB_CACHE).rglob("*.onnx")) == []
    repository.commit("v2", {"net.onnx": (tmp_path / "ticket.onnx").read_bytes()})
    measured = document(invoke("evaluate", "hf://me/net/net.onnx@v2", "--json"))
    assert (measured["accuracy"], measured["backend"]) == (found["accuracy"], "onnxruntime")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "next: slt-compress evaluate hf://me/net" in invoke("inspect", "hf://me/net").stdout


def test_a_dry_run_prints_the_card_and_asks_nobody(
    hub: Hub, searched: Searched, invoke: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    text = invoke("push", searched[0], "hf://me/net", "--dry-run").stdout
    assert text.startswith('---\nlicense: "unknown"\n')
    found = document(invoke("push", searched[0], "me/net", "--dry-run", "--json"))
    assert (found["card"], found["dry_run"], found["url"]) == (text, True, None)
    assert hub.requests == []
    done = invoke("push", searched[0], "me/net")
    assert (done.returncode, done.stdout) == (1, "")
    assert 'pip install "huggingface_hub>=1"' in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["verify", "hf://me"], 2, "expected hf://OWNER/NAME[/FILE][@REVISION]"),
        (["inspect", "hf://me/net"], 1, "there is no repository me/net on the hub"),
        (["export", "hf://me/net/../x"], 2, "expected hf://OWNER/NAME"),
        (["evaluate", "hf://me/bad"], 3, "is not a valid ticket"),
        (["bench", "hf://me/bad"], 3, "is not a valid ticket"),
        (["push", "none", "me/net"], 2, "none does not exist"),
        (["push", "bad", "me/net"], 3, "bad is not a valid ticket"),
        (["push", "T", "net"], 2, "expected OWNER/NAME, got 'net'"),
        (["push", "T", "me/net", "--license", "My Own"], 2, "--license must be as the hub lists it"),
        (["push", "T", "me/net", "--no-card", "--license", "mit"], 2, "--license has no meaning without a model card"),
        (["push", "T", "others/net"], 1, "may not write to others/net"),
        (["push", "T", "me/net", "--branch", "b", "--create-pr"], 2, "--branch has no meaning with --create-pr"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(
    hub: Hub, searched: Searched, invoke: Run, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    hub.add("me/bad", {TICKET_NAME: b"noise"})
    (tmp_path / "bad").write_bytes(b"noise")
    words = [str(searched[0]) if word == "T" else word for word in words]
    refused(invoke(*words, "--json"), code, message, tmp_path)
    assert list(hub.repositories) == ["me/bad"]


def test_processes_of_their_own_agree(hub: Hub, ticket: Ticket, tmp_path: Path) -> None:
    """As a user runs it: the endpoint, the cache and the token come from the environment."""
    ticket.push_to_hub("me/net", private=True)
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_CACHE": str(tmp_path / "cache")}
    verified = run_cli("verify", "hf://me/net", "--json", cwd=tmp_path, HF_TOKEN=TOKEN, **environment)
    assert json.loads(verified.stdout)["digest"] == ticket.digest
    asked = len(hub.requests)
    offline = run_cli("verify", "hf://me/net", "--json", cwd=tmp_path, HF_HUB_OFFLINE="1", **environment)
    assert json.loads(offline.stdout)["digest"] == ticket.digest
    assert len(hub.requests) == asked
    assert os.listdir(tmp_path / "cache") != []  # noqa: PTH208
