"""`search --granularity neuron`: its ticket is read by every command, and what cannot be searched is said in a line."""

from pathlib import Path

import torch

from slt_compress import Ticket
from tests.support.commands import document, refused
from tests.support.process import Run

SEARCH = ("search", "lenet-5", "--granularity", "neuron", "--sparsity", 0.5, "--max-steps", 5, "--json")


def test_neurons_are_searched_and_their_ticket_is_read(invoke: Run, tmp_path: Path) -> None:
    found = document(invoke(*SEARCH, "--output", "t.safetensors"))
    assert found["bytes"] == (tmp_path / "t.safetensors").stat().st_size
    assert document(invoke("evaluate", "t.safetensors", "--json"))["accuracy"] == found["accuracy"]
    assert document(invoke("verify", "t.safetensors", "--json"))["verified"]
    shown = document(invoke("inspect", "t.safetensors", "--json"))
    assert shown["sparsity"] == found["sparsity"] > 0.5  # of the weights between two halves, three quarters
    ticket = Ticket.load(tmp_path / "t.safetensors")
    assert ticket.version == 2
    whole, smaller = ticket.restore(), ticket.restore(compact=True)
    images = torch.randn(5, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(whole(images), smaller(images), atol=1e-5)
    shapes = [parameter.shape for parameter in smaller.parameters() if parameter.ndim > 1]
    assert shapes == [(3, 1, 5, 5), (8, 3, 5, 5), (60, 8), (42, 60), (10, 42)]
    assert found["mask_bytes"] < 100  # 113 of 226 gates


def test_a_search_of_neurons_says_what_it_searches(invoke: Run) -> None:
    assert "226 neurons in 4 groups" in invoke(*SEARCH[:-1]).stderr


def test_fixed_gates_are_refused(invoke: Run, tmp_path: Path) -> None:
    words = "--freeze-ratio is for gates of weights alone, not for --granularity neuron"
    refused(invoke(*SEARCH, "--freeze-ratio", 0.5), 2, words, tmp_path)


def test_a_network_without_neurons_is_refused(invoke: Run, tmp_path: Path) -> None:
    text = "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    (tmp_path / "lonely.py").write_text(text)  # a name of its own: the process may have run another net.py
    done = invoke("search", "lonely.py:build", "--granularity", "neuron", "--max-steps", 5)
    refused(done, 1, "no neuron of lonely:build can go alone", tmp_path)
    assert "--granularity weight works" in done.stderr


def test_neurons_and_weights_are_searched_at_once(invoke: Run) -> None:
    gates = ("--granularity", "neuron,weight", "--neuron-sparsity", 0.5, "--sparsity", 0.9)
    found = document(invoke("search", "lenet-5", *gates, "--max-steps", 5, "--json"))
    assert found["artifact"] == "lenet-5-digits-neuron-weight-0.5-0.9-0.safetensors"
    assert abs(found["sparsity"] - 0.9) < 1e-3
    assert abs(found["neuron_sparsity"] - 0.5) < 0.02
    assert document(invoke("evaluate", found["artifact"], "--json"))["accuracy"] == found["accuracy"]
    assert "neurons     50.00% removed" in invoke("inspect", found["artifact"]).stdout
    exported = document(invoke("export", found["artifact"], "--output", "t.onnx", "--json"))
    assert exported["removed_neurons"] > 0.3 * exported["neurons"]
    assert exported["parameters_after"] < 0.5 * exported["parameters_before"]
    assert document(invoke("evaluate", "t.onnx", "--json"))["accuracy"] == found["accuracy"]
    assert "removed" in invoke("export", found["artifact"], "--output", "u.onnx").stdout


def test_more_neurons_than_weights_can_be_left_is_refused(invoke: Run, tmp_path: Path) -> None:
    gates = ("--granularity", "neuron,weight", "--neuron-sparsity", 0.9, "--sparsity", 0.1)
    done = invoke("search", "lenet-5", *gates, "--max-steps", 5, "--json", "--output", "t.safetensors")
    assert done.returncode == 1
    assert "sparsity 0.1 cannot be reached: removing the neurons alone makes it" in done.stderr
    assert not (tmp_path / "t.safetensors").exists()


def test_a_search_of_both_goes_on_from_its_checkpoint(invoke: Run, tmp_path: Path) -> None:
    words = ("search", "lenet-5", "--granularity", "neuron,weight", "--max-steps", 8, "--json")
    whole = document(invoke(*words, "--output", "whole.safetensors"))
    stopped = ("--checkpoint-every", 4, "--output", "t.safetensors")
    document(invoke(*words, *stopped))
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()
    assert whole["accuracy"] == document(invoke("evaluate", "t.safetensors", "--json"))["accuracy"]
