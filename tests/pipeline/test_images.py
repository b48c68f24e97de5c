"""The images to measure a finished network on must fit it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.data.splits import Reading
from slt_compress.errors import DataError, UsageError
from slt_compress.pipeline.images import images_for
from slt_compress.tasks.record import MULTI_LABEL, TaskRecord, TensorRecord
from slt_compress.ticket.record import NetworkRecord
from tests.support.pictures import write_folder
from tests.support.reporters import RecordingReporter

CLASSES = list("0123456789")
RECORD = NetworkRecord("digits", CLASSES, Preprocessing(8, 1, (0.3,), (0.4,)), "lenet-300-100", 0, 0.9, "ab12")


def test_images_of_other_channels_are_refused() -> None:
    record = replace(RECORD, preprocessing=Preprocessing(8, 3, (0.5,) * 3, (0.5,) * 3))
    with pytest.raises(DataError, match="takes 3 channels, the images have 1"):
        images_for(record, "digits", None)


def test_images_of_other_classes_are_refused() -> None:
    record = replace(RECORD, classes=["cat", "dog"])
    with pytest.raises(DataError, match=r"tells apart 2 classes \(cat, dog\), digits has 10 \(0, 1, 2, 3, …\)"):
        images_for(record, "digits", None)


def test_images_for_another_task_are_refused() -> None:
    record = replace(RECORD, task=TaskRecord(MULTI_LABEL, "binary-cross-entropy", "f1"))
    with pytest.raises(DataError, match="the network is for multi-label, digits for classification"):
        images_for(record, "digits", None)


def test_a_network_for_other_data_takes_no_images() -> None:
    record = replace(RECORD, preprocessing=None, inputs=(TensorRecord((64,)),))
    with pytest.raises(UsageError, match="the network was found on data of your own"):
        images_for(record, "digits", None)


def test_a_file_names_only_data_that_leads_nowhere_by_itself() -> None:
    assert len(images_for(RECORD, None, None)) == 360
    for name in ("hf:user/set", "../images", "python"):
        with pytest.raises(UsageError, match=f"the file names the data set '{name}'.*give `dataset`"):
            images_for(replace(RECORD, dataset=name), None, None)


def test_of_many_images_the_same_few_are_drawn() -> None:
    whole, few, again = (images_for(RECORD, "digits", None, most=most) for most in (None, 20, 20))
    assert (len(whole), len(few)) == (360, 20)
    (images, labels), (same, _) = next(few.batches(20)), next(again.batches(20))
    assert torch.equal(images, same)
    every, truth = next(whole.batches(360))
    where = [int((every == image).all((1, 2, 3)).nonzero()[0]) for image in images]
    assert len(set(where)) == 20
    assert torch.equal(truth[where], labels)
    assert len(images_for(RECORD, "digits", None, most=1000)) == 360
    assert len(images_for(RECORD, "digits", None, part="train")) == 1437


def test_only_the_part_that_is_used_has_to_be_there_and_labels_are_the_networks(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "train").rename(folder / "elsewhere")
    (folder / "test" / "red" / ".DS_Store").write_bytes(b"x")
    record = replace(
        RECORD,
        dataset="imagefolder",
        classes=["red", "green", "blue"],
        preprocessing=Preprocessing(8, 3, (0.5,) * 3, (0.5,) * 3),
    )
    reporter = RecordingReporter()
    found, labels = next(images_for(record, None, folder, reporter).batches(9))
    assert labels.tolist() == [0, 0, 0, 2, 2, 2]
    assert found[:3, 0].double().mean() > found[:3, 2].double().mean()  # red
    assert reporter.notes == [
        f"{folder / 'test'} has no images of 1 of the 3 classes: green",
        f"left out of {folder}: 1 hidden (test/red/.DS_Store)",
    ]
    with pytest.raises(DataError, match=re.escape(f"{folder} has no folder train/ with a folder per class in it")):
        images_for(record, None, folder, part="train")


def test_what_cannot_be_read_is_left_out_on_request(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "test" / "red" / "0.png").write_bytes(b"no image")
    record = replace(
        RECORD,
        dataset="imagefolder",
        classes=["blue", "red"],
        preprocessing=Preprocessing(8, 3, (0.5,) * 3, (0.5,) * 3),
    )
    with pytest.raises(DataError, match=r"red/0\.png: .*; `skip_unreadable` leaves it out"):
        images_for(record, None, folder)
    reporter = RecordingReporter()
    split = images_for(record, None, folder, reporter, reading=Reading(skip_unreadable=True))
    assert len(split) == 5
    assert len(reporter.notes) == 1
