"""What a file says of a task by default is what version 1 of the ticket means."""

import pytest

from slt_compress.tasks.record import TASK_NAMES, TaskRecord, TensorRecord


def test_the_default_is_classification_by_accuracy() -> None:
    assert TaskRecord() == TaskRecord("classification", "cross-entropy", "accuracy")
    assert TASK_NAMES == ("classification", "multi-label", "regression", "segmentation", "other")


def test_records_are_values() -> None:
    assert TensorRecord((3, 8, 8)) == TensorRecord((3, 8, 8), "float32")
    with pytest.raises(AttributeError):
        TensorRecord((3,)).dtype = "int64"  # type: ignore[misc]
