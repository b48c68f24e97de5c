"""Images as a network sees them: the same from a split, from files, and from a log."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slt_compress.errors import DataError
from slt_compress.evaluation.networks import open_network
from slt_compress.monitoring.observe import FeatureTap, image_rows, observations, observe_split
from slt_compress.prediction.log import LoggedRow, read_log, write_log
from slt_compress.prediction.predict import predict
from slt_compress.ticket.held_out import QUANTITIES
from slt_compress.ticket.ticket import Ticket
from tests.support.digits import CPU, DIGITS, PREPROCESSING


def test_a_split_its_files_and_their_log_are_seen_alike(ticket: Ticket, pictures: Path, tmp_path: Path) -> None:
    split = DIGITS.read("test", 8)
    of_split = observe_split(ticket.restore(), split, PREPROCESSING, CPU)
    assert list(of_split.quantities) == list(QUANTITIES)
    files = sorted(pictures.glob("*/*.png"), key=lambda path: path.name)
    network = open_network(ticket, "cpu")
    of_files = observations(image_rows(network, files, lambda *_: None), network.record.classes)
    assert list(of_files.quantities) == list(QUANTITIES)
    write_log(tmp_path / "log.csv", predict(ticket, files, features=True))
    of_log = observations(read_log(tmp_path / "log.csv"), network.record.classes)
    assert list(of_log.quantities) == list(QUANTITIES[:6])
    for found in (of_files, of_log):
        assert np.array_equal(found.predicted, of_split.predicted)
        for name, values in found.quantities.items():
            assert values == pytest.approx(of_split.quantities[name], rel=1e-5, abs=1e-5), name
    assert np.array_equal(of_files.labels, of_split.labels)
    assert (of_log.labels == -1).all()


class Net(nn.Module):
    """Two linear layers side by side, called in another order than they are made, and a third one between."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first, self.other = nn.Linear(6, 3), nn.Linear(4, 6), nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.first(inputs) + self.other(inputs).mean()
        logits: torch.Tensor = self.last(hidden.relu())
        return logits


def test_features_are_what_goes_into_the_last_linear_layer() -> None:
    torch.manual_seed(0)
    net, inputs = Net(), torch.randn(5, 4)
    with FeatureTap(net) as tap:
        net(inputs)
    net(inputs)
    features = (net.first(inputs) + net.other(inputs).mean()).relu().detach().numpy()
    for row in features:
        found = tap.take()
        assert found["feature_mean"] == pytest.approx(row.mean(), rel=1e-5)
        assert found["feature_std"] == pytest.approx(row.std(), rel=1e-5)
        assert found["feature_norm"] == pytest.approx(np.linalg.norm(row), rel=1e-5)
    assert tap.take() == {}


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Sequential(
            nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Unflatten(1, (5, 1)), nn.Conv1d(5, 3, 1), nn.Flatten()
        ),
        nn.Sequential(nn.Flatten(2), nn.Linear(16, 3)),
    ],
)
def test_a_network_that_ends_otherwise_has_no_features(net: nn.Module) -> None:
    with FeatureTap(net) as tap:
        net(torch.randn(2, 1, 4, 4))
    assert tap.take() == {}
    assert FeatureTap(None).take() == {}


def test_classes_that_the_network_does_not_know_are_refused() -> None:
    rows: list[LoggedRow] = [{"class": "cat"}, {"margin": 0.5}, {"class": "cow"}]
    with pytest.raises(DataError, match=r"the class 'cow' is none of the network's 2 \(cat, dog\)"):
        observations(rows, ["cat", "dog"])
    with pytest.raises(DataError, match="the label 'cow'"):
        observations([{"label": "cow"}], ["cat", "dog"])
    found = observations(rows[:2], ["cat", "dog"])
    assert found.predicted.tolist() == [0, -1]
    assert found.quantities["margin"][1] == 0.5
    assert np.isnan(found.quantities["margin"][0])
