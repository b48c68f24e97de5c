"""What a file says of a task, and of what goes into a network and comes out of it. Needs no torch."""

from dataclasses import dataclass

CLASSIFICATION, MULTI_LABEL, REGRESSION = "classification", "multi-label", "regression"
SEGMENTATION, OTHER = "segmentation", "other"
TASK_NAMES = (CLASSIFICATION, MULTI_LABEL, REGRESSION, SEGMENTATION, OTHER)


@dataclass(frozen=True)
class TaskRecord:
    """What a network was searched for.

    Attributes:
        name: one of `TASK_NAMES`.
        loss: name of what was minimised, for people; of a function of the user's, its `__name__`.
        metric: likewise of what was measured.
    """

    name: str = CLASSIFICATION
    loss: str = "cross-entropy"
    metric: str = "accuracy"


@dataclass(frozen=True)
class TensorRecord:
    """A tensor that goes into a network or comes out of it.

    Attributes:
        shape: of one example, without the batch.
        dtype: name of the torch dtype, such as "float32" or "int64".
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
