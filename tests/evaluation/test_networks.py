"""Networks from tickets, their files and exported files."""

from pathlib import Path

import pytest
import torch

from slt_compress.data.preprocessing import as_pixels
from slt_compress.errors import UsageError
from slt_compress.evaluation.networks import ONNXRUNTIME, TORCH, is_onnx, open_network
from slt_compress.onnx_export.export import ExportConfig, export
from slt_compress.ticket.record import NetworkRecord
from tests.support.images import preprocessing_of
from tests.support.tickets import make_ticket


@pytest.mark.parametrize("pixels", [False, True])
def test_all_forms_of_a_network_classify_alike(tmp_path: Path, pixels: bool) -> None:
    ticket = make_ticket("lenet-5", 0.3, size=28)
    ticket.save(tmp_path / "t.safetensors")
    export(ticket.restore(), ticket, tmp_path / "t.ONNX", ExportConfig(include_preprocessing=pixels))
    images = torch.randint(256, (5, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = ticket.restore()(preprocessing_of(ticket)(images))
        for source, backend in (
            (ticket, TORCH),
            (tmp_path / "t.safetensors", TORCH),
            (tmp_path / "t.ONNX", ONNXRUNTIME),
        ):
            network = open_network(source, "cpu")
            assert network.backend == backend
            assert network.device == torch.device("cpu")
            torch.testing.assert_close(network.classifier(network.feed(images)), expected, rtol=1e-4, atol=1e-4)
    assert (network.feed is as_pixels) == pixels
    assert network.record == NetworkRecord.of(ticket, network.record.input)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="`device"):
        open_network(make_ticket("lenet-5", 0.3, size=28), "abacus")


def test_the_suffix_decides() -> None:
    assert is_onnx("a.onnx")
    assert is_onnx(Path("A.ONNX"))
    assert not is_onnx("onnx.safetensors")
