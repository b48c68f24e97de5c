"""Files of other tools: what is read, and one line for what is not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slt_compress.errors import DataError, UsageError
from slt_compress.pipeline.weights_file import holds_ticket, plain_tensors, read_weights, set_values
from tests.support.pruned import own_network
from tests.support.tickets import make_ticket


def state() -> dict[str, torch.Tensor]:
    return {name: torch.randn_like(one) for name, one in own_network()().state_dict().items()}


@pytest.mark.parametrize(
    "kind", ["safetensors", "pth", "wrapped.pt", "parallel.pth", "compiled.pth", "compiled.parallel.pth"]
)
def test_files_of_several_kinds_are_read(kind: str, tmp_path: Path) -> None:
    path, values = tmp_path / f"weights.{kind}", state()
    if kind == "safetensors":
        save_file(values, path)
    elif kind == "wrapped.pt":
        torch.save({"epoch": 3, "state_dict": values}, path)
    else:
        prefix = ("_orig_mod." if "compiled" in kind else "") + ("module." if "parallel" in kind else "")
        torch.save({f"{prefix}{name}": one for name, one in values.items()}, path)
    module = own_network()()
    set_values(module, read_weights(path), "net")
    assert all(torch.equal(one, values[name]) for name, one in module.state_dict().items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "cannot be read"),
        (b"", "cannot be read"),
        ({"epoch": 3}, "holds no state dict: expected tensors by name"),
        ({}, "holds no state dict"),
        ([torch.ones(1)], "holds no state dict"),
        ({0: torch.ones(1)}, "holds no state dict"),
        ({"x": torch.ones(2).to_sparse()}, "holds x as torch.sparse_coo, expected dense tensors of real numbers"),
        ({"x": torch.ones(2, dtype=torch.complex64)}, "holds x as torch.complex64, expected dense"),
        ({"x": torch.ones(2, device="meta")}, "holds x as meta, expected dense"),
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_what_is_no_state_dict_is_refused(content: object, message: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path = tmp_path / "weights.pth"
        torch.save(content, path)
    with pytest.raises(DataError, match=message):
        read_weights(path)


def test_folders_and_tickets_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, expected tensors by name"):
        read_weights(tmp_path)
    with pytest.raises(UsageError, match=r"none\.pth does not exist, expected tensors by name"):
        read_weights(tmp_path / "none.pth")
    assert not holds_ticket(tmp_path / f"{'x' * 300}.safetensors")
    make_ticket("lenet-300-100", 0.5, size=8, channels=1).save(tmp_path / "t.safetensors")
    with pytest.raises(DataError, match=r"t\.safetensors is a ticket, expected tensors by name"):
        read_weights(tmp_path / "t.safetensors")


def test_numbers_of_any_type_become_float32_and_those_beyond_it_are_refused(tmp_path: Path) -> None:
    kinds = (torch.float64, torch.float16, torch.float8_e4m3fn, torch.int64, torch.bool)
    torch.save({str(kind): torch.ones(2, 3).to(kind) for kind in kinds}, tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth").values()
    assert len(read) == len(kinds)
    assert all(torch.equal(one, torch.ones(2, 3)) for one in read)
    values = plain_tensors(
        {name: torch.full_like(one, 1e300, dtype=torch.float64) for name, one in state().items()}, "it"
    )
    with pytest.raises(UsageError, match="the tensors of `teacher` are not all finite numbers"):
        set_values(own_network()(), values, "net", "teacher")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "run",)  # type: ignore[return-value]

    torch.save({"weight": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(DataError, match=r"save the state dict with safetensors\.torch\.save_file"):
        read_weights(tmp_path / "weights.pth")
    assert not (tmp_path / "run").exists()


def test_other_networks_are_refused_with_the_first_few_names() -> None:
    values = state()
    values["new"] = values.pop("1.weight")
    values["4.bias"] = torch.zeros(3)
    with pytest.raises(UsageError) as raised:
        set_values(own_network()(), values, "net")
    assert str(raised.value) == (
        "the tensors of `weights` are not those of net: missing: 1.weight; unexpected: new; of another shape: "
        "4.bias (3,) instead of (10,)"
    )
    values = state()
    values["1.weight"][0, 0] = torch.nan
    with pytest.raises(UsageError, match=r"the tensors of `weights` are not all finite numbers: 1\.weight"):
        set_values(own_network()(), values, "net")


def test_a_ticket_is_told_from_other_files(tmp_path: Path) -> None:
    make_ticket("lenet-300-100", 0.5, size=8, channels=1).save(tmp_path / "t.safetensors")
    save_file(state(), tmp_path / "w.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"x")
    names = ("t.safetensors", "w.safetensors", "x.safetensors", "none.safetensors", "w.pth")
    assert [holds_ticket(tmp_path / name) for name in names] == [True, False, False, False, False]
