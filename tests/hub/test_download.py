"""Downloads over HTTP, from the stand-in: what is asked, what is cached, and every way in which it can fail."""

import hashlib
import re
from pathlib import Path

import pytest
from huggingface_hub import constants

from slt_compress import Ticket
from slt_compress.errors import HubError, SltError
from slt_compress.evaluation.networks import open_network
from slt_compress.hub import download
from slt_compress.hub.address import TICKET_NAME, Address, parse
from slt_compress.hub.download import fetch, located
from tests.support.hub_server import Hub

FILES = {TICKET_NAME: b"ticket", "other.safetensors": b"other", "a/net.onnx": b"graph", "README.md": b"card"}


def read(text: str) -> bytes:
    return located(text).read_bytes()


def test_a_file_a_ticket_and_a_revision(hub: Hub) -> None:
    repository = hub.add("me/net", FILES)
    first = repository.branches["main"]
    assert [read(f"hf://me/net{rest}") for rest in ("", "/other.safetensors", "/a/net.onnx")] == [
        b"ticket",
        b"other",
        b"graph",
    ]
    repository.commit("main", {TICKET_NAME: b"newer"})
    repository.commit("v2", {"only.safetensors": b"alone"})
    assert read("hf://me/net") == b"newer"
    assert read(f"hf://me/net@{first}") == b"ticket"
    assert read("hf://me/net/only.safetensors@v2") == b"alone"
    assert located("hf://me/net/a/net.onnx").name == "net.onnx"
    assert located("here/t.safetensors") == Path("here/t.safetensors")


def test_nothing_but_the_named_file_is_asked_for_and_only_the_hub_gets_the_token(hub: Hub) -> None:
    hub.add("me/net", FILES, private=True)
    assert read("hf://me/net") == b"ticket"
    oid = hashlib.sha256(b"ticket").hexdigest()
    assert hub.requests == [
        ("GET", "/api/models/me/net", True),
        ("HEAD", f"/me/net/resolve/main/{TICKET_NAME}", True),
        ("GET", f"/storage/{oid}", False),
    ]
    hub.requests.clear()
    assert read("hf://me/net") == b"ticket"
    assert "GET" not in {method for method, path, _ in hub.requests if "/api/" not in path}


def test_the_only_ticket_has_any_name(hub: Hub) -> None:
    hub.add("me/net", {"a/t95.safetensors": b"x", "README.md": b""})
    assert located("hf://me/net").name == "t95.safetensors"
    hub.add("me/none", {"README.md": b""})
    hub.add("me/two", {"a.safetensors": b"", "b.safetensors": b""})
    with pytest.raises(HubError, match=r"^hf://me/none has no ticket \(\.safetensors\); it has README\.md$"):
        located("hf://me/none")
    words = "hf://me/two has several tickets, a.safetensors, b.safetensors: name one, such as hf://me/two/a.safetensors"
    with pytest.raises(HubError, match=re.escape(words)):
        located("hf://me/two")


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("text", "words", "unknown"),
    [
        (
            "hf://me/nut",
            "there is no repository me/nut on the hub, or the token that is set does not see it",
            "private",
        ),
        ("hf://me/private", "", "or it is private: log in with hf auth login, or set HF_TOKEN"),
        ("hf://me/gated", "", "me/gated is gated: ask for access on its page on the hub, then log in with hf auth"),
        ("hf://me/net@v9", "me/net has no revision v9", "me/net has no revision v9"),
        ("hf://me/net@v9/a.onnx", "me/net has no revision v9/a.onnx; what follows @ is the revision", "no revision"),
        ("hf://me/net/x.onnx", "me/net has no file x.onnx at main; it has README.md, a/net.onnx, ", "no file x.onnx"),
    ],
)
def test_what_is_not_there(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, known: bool, text: str, words: str, unknown: str
) -> None:
    hub.add("me/net", FILES)
    hub.add("me/private", FILES, private=True)
    hub.add("me/gated", FILES, gated=True)
    if not known:
        monkeypatch.delenv("HF_TOKEN")
    if known and not words:
        assert read(text) == b"ticket"
        return
    with pytest.raises(HubError, match=re.escape(words if known else unknown)):
        located(text)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (500, "and the hub answers with 500"),
        (503, "and the hub answers with 503"),
        ("truncate", "(RemoteProtocolError: peer closed connection"),
        ("hang", "(ReadTimeout: timed out)"),
        (404, "the hub answers with 404 for me/net (as it was told to)"),
        (429, "the hub answers with 429 for me/net (as it was told to); try again later"),
        (401, "the token that is set may not read me/net (401: as it was told to): log in"),
        (403, "the token that is set may not read me/net (403: as it was told to): log in"),
        ("echo", "may not read me/net (403: not with Bearer ***)"),
    ],
)
def test_a_hub_that_fails_and_a_cache_that_has_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, fault: int | str, words: str
) -> None:
    hub.add("me/net", FILES)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    assert read("hf://me/net/other.safetensors") == b"other"
    hub.fault = lambda _method, path: fault if path.startswith("/api/") else None
    with pytest.raises(HubError, match=re.escape(words)) as caught:
        located(f"hf://me/net/{TICKET_NAME}")
    assert "\n" not in str(caught.value)
    if fault in (500, 503, "truncate", "hang"):  # for now
        advice = f"on a machine with internet run hf download me/net {TICKET_NAME}, copy the file here"
        assert advice in str(caught.value)
        assert read("hf://me/net/other.safetensors") == b"other"


