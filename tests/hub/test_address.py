"""Addresses of the hub: what is one, what it says, and that it leads nowhere else."""

from pathlib import Path, PureWindowsPath

import pytest

from slt_compress.errors import UsageError
from slt_compress.hub.address import Address, check_repository, is_address, parse, path_in


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://me/net", Address("me/net")),
        ("hf://me/net@v1.0", Address("me/net", None, "v1.0")),
        ("hf://me/net/a/b.onnx", Address("me/net", "a/b.onnx")),
        ("hf://me/net/t.safetensors@refs/pr/3", Address("me/net", "t.safetensors", "refs/pr/3")),
        ("hf://A-b_1/c.d-2_e", Address("A-b_1/c.d-2_e")),
    ],
)
def test_forms(text: str, address: Address) -> None:
    assert is_address(text)
    assert parse(text) == address
    assert str(address) == text
    assert is_address(Path(text))
    assert parse(Path(text)) == address  # which has lost a slash
    assert parse(str(PureWindowsPath(text))) == address


@pytest.mark.parametrize("text", ["hf:me/net", "hf:digits", "me/net", "/hf://me/net", "./hf://x/y", "https://x/y", ""])
def test_other_names_are_paths(text: str) -> None:
    assert not is_address(text)
    assert not is_address(None)


@pytest.mark.parametrize(
    "rest",
    [
        *("", "net", "me/", "/net", "me//net", "me/net/", "me/net/a//b", "me/net/../x", "me/net/a/./b", "me/net@"),
        *("me/net@../v", "me/net@a//b", "me/n t", "../net", "me/..", "datasets/me/net", "spaces/me", "me/net.git"),
        *("me/net/a\nb", "me/net@v\x1b", f"me/{'x' * 97}", "mé/net"),
    ],
)
def test_what_leads_elsewhere_is_refused(rest: str) -> None:
    with pytest.raises(UsageError, match=r"^expected hf://OWNER/NAME\[/FILE\]\[@REVISION\], a file in a repository"):
        parse(f"hf://{rest}")


def test_the_path_of_a_file_is_known_from_its_name() -> None:
    paths = [path_in(name).as_posix() for name in ("hf://me/net", "hf://me/net/a/b.onnx@v1", "a/b.onnx", Path("c.c"))]
    assert paths == ["ticket.safetensors", "a/b.onnx", "a/b.onnx", "c.c"]


def test_a_repository_is_owner_and_name() -> None:
    assert check_repository("me/net") == "me/net"
    with pytest.raises(UsageError, match=r"^expected OWNER/NAME, got 'net'$"):
        check_repository("net")
