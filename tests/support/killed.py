"""Trainings that are killed, as often as it takes, and go on from their checkpoints."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from slt_compress.pruning.trainer import WeightTrainer
from slt_compress.training.checkpoint import Checkpoints

Result = TypeVar("Result")


class Killed(BaseException):
    """What ends a training without its having a say."""


def die_in_step(monkeypatch: pytest.MonkeyPatch, number: int | None, error: BaseException | None = None) -> None:
    """Let this step from now on, counted from 0, of whatever training raise; None: no step."""
    step, calls = _STEP, itertools.count()

    def counted(self: WeightTrainer, *arguments: Any) -> Any:
        if next(calls) == number:
            raise error or Killed
        return step(self, *arguments)

    monkeypatch.setattr(WeightTrainer, "step", counted)


_STEP = WeightTrainer.step


def killed_again_and_again(
    make: Callable[[Checkpoints], Result], folder: Path, monkeypatch: pytest.MonkeyPatch, *, lives: int, every: int
) -> tuple[Result, int]:
    """Return what `make` makes if each process dies after so many steps, and how often one has died. The state is saved
    after `every` steps.
    """
    kept = Checkpoints(folder / "kept", every)
    for deaths in itertools.count():
        die_in_step(monkeypatch, lives)
        try:
            found = make(kept)
        except Killed:
            kept = replace(kept, resume=True)
            continue
        kept.remove()
        assert not kept.folder.exists()
        return found, deaths
    raise AssertionError
