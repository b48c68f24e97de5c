"""Networks, data and tasks of the user's, from the search to the exported file."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import slt_compress
from examples.edge import check as edge
from examples.five_tasks import EXAMPLES
from slt_compress.errors import SltError, TicketError, UsageError
from slt_compress.prng import Freeze
from slt_compress.training import batchnorm
from slt_compress.training.checkpoint import Checkpoints
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
    measured: dict[str, Any] = {"test": data, "metric": first_right}
    portable: dict[str, Any] = {"portable": True}
    for how in (measured, portable):
        written = slt_compress.export(result.ticket, tmp_path / "t.onnx", source=TwoInputs, **how)
        assert written.bit_identical_to_dense
        assert edge.main([str(tmp_path / "t.onnx")]) == 0
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


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Called as one of ours."""
    return 7 * float((outputs.argmax(1) == targets).float().mean())


def distance(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets)


def test_a_function_called_as_one_of_ours_is_not_taken_for_it() -> None:
    result = slt_compress.search(build, **SHORT, metric=accuracy)  # type: ignore[arg-type]
    assert result.ticket.provenance.task.metric == "accuracy()"
    with pytest.raises(UsageError, match=r"a function of your own, accuracy\(\): give `metric`"):
        slt_compress.evaluate(result.ticket, test=TEST, source=build)
    named = slt_compress.search("lenet-300-100", "digits", max_steps=3, metric=accuracy)
    assert named.ticket.version == 2


def test_a_network_with_a_loss_alone_goes_all_the_way(tmp_path: Path) -> None:
    result = slt_compress.search(build, **SHORT, loss=distance)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="minus the loss: give `loss`"):
        slt_compress.export(result.ticket, tmp_path / "t.onnx", source=build, test=TEST)
    slt_compress.export(result.ticket, tmp_path / "t.onnx", source=build, test=TEST, loss=distance)
    found = slt_compress.evaluate(tmp_path / "t.onnx", test=TEST, loss=distance)
    assert found.metric == pytest.approx(result.metric, abs=1e-5)
    assert found.metric == pytest.approx(-found.loss, abs=1e-4)


class Greedy(nn.Module):
    """Changes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 30), nn.Linear(30, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x -= 0.5
        out: torch.Tensor = self.last(self.first(x).relu_())
        return out


def test_the_users_data_stays_as_it_is() -> None:
    train, test = digits()
    before = [tensor.clone() for part in (train, test) for tensor in part.tensors]
    result = slt_compress.search(Greedy, train=train, test=test, max_steps=12, batch_size=100)
    assert slt_compress.evaluate(result.ticket, test=test, source=Greedy).loss == result.test.loss
    after = [tensor for part in (train, test) for tensor in part.tensors]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


class Noisy(nn.Module):
    """Draws from torch's generator while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(nn.functional.dropout(x, 0.3, self.training))
        return out


def test_noise_of_the_network_follows_from_the_seed_and_a_stopped_search_goes_on(tmp_path: Path) -> None:
    whole = slt_compress.search(Noisy, **SHORT).ticket.to_bytes()  # type: ignore[arg-type]
    torch.manual_seed(1)
    assert slt_compress.search(Noisy, **SHORT).ticket.to_bytes() == whole  # type: ignore[arg-type]
    kept = Checkpoints(tmp_path / "ckpt", every=5)
    slt_compress.search(Noisy, **SHORT, checkpoints=kept)  # type: ignore[arg-type]
    resumed = slt_compress.search(Noisy, **SHORT, checkpoints=Checkpoints(kept.folder, None, resume=True))  # type: ignore[arg-type]
    assert resumed.ticket.to_bytes() == whole
    other = TensorDataset(TRAIN.tensors[0] + 1, TRAIN.tensors[1])
    with pytest.raises(UsageError, match="belongs to another search: its held-out data"):
        slt_compress.search(
            Noisy,
            train=other,
            test=TEST,
            max_steps=12,
            batch_size=100,
            checkpoints=Checkpoints(kept.folder, None, True),
        )


class Levelled(Noisy):
    """Has a norm, whose statistics are measured last, behind its noise, and a buffer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(10)
        self.register_buffer("level", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(super().forward(x))
        if self.training:
            self.get_buffer("level").lerp_(x.mean(), 0.1)
        return out + self.get_buffer("level")


def test_noise_and_buffers_are_the_same_after_a_failure_where_statistics_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = slt_compress.search(Levelled, **SHORT).ticket  # type: ignore[arg-type]
    assert "level" in whole.statistics
    torch.manual_seed(1)
    with monkeypatch.context() as patch:
        patch.setattr(batchnorm, "call", failing_at(3))
        with pytest.raises(SltError, match="`resume` continues after step 12"):
            slt_compress.search(Levelled, **SHORT, checkpoints=Checkpoints(tmp_path / "ckpt"))  # type: ignore[arg-type]
    kept = Checkpoints(tmp_path / "ckpt", resume=True)
    assert slt_compress.search(Levelled, **SHORT, checkpoints=kept).ticket.to_bytes() == whole.to_bytes()  # type: ignore[arg-type]


def failing_at(number: int) -> Callable[..., Any]:
    """Return what calls a network, but fails at this call."""
    calls = itertools.count(1)

    def call(module: nn.Module, inputs: Any) -> Any:
        if next(calls) == number:
            raise RuntimeError("no")
        return module(inputs)

    return call


class Counting(nn.Module):
    """Counts its steps in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"only": nn.Linear(64, 10)})
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.get_buffer("steps").add_(1)
        out: torch.Tensor = self.layers["only"](x)
        return out


