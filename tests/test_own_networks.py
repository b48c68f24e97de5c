"""Networks, data and tasks of the user's, from the search to the exported file."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

import slt_compress
from examples.five_tasks import EXAMPLES
from slt_compress.errors import TicketError, UsageError
from slt_compress.prng import Freeze
from tests.support.own import TwoInputs, build, digits

TRAIN, TEST = digits()
SHORT = {"train": TRAIN, "test": TEST, "max_steps": 12, "batch_size": 100}


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return (TRAIN[index] for index in range(600))


def two_losses(outputs: tuple[torch.Tensor, ...], targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs[0], targets) + outputs[1].square().mean()


def first_right(outputs: tuple[torch.Tensor, ...], targets: torch.Tensor) -> float:
    return float((outputs[0].argmax(1) == targets).float().mean())


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_each_task_goes_all_the_way(name: str, tmp_path: Path) -> None:
    """Search, save, read, restore, measure, export in the compact form, and run with batches of any size."""
    example = EXAMPLES[name]
    train, test = (Subset(part, range(size)) for part, size in zip(example.data(), (400, 60), strict=True))
    result = slt_compress.search(
        example.build, train=train, test=test, loss=example.loss, metric=example.metric, max_steps=3, batch_size=40
    )
    file, exported = tmp_path / "t.safetensors", tmp_path / "t.onnx"
    result.ticket.save(file)
    assert result.ticket.version == 2
    ticket = slt_compress.Ticket.load(file)
    assert ticket.sparsity == pytest.approx(0.9, abs=0.001)
    module = ticket.apply_to(example.build())
    metric: dict[str, Any] = {"metric": example.metric} if callable(example.metric) else {}
    again = slt_compress.evaluate(file, test=test, source=example.build, **metric)
    assert again.metric == pytest.approx(result.metric)
    written = slt_compress.export(file, exported, source=example.build, test=test, **metric)
    assert written.bit_identical_to_dense
    assert written.agreement
    assert written.agreement.samples == 60
    assert written.bytes < sum(parameter.nbytes for parameter in module.parameters()) / 8
    assert slt_compress.evaluate(exported, test=test, **metric).metric == pytest.approx(result.metric, abs=1e-3)
    session = onnxruntime.InferenceSession(exported)
    for count in (1, 5):
        inputs = torch.stack([test[index][0] for index in range(count)])
        (outputs,) = session.run(["output"], {"input": inputs.numpy()})
        with torch.no_grad():
            assert np.allclose(outputs, module(inputs).numpy(), atol=1e-4)


def test_a_network_with_several_inputs_and_outputs_goes_all_the_way(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens, numbers = torch.randint(7, (200, 5), generator=generator), torch.randn(200, 3, generator=generator)

    class Pairs(Dataset[Any]):
        def __len__(self) -> int:
            return len(tokens)

        def __getitem__(self, index: int) -> Any:
            return (tokens[index], numbers[index]), int(numbers[index, 0] > 0)

    data = Pairs()
    result = slt_compress.search(
        TwoInputs, train=data, test=data, loss=two_losses, metric=first_right, sparsity=0.5, max_steps=5
    )
    assert [(record.shape, record.dtype) for record in result.ticket.provenance.inputs] == [
        ((5,), "int64"),
        ((3,), "float32"),
    ]
    assert [record.shape for record in result.ticket.provenance.outputs] == [(4,), (2,)]
    for test in (data, None):
        written = slt_compress.export(
            result.ticket, tmp_path / "t.onnx", source=TwoInputs, test=test, metric=first_right
        )
        assert written.bit_identical_to_dense
    found = slt_compress.evaluate(tmp_path / "t.onnx", test=data, metric=first_right)
    assert found.metric == pytest.approx(result.metric)
    assert (found.metric_name, found.predictions) == ("first_right", None)
    assert found.finite_loss is None
    session = onnxruntime.InferenceSession(tmp_path / "t.onnx")
    assert [value.name for value in session.get_inputs()] == ["input_0", "input_1"]
    assert [value.name for value in session.get_outputs()] == ["output_0", "output_1"]


def test_the_same_request_gives_the_same_bytes_however_the_data_comes() -> None:
    """In memory, one example at a time, or out of a loader that would shuffle."""
    tickets = {
        slt_compress.search(build, train=train, test=TEST, max_steps=12, batch_size=100).ticket.to_bytes()
        for train in (TRAIN, Subset(TRAIN, range(len(TRAIN))), DataLoader(TRAIN, batch_size=100, shuffle=True))
    }
    assert len(tickets) == 1


def test_a_stream_is_searched_with_held_out_data_of_its_own() -> None:
    loader = DataLoader(Stream(), batch_size=50)
    result = slt_compress.search(build, train=loader, validation=TEST, test=TEST, sparsity=0.8, max_steps=30)
    assert result.epochs is None
    assert result.ticket.provenance.method.batch_size == 50
    assert result.accuracy > 0.7


def test_a_search_and_its_ticket_leave_the_network_as_it_is() -> None:
    given = build()
    before = {name: values.clone() for name, values in given.state_dict().items()}
    ticket = slt_compress.search(given, **SHORT).ticket  # type: ignore[arg-type]
    applied = ticket.apply_to(given)
    assert all(torch.equal(values, before[name]) for name, values in given.state_dict().items())
    assert given.training
    assert not applied.training
    assert (applied[2].weight == 0.25).all()  # type: ignore[index]
    kept = sum(int((applied.get_parameter(layer.name) != 0).sum()) for layer in ticket.layers)
    assert kept == ticket.kept


def test_gates_fixed_by_the_seed_and_other_weights_work_too() -> None:
    for settings in ({"freeze": Freeze(0.5, 0.02)}, {"initialiser": "kaiming-normal"}, {"method": "edge-popup"}):
        result = slt_compress.search(build, sparsity=0.8, **SHORT, **settings)  # type: ignore[arg-type]
        again = slt_compress.evaluate(result.ticket, test=TEST, source=build)
        assert again.metric == result.metric


def test_fp16_statistics_are_for_predictions_alone() -> None:
    assert not slt_compress.search(build, **SHORT, metric=lambda *_: 1.0).ticket.half_statistics  # type: ignore[arg-type]
    assert slt_compress.search(build, **SHORT, statistics="fp16").ticket.half_statistics  # type: ignore[arg-type]


def test_a_network_of_ones_own_can_be_searched_on_a_named_data_set(tmp_path: Path) -> None:
    def flat() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Linear(50, 10))

    result = slt_compress.search(flat, "digits", sparsity=0.8, max_steps=20)
    file = tmp_path / "t.safetensors"
    result.ticket.save(file)
    assert slt_compress.evaluate(file, source=flat).accuracy == result.accuracy
    written = slt_compress.export(file, tmp_path / "t.onnx", source=flat, include_preprocessing=True)
    assert written.agreement
    assert written.agreement.equal == 360
    assert slt_compress.evaluate(tmp_path / "t.onnx").accuracy == result.accuracy


def test_int8_is_calibrated_and_measured_on_ones_own_data(tmp_path: Path) -> None:
    ticket = slt_compress.search(build, **{**SHORT, "max_steps": 60}).ticket  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"needs data, .*; give `test` and `train`"):
        slt_compress.export(ticket, tmp_path / "t.onnx", source=build, weights="int8")
    written = slt_compress.export(
        ticket, tmp_path / "t.onnx", source=build, weights="int8", train=TRAIN, test=TEST, max_accuracy_drop=0.1
    )
    assert written.agreement
    assert written.agreement.metric_onnx > written.agreement.metric_torch - 0.1


def row() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 10), nn.Flatten(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "resnet18"}, "'resnet18' is built for a `dataset` by name"),
        ({"dataset": "digits"}, "give a `dataset` by name, or `train` and `test`, not both"),
        ({"test": None}, "`test` is missing"),
        ({"train": None}, "`train` is missing"),
        ({"augment": "crop"}, "`augment` is for images of a `dataset`"),
        ({"input_size": 8}, "`input_size` is for images of a `dataset`"),
        ({"model": lambda: nn.Linear(63, 10)}, r"cannot take \(32, 64\) float32 \(RuntimeError: mat1 and mat2"),
        ({"model": lambda: nn.Linear(64, 5)}, "the targets go up to class 9, the network has logits for 5 classes"),
        ({"model": row}, r"must return a row for each example: of 32 examples came \(320,\) float32"),
        ({"loss": "mse"}, "the loss mse needs outputs and targets of one shape, got outputs .32, 10. float32 and"),
        ({"loss": lambda outputs, _: outputs}, r"the loss <lambda> must be a scalar .*, got \(32, 10\) float32"),
        ({"loss": lambda outputs, _: outputs.detach().sum()}, "must be a scalar that depends on the network's weights"),
        ({"loss": lambda *_: 0.5}, "must be a scalar that depends on the network's weights, got 0.5"),
        ({"loss": lambda outputs, _: outputs + "a"}, "the loss <lambda> cannot be computed of outputs .*TypeError"),
        ({"metric": lambda *_: 1 / 0}, "the metric <lambda> cannot be computed of the held-out examples .ZeroDivision"),
        ({"metric": lambda *_: "good"}, "`metric` must return one number, got 'good'"),
        ({"train": Stream()}, "nothing can be held out of it: give `validation`"),
        ({"train": Stream(), "validation": TEST, "max_steps": None}, "the length .* is not known: give `max_steps`"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_the_first_step(arguments: Any, message: str) -> None:
    chosen = {"model": build, **SHORT, **arguments}
    with pytest.raises(UsageError, match=message):
        slt_compress.search(chosen.pop("model"), chosen.pop("dataset", None), **chosen)


def test_what_a_ticket_of_ones_own_needs_is_said() -> None:
    ticket = slt_compress.search(build, **SHORT).ticket  # type: ignore[arg-type]
    with pytest.raises(TicketError, match=r"is your own, own:build: give the function that builds it \(`source`\)"):
        slt_compress.evaluate(ticket, test=TEST)
    with pytest.raises(UsageError, match="found on data of your own: measure it with `test`"):
        slt_compress.evaluate(ticket, source=build)
    with pytest.raises(TicketError, match="the layers of the ticket are not those of"):
        ticket.apply_to(nn.Sequential(nn.Linear(64, 10)))
    with pytest.raises(UsageError, match="`include_preprocessing` is for networks for images"):
        slt_compress.export(ticket, "t.onnx", source=build, include_preprocessing=True)
    with pytest.raises(UsageError, match="give a `dataset` by name, or `test`, not both"):
        slt_compress.evaluate(ticket, "digits", test=TEST, source=build)


def test_a_network_that_torch_cannot_trace_says_so(tmp_path: Path) -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.linear(x)
            return out if x.shape[0] == 2 else -out

    ticket = slt_compress.search(Stubborn, **SHORT).ticket  # type: ignore[arg-type]
    with pytest.raises(slt_compress.SltError, match="batches of two alone: what it computes depends on"):
        slt_compress.export(ticket, tmp_path / "t.onnx", source=Stubborn)
    assert not list(tmp_path.iterdir())


def test_the_result_says_what_was_measured() -> None:
    result = slt_compress.search(build, **SHORT, metric=lambda *_: 0.5)  # type: ignore[arg-type]
    assert result.metric == 0.5
    with pytest.raises(AttributeError, match="measured was <lambda>, not the accuracy"):
        _ = result.accuracy
    assert {progress.metric_name for progress in result.history} == {"<lambda>"}
    assert dataclasses.asdict(result.ticket.provenance.task)["metric"] == "<lambda>"
