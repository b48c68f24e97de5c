"""Pushing over HTTP, to the stand-in: one commit, and every way in which it can fail."""

import re

import pytest
from huggingface_hub import constants

from slt_compress.errors import HubError, MissingPackageError, UsageError
from slt_compress.hub import client
from slt_compress.hub.download import located
from slt_compress.hub.upload import push
from tests.support.hub_server import Hub

CARD = b"---\nlicense: mit\n---\n# net\n"
FILES = {"ticket.safetensors": b"ticket", "README.md": CARD}


def test_what_is_pushed_comes_back(hub: Hub) -> None:
    made = push("me/net", FILES, message="first")
    repository = hub.repositories["me/net"]
    assert repository.files() == FILES
    assert repository.messages == ["initial commit", "first"]
    assert not repository.private
    assert made.commit == repository.branches["main"]
    assert made.url == f"{hub.url}/me/net/commit/{made.commit}"
    assert located("hf://me/net").read_bytes() == b"ticket"
    assert push("me/net", FILES | {"ticket.safetensors": b"newer"}).commit != made.commit
    assert located("hf://me/net").read_bytes() == b"newer"


def test_branches_and_pull_requests_leave_main_as_it_is(hub: Hub) -> None:
    push("me/net", FILES)
    made = push("me/net", FILES | {"ticket.safetensors": b"t95"}, branch="t95")
    assert push("me/net", FILES | {"ticket.safetensors": b"t96"}, branch="t95").commit != made.commit
    asked = push("me/net", FILES | {"ticket.safetensors": b"asked"}, create_pr=True)
    assert asked.url == f"{hub.url}/me/net/discussions/1"
    assert {name: hub.repositories["me/net"].files(name)["ticket.safetensors"] for name in ("main", "t95")} == {
        "main": b"ticket",
        "t95": b"t96",
    }
    assert located("hf://me/net@refs/pr/1").read_bytes() == b"asked"


def test_private_means_private(hub: Hub) -> None:
    push("me/secret", FILES, private=True)
    push("me/secret", FILES, private=True)
    assert hub.repositories["me/secret"].private
    public = hub.add("me/open", {})
    with pytest.raises(HubError, match=r"^me/open is there already and is public: `private` is for new repositories$"):
        push("me/open", FILES, private=True)
    assert public.files() == {}


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("others/net", True, "may not write to others/net (403: You don't have the rights to create a model"),
        ("me/new", False, "the hub lets nobody write to me/new without a token: log in with hf auth login, or set"),
        ("me/there", False, "the hub lets nobody write to me/there without a token"),
    ],
)
def test_who_may_not_write(hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str, known: bool, words: str) -> None:
    hub.add("me/there", {})
    if not known:
        monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=re.escape(words)) as caught:
        push(name, FILES)
    assert str(caught.value).endswith("; nothing was pushed")
    assert [repository.files() for repository in hub.repositories.values()] == [{}]


@pytest.mark.parametrize("path", ["/api/repos/create", "/preupload/", "/objects/batch", "/storage/", "/commit/"])
@pytest.mark.parametrize("fault", [503, "truncate"])
def test_a_hub_that_fails_in_the_middle_has_nothing_of_it(hub: Hub, path: str, fault: int | str) -> None:
    hub.add("me/net", {})
    hub.fault = lambda _method, asked: fault if path in asked else None
    with pytest.raises(HubError, match=r"; nothing was pushed$"):
        push("me/net", FILES)
    assert hub.repositories["me/net"].files() == {}


def test_a_card_that_the_hub_does_not_take(hub: Hub) -> None:
    with pytest.raises(HubError, match=r'^the hub answers with 400 for me/net \("license" is missing\); nothing was'):
        push("me/net", {"README.md": b"---\nlicence: mit\n---\n"})
    assert hub.repositories["me/net"].files() == {}


def test_without_a_network_or_a_library(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^expected OWNER/NAME, got 'net'$"):
        push("net", FILES)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=r"^HF_HUB_OFFLINE is set: the Hugging Face hub is not asked; try"):
        push("me/net", FILES)
    assert hub.requests == []
    monkeypatch.setattr(client, "_MAJOR", 99)
    with pytest.raises(MissingPackageError, match="huggingface_hub>=99"):
        push("me/net", FILES)
