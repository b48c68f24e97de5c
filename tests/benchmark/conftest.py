"""A small ticket and its exports."""

from pathlib import Path

import pytest
import torch

from slt_compress.data.splits import TensorSplit
from slt_compress.onnx_export.export import ExportConfig, export
from tests.support.tickets import make_ticket


@pytest.fixture(scope="package")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with t.safetensors, and compact.onnx, dense.onnx and int8.onnx of it."""
    folder = tmp_path_factory.mktemp("exports")
    ticket = make_ticket("lenet-300-100", 0.1, size=8, channels=1)
    ticket.save(folder / "t.safetensors")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, 1, 8, 8), dtype=torch.uint8, generator=generator)
    split = TensorSplit(images, torch.zeros(8, dtype=torch.int64))
    for form in ("compact", "dense", "int8"):
        config = ExportConfig(form, max_accuracy_drop=1 if form == "int8" else None)
        export(ticket.restore(), ticket, folder / f"{form}.onnx", config, test=split, calibration=split)
    return folder