class Spaced(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"my layer": nn.Linear(64, 10)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers["my layer"](x)
        return out


class Returning(nn.Module):
    """Returns something else than a tensor."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.layer, self.make = nn.Linear(64, 10), make

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(self.layer(x), self.training)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Counting, "the buffer steps of .* a ticket cannot store it: it is an integer"),
        (Spaced, "impossible name"),
        (lambda: Returning(lambda out, _: (out, None)), r"got \(a tensor of shape \(32, 10\), None\): wrap it"),
        (lambda: Returning(lambda out, _: (out, out.sum())), "a row for each example, got"),
        (lambda: Returning(lambda out, _: {"logits": out}), "got a dict: wrap it"),
        (lambda: Returning(lambda out, _: (out,)), "must return a tensor or a tuple of several"),
        (lambda: Returning(lambda out, training: (out, out) if training else out), "differ in shape .* in training"),
        (lambda: Returning(lambda out, _: out.squeeze()[..., 0] if len(out) > 1 else out), "differ in shape"),
    ],
)
def test_what_would_be_lost_after_the_search_is_refused_before(network: Any, message: str) -> None:
    with pytest.raises(slt_compress.SltError, match=message):
        slt_compress.search(network, **{**SHORT, "max_steps": 10**9})  # type: ignore[arg-type]


def test_a_metric_that_needs_more_than_a_batch_is_shown_as_unknown_meanwhile() -> None:
    def all_classes(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        if len(targets) < 130:
            raise ValueError("too few")
        return float((outputs.argmax(1) == targets).float().mean())

    result = slt_compress.search(build, **SHORT, metric=all_classes)  # type: ignore[arg-type]
    assert {progress.metric for progress in result.history} == {None}
    assert 0 < result.metric <= 1


def test_ignored_targets_do_not_count() -> None:
    targets = TEST.tensors[1].clone()
    targets[::2] = -100
    ticket = slt_compress.search(build, **SHORT).ticket  # type: ignore[arg-type]
    half = slt_compress.evaluate(ticket, test=TensorDataset(TEST.tensors[0][1::2], targets[1::2]), source=build)
    ignoring = slt_compress.evaluate(ticket, test=TensorDataset(TEST.tensors[0], targets), source=build)
    assert ignoring.metric == half.metric
    assert ignoring.loss == pytest.approx(half.loss, rel=0.05)


def test_data_of_another_shape_or_kind_is_refused_by_name() -> None:
    ticket = slt_compress.search(build, **SHORT).ticket  # type: ignore[arg-type]
    other = TensorDataset(TEST.tensors[0][:, :60], TEST.tensors[1])
    message = r"the network takes float32 \(64,\), the data has float32 \(60,\)"
    with pytest.raises(UsageError, match=message):
        slt_compress.evaluate(ticket, test=other, source=build)
    with pytest.raises(UsageError, match=message):
        slt_compress.export(ticket, "t.onnx", test=other, source=build)
    images = slt_compress.search("lenet-300-100", "digits", max_steps=3).ticket
    floats = TensorDataset(TEST.tensors[0].view(-1, 1, 8, 8), TEST.tensors[1])
    with pytest.raises(UsageError, match="takes images as uint8 pixels"):
        slt_compress.evaluate(images, test=floats)


def test_a_file_names_no_data_that_leads_anywhere() -> None:
    ticket = slt_compress.search("lenet-300-100", "digits", max_steps=3).ticket
    for name in ("hf:someone/tracking", "hf:/etc", "../secret"):
        forged = dataclasses.replace(ticket, provenance=dataclasses.replace(ticket.provenance, dataset=name))
        with pytest.raises(UsageError, match=r"the file names the data set .*: give `dataset`"):
            slt_compress.evaluate(forged)


def test_a_column_of_logits_has_no_accuracy() -> None:
    data = TensorDataset(torch.randn(160, 3), torch.ones(160, 1))
    with pytest.raises(UsageError, match="compares outputs with targets of the same number"):
        slt_compress.search(
            lambda: nn.Linear(3, 1), train=data, test=data, loss="binary-cross-entropy", metric="accuracy", max_steps=2
        )


def test_a_comparison_of_ones_own_network_is_refused_at_the_door(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a comparison is one of networks by name"):
        slt_compress.compare(build, output=tmp_path, methods=["crbg"], sparsities=[0.9])  # type: ignore[call-overload]
    assert not list(tmp_path.iterdir())


class TwiceCheckpointed(nn.Module):
    """A network whose first layer is used twice, and forgets its activations in between."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 2)
        self.reentrant = reentrant

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = inputs.clone().requires_grad_()
        for _ in range(2):
            if torch.is_grad_enabled():
                hidden = torch.relu(checkpoint(self.first, hidden, use_reentrant=self.reentrant))
            else:
                hidden = torch.relu(self.first(hidden))
        found: torch.Tensor = self.last(hidden)
        return found


def test_activations_that_are_forgotten_are_made_anew_or_it_is_said_how() -> None:
    data = TensorDataset(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2)
    search = partial(slt_compress.search, train=data, test=data, max_steps=2, batch_size=16)
    assert search(partial(TwiceCheckpointed, False)).ticket.weight_count == 80
    with pytest.raises(
        UsageError, match=r"^the gradient of first\.weight comes in several parts, .*use_reentrant=False"
    ):
        search(partial(TwiceCheckpointed, True))