def test_a_download_that_breaks_off_leaves_nothing(hub: Hub) -> None:
    hub.add("me/net", FILES)
    hub.fault = lambda _method, path: "truncate" if path.startswith("/storage/") else None
    with pytest.raises(HubError, match="the connection to the Hugging Face hub has failed") as caught:
        located("hf://me/net")
    assert str(caught.value).endswith("try again later")
    blobs = [path.name for path in Path(constants.HF_HUB_CACHE).rglob("blobs/*")]
    assert [name for name in blobs if not name.endswith(".incomplete")] == []
    hub.fault = lambda _method, _path: None
    assert read("hf://me/net") == b"ticket"


def test_without_a_network_the_cache_answers(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.add("me/net", {"odd.safetensors": b"odd"})
    revision = hub.repositories["me/net"].branches["main"]
    odd = "hf://me/net/odd.safetensors"
    assert read("hf://me/net") == b"odd"
    asked = len(hub.requests)
    assert fetch(parse(odd), local_files_only=True).read_bytes() == b"odd"
    assert len(hub.requests) == asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert read(odd) == read(f"{odd}@{revision}") == b"odd"
    assert len(hub.requests) == asked
    with pytest.raises(HubError, match="names no file, and the hub cannot be asked; the cache has odd"):
        located("hf://me/net")  # whose ticket may be another one
    with pytest.raises(HubError, match=r"^hf://me/no/ticket\.safetensors is not in the cache .*HF_HUB_OFFLINE is set"):
        located("hf://me/no")
    with pytest.raises(HubError, match=f"is not in the cache {re.escape(str(tmp_path))}, and the hub was not to be"):
        fetch(parse(odd), cache_dir=tmp_path, local_files_only=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert read(odd) == b"odd"
    with pytest.raises(HubError, match=r"hub has failed \(ConnectError: .*Connection refused\)"):
        located("hf://me/no")


def test_what_answers_in_the_place_of_the_hub_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("me/net", FILES)
    hub.fault = lambda _method, path: "page" if path.startswith("/api/") else None
    monkeypatch.setattr(constants, "ENDPOINT", hub.url.replace("//", "//me:secret@"))
    words = r"^http://\*\*\*@127\.0\.0\.1:\d+ does not answer as the Hugging Face hub does: look at HF_ENDPOINT"
    with pytest.raises(HubError, match=words):
        located("hf://me/net")


def test_a_file_that_is_far_too_large_is_not_downloaded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("me/net", FILES)
    monkeypatch.setattr(download, "MAX_BYTES", 5)
    with pytest.raises(HubError, match=r"^ticket\.safetensors of me/net has 6 bytes, expected at most 5$"):
        located("hf://me/net")
    assert [path for _, path, _ in hub.requests] == ["/api/models/me/net"]


def test_the_front_door_reads_tickets_as_strictly_as_from_a_disk(hub: Hub, ticket: Ticket) -> None:
    content = ticket.to_bytes()
    damaged = content[:-1] + bytes([content[-1] ^ 1])
    hub.add("me/net", {TICKET_NAME: content, "bad.safetensors": damaged, "page.onnx": b"<html>"})
    assert Ticket.load("hf://me/net").to_bytes() == content
    assert Ticket.load(Path("hf://me/net")).digest == ticket.digest
    assert open_network("hf://me/net").record.ticket == ticket.digest
    for name, words in (("bad.safetensors", "is not a valid ticket: "), ("page.onnx", "page.onnx")):
        with pytest.raises(SltError, match=words) as caught:
            open_network(str(Address("me/net", name)))
        assert caught.value.exit_code == 3
