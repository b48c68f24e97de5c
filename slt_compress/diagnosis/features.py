"""What the package does, each really done once on something tiny. Nothing is downloaded."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from slt_compress.diagnosis.report import NotInstalledError
from slt_compress.errors import SltError

if TYPE_CHECKING:
    from slt_compress.pipeline.find import SearchResult

FORMS = ("compact", "dense", "int2", "ternary8", "int8")  # of an ONNX file
_MODEL, _STEPS = "lenet-300-100", 4


@dataclass(frozen=True)
class Feature:
    """One thing to try.

    Attributes:
        name: what it is.
        run: does it, and returns what came of it.
        required: whether it must work.
    """

    name: str
    run: Callable[["Workshop"], str]
    required: bool = True


@dataclass
class Workshop:
    """A folder to try things in, and what they have in common: a ticket on digits.

    Attributes:
        folder: that goes afterwards.
    """

    folder: Path

    @property
    def ticket(self) -> Path:
        """The file of the ticket. Raises SltError if there is none, as an earlier step has failed."""
        path = self.folder / "ticket.safetensors"
        if not path.exists():
            raise SltError("not tried: there is no ticket to try it with")
        return path

    @cached_property
    def found(self) -> "SearchResult":
        """A ticket searched in a few steps."""
        from slt_compress import api

        return api.search(_MODEL, "digits", max_steps=_STEPS)


def features() -> list[Feature]:
    """Return all features, in the order in which they can be tried."""
    return [
        Feature("search", _search),
        Feature("save and verify", _verify),
        Feature("restore", _restore),
        Feature("evaluate", _evaluate),
        *(Feature(f"export {form}", partial(_export, form=form)) for form in FORMS),
        Feature("export c", _export_c, required=False),
        Feature("images", _images),
        Feature("plots", _plots),
        Feature("hf data sets", _hf_data_sets, required=False),
        Feature("hub", _hub, required=False),
        Feature("tensorboard", _tensorboard, required=False),
    ]


def gpu(device: str) -> Feature:
    """Return a feature that is tried only where there is such a device."""
    return Feature(f"search on {device}", partial(_search_on, device=device))


def _search(shop: Workshop) -> str:
    result = shop.found
    result.ticket.save(shop.folder / "ticket.safetensors")
    return f"{_MODEL} on digits, {_STEPS} steps"


def _search_on(shop: Workshop, device: str) -> str:  # noqa: ARG001, all features take the workshop
    from slt_compress import api

    api.search(_MODEL, "digits", max_steps=_STEPS, device=device)
    return f"{_MODEL} on digits, {_STEPS} steps"


def _verify(shop: Workshop) -> str:
    from slt_compress.ticket.ticket import Ticket

    ticket = Ticket.load(shop.ticket)
    ticket.check()
    if ticket.to_bytes() != shop.ticket.read_bytes():
        raise SltError("the ticket that was read is not the one that was written")
    return f"{len(ticket.to_bytes()):,} bytes, digest {ticket.digest[:12]}…"


def _restore(shop: Workshop) -> str:
    import torch

    from slt_compress.ticket.ticket import Ticket

    ticket = Ticket.load(shop.ticket)
    with torch.inference_mode():
        logits = ticket.restore()(torch.zeros(2, *ticket.provenance.inputs[0].shape))
    if not torch.isfinite(logits).all():
        raise SltError("the outputs of the network are not finite")
    return f"{ticket.weight_count:,} weights"


def _evaluate(shop: Workshop) -> str:
    from slt_compress import api

    result = api.evaluate(shop.ticket)
    if result.metric != shop.found.test.metric:
        raise SltError(f"accuracy {result.metric:.4f} of the file, {shop.found.test.metric:.4f} of the search")
    return f"{result.samples:,} images"


def _export(shop: Workshop, form: str) -> str:
    from slt_compress import api

    written = api.export(shop.ticket, shop.folder / f"{form}.onnx", format="onnx", weights=form)
    result = api.evaluate(written.file)
    return f"{written.bytes:,} bytes, {result.samples:,} images under onnxruntime"


def _export_c(shop: Workshop) -> str:
    from slt_compress import api

    written = api.export(shop.ticket, shop.folder / "ticket.c", format="c")
    if written.compiler is None:
        raise NotInstalledError("a C compiler (cc, gcc or clang): without one, C files are written but not checked")
    return f"{written.bytes:,} bytes, compiled and run"


def _images(shop: Workshop) -> str:
    from PIL import Image

    from slt_compress.data.datasets import open_dataset

    for part, label, kind in itertools.product(("train", "test"), "ab", ("png", "jpg")):
        path = shop.folder / "images" / part / label / f"0.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    images = len(open_dataset("imagefolder", shop.folder / "images").read("train", 8))
    return f"{images} images of a folder, PNG and JPEG"


def _plots(shop: Workshop) -> str:  # noqa: ARG001
    from slt_compress.comparison import plots
    from slt_compress.comparison.results import DENSE, Summary

    dense = Summary(DENSE, 0.0, 1, 0.9, None, 0.9, None, bytes=1e6, seconds=1.0)
    return f"{len(plots.accuracy_against_bytes([dense], 'diagnosis')):,} bytes of PNG"


def _hf_data_sets(shop: Workshop) -> str:
    import datasets
    from PIL import Image

    from slt_compress.data.hub import open_hub

    rows = {"image": [Image.new("RGB", (8, 8))] * 10, "label": [0, 1] * 5}
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows, features=kinds).save_to_disk(shop.folder / "hf")
    return f"{len(open_hub(f'hf:{shop.folder}/hf').read('train', 8))} images of a table"


def _hub(shop: Workshop) -> str:
    from slt_compress.hub.client import library
    from slt_compress.ticket.card import card
    from slt_compress.ticket.ticket import Ticket

    hub = library()
    metadata = hub.ModelCard(card(Ticket.load(shop.ticket), "owner/name")).data
    return f"a model card with {len(metadata.tags)} tags is read; nothing is asked of the network"


def _tensorboard(shop: Workshop) -> str:
    from slt_compress.progress import TrainingProgress
    from slt_compress.training.logs import TensorBoard

    log = TensorBoard(shop.folder / "logs", lambda _: None)
    log("diagnosis", TrainingProgress(1, 1, 0.0, 0.0, None, 1.0))
    log.close()
    return f"{sum(1 for _ in (shop.folder / 'logs').rglob('events*'))} file written"
