"""Predictions are those of the network on the same pixels, however the images are batched and stored."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import slt_compress
from slt_compress.errors import DataError, UsageError
from slt_compress.evaluation.networks import open_network
from slt_compress.prediction import predict as module
from slt_compress.prediction.predict import logged, predict
from slt_compress.ticket.ticket import Ticket
from tests.support.images import preprocessing_of


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{index}.png" for index in range(7)]
    for file in files:
        pixels = torch.randint(0, 256, (8, 8), generator=torch.Generator().manual_seed(int(file.stem)))
        Image.fromarray(pixels.to(torch.uint8).numpy()).save(file)
    return files


def test_predictions_are_those_of_the_module(
    ticket: Ticket, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", 3)
    found = list(predict(ticket, pictures, top=2, features=True))
    prepare, network = preprocessing_of(ticket), ticket.restore()
    for file, one in zip(pictures, found, strict=True):
        image = prepare.open(file)
        with torch.no_grad():
            probabilities = network(prepare(image)).softmax(1)[0]
        ranked = probabilities.topk(2)
        assert one.path == str(file)
        assert [name for name, _ in one.ranked] == [ticket.provenance.classes[index] for index in ranked.indices]
        assert [value for _, value in one.ranked] == pytest.approx(ranked.values.tolist(), abs=1e-5)
        assert one.margin == pytest.approx(one.ranked[0][1] - one.ranked[1][1], abs=1e-6)
        assert one.features[2] == pytest.approx(image.float().mean().item() / 255, abs=1e-6)


def test_an_unreadable_image_is_left_out_or_an_error(ticket: Ticket, pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(pictures[0].read_bytes()[:60])
    mixed = [pictures[0], tmp_path / "bad.png", tmp_path / "missing.png", pictures[1]]
    left_out: list[str] = []
    found = list(predict(ticket, mixed, unreadable=lambda path, _: left_out.append(path)))
    assert [one.path for one in found] == [str(pictures[0]), str(pictures[1])]
    assert left_out == [str(tmp_path / "bad.png"), str(tmp_path / "missing.png")]
    with pytest.raises(DataError, match=r"bad\.png"):
        list(predict(ticket, mixed))


def test_the_log_of_an_evaluation_has_the_true_classes(ticket: Ticket) -> None:
    result = slt_compress.evaluate(ticket, detailed=True)
    assert result.details is not None
    rows = list(logged(result.details, ticket.provenance.classes, "digits/test"))
    assert len(rows) == result.samples
    assert sum(row.name == row.label for row in rows) / len(rows) == pytest.approx(result.accuracy)
    assert rows[3].path == "digits/test/3"


@pytest.mark.parametrize("top", [0, 11])
def test_there_are_no_more_classes_than_there_are(ticket: Ticket, top: int) -> None:
    with pytest.raises(UsageError, match="from 1 to the network's 10 classes"):
        predict(ticket, [], top=top)


def test_a_network_of_other_data_is_refused() -> None:
    data = torch.utils.data.TensorDataset(torch.randn(40, 4), torch.randn(40, 1))
    net = torch.nn.Linear(4, 1)
    found = slt_compress.search(net, train=data, test=data, loss="mse", max_steps=1)
    with pytest.raises(UsageError, match="does not take images"):
        predict(open_network(found.ticket, source=net), [])
