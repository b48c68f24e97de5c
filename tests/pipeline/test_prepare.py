"""What a search needs is made once, fits together, and serves many searches."""

from pathlib import Path

import pytest
from torch import nn

from slt_compress.config import SearchConfig
from slt_compress.data import images
from slt_compress.errors import DataError, UsageError
from slt_compress.pipeline.find import find_ticket
from slt_compress.pipeline.prepare import OwnData, prepare
from tests.support import own
from tests.support.contexts import Unconnected
from tests.support.pictures import write_folder
from tests.support.reporters import RecordingReporter

LENET = "lenet-300-100"


def test_what_is_prepared_serves_other_seeds_and_methods_with_the_same_result() -> None:
    shared = prepare(LENET, SearchConfig(max_steps=3))
    for config in (
        SearchConfig(max_steps=3, seed=5, augment="crop"),
        SearchConfig(max_steps=3, sparsity=0.5, method="edge-popup", recipe="paper"),
    ):
        together, alone = find_ticket(LENET, config, prepared=shared), find_ticket(LENET, config)
        assert together.ticket.to_bytes() == alone.ticket.to_bytes()


def test_a_network_that_cannot_take_the_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot take images of 8 px .* such as 224"):
        find_ticket("mixer_s32_224", SearchConfig(sparsity=0.8, max_steps=1))


def test_more_processes_than_images_to_measure_are_refused() -> None:
    """Digits: 143 images are held out."""
    config = SearchConfig(sparsity=0.8, batch_size=1000)
    with pytest.raises(UsageError, match=r"200 processes need at least as many .* found 143 and 360; start fewer"):
        prepare(LENET, config, RecordingReporter(), Unconnected(3, 200))


def test_arguments_are_for_networks_by_name() -> None:
    config = SearchConfig(max_steps=1, model_arguments={"depth": 2})
    with pytest.raises(UsageError, match=r"^`model_arguments` are for a network by name; build your own with what"):
        prepare(lambda: nn.Linear(64, 10), config)


@pytest.mark.parametrize("limit", [0, 2**31])
def test_damaged_images_of_both_parts_are_named_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Streamed or in memory."""
    monkeypatch.setattr(images, "IN_MEMORY_BYTES", limit)
    folder = write_folder(tmp_path)
    damaged = [folder / name for name in ("train/blue/2.png", "train/red/0.png", "test/red/1.png")]
    for file in damaged:
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot read 3 images: ") as caught:
        prepare("lenet-5", SearchConfig("imagefolder", folder, max_steps=1))
    places = [str(caught.value).find(str(file)) for file in damaged]
    assert places == sorted(places)
    assert places[0] > 0
    reporter = RecordingReporter()
    prepared = prepare("lenet-5", SearchConfig("imagefolder", folder, max_steps=1, skip_unreadable=True), reporter)
    assert len(list(prepared.test.batches(1))) == 5
    assert [note.partition(" that")[0] for note in reporter.notes] == [
        "left out of the train images: 2",
        "left out of the test images: 1",
    ]


@pytest.mark.parametrize("change", [{"workers": 1}, {"skip_unreadable": True}])
def test_how_images_are_read_is_no_matter_of_a_users_own_data(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"`{next(iter(change))}` is for images of a `dataset`"):
        prepare(own.build, SearchConfig(max_steps=1, **change), data=OwnData(*own.digits()))  # type: ignore[arg-type]
