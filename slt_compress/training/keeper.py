"""When the state of a search or of a training is saved, and what is said where that has saved it."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

from slt_compress.data.workers import lost_workers
from slt_compress.errors import DataError, OutputError, SltError, reason
from slt_compress.training.checkpoint import Checkpoints, Resumable
from slt_compress.training.loop import Clock


class KeptInterrupt(KeyboardInterrupt):
    """Somebody has interrupted a search after its last step; its state is kept, and `resume` ends it."""


class Keeper:
    """Keeps the state of a search, or of a training, after the steps where that is due, where the data can no longer be
    read, and where something ends it after the last step.

    Without checkpoints it keeps nothing. `done` is the number of steps that are behind the state.

    Attributes:
        failure: what has ended `finishing` without the state being kept.
    """

    def __init__(self, checkpoints: Checkpoints | None, state: Resumable | None, clock: Clock, done: int = 0) -> None:
        self._checkpoints = checkpoints
        self._state = state
        self._clock = clock
        self._done = done
        self._told = False
        self.failure: BaseException | None = None

    def keep(self, done: int, steps: int) -> None:
        """Save the state after `done` steps if that is due."""
        self._done = done
        if self._checkpoints and self._checkpoints.due(done, steps):
            self.save()

    def save(self) -> None:
        """Save the state where that was asked for: a full disk does not end the work, and is told once."""
        if not (self._checkpoints and self._checkpoints.every and self._state):
            return
        done, what = self._done, self._checkpoints.what
        try:
            self._checkpoints.save(self._state, done, self._clock.seconds())
            self._told = False
        except OutputError as error:
            if not self._told:
                self._checkpoints.warn(f"no checkpoint after step {done:,}, the {what} goes on: {error}")
            self._told = True

    @contextlib.contextmanager
    def rescuing(self) -> Iterator[None]:
        """Save the state if the block raises DataError, asked for or not, and add to the message how to go on."""
        try:
            with lost_workers():
                yield
        except DataError as error:
            if not self._rescued():
                raise
            raise DataError(self._how_to_go_on(error)) from error

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """Likewise, whatever the block raises: all steps are made, and their state is as the last one has left it."""
        try:
            with lost_workers():
                yield
        except (Exception, KeyboardInterrupt) as error:
            if not self._done:  # there is nothing to lose
                raise
            if not self._rescued():
                self.failure = error
                return
            if isinstance(error, KeyboardInterrupt):
                raise KeptInterrupt(self._how_to_go_on(error)) from error
            raise (DataError if isinstance(error, DataError) else SltError)(self._how_to_go_on(error)) from error

    def _rescued(self) -> bool:
        """Save the state, asked for or not; return whether it could be, and was worth it.

        A thread does it: a large state takes seconds, and no further interrupt is to end that.
        """
        if not (self._checkpoints and self._state and self._done) or self._checkpoints.holds_other():
            return False
        with ThreadPoolExecutor(1) as thread:
            saving = thread.submit(self._checkpoints.save, self._state, self._done, self._clock.seconds())
            while not saving.done():
                with contextlib.suppress(KeyboardInterrupt):
                    wait([saving])
        try:
            saving.result()
        except OutputError:
            return False
        return True

    def _how_to_go_on(self, error: BaseException) -> str:
        assert self._checkpoints
        kept = f"{reason(error)}; the {self._checkpoints.what} is kept in {self._checkpoints.folder}: "
        goes_on = f"{self._checkpoints.again} continues after step {self._done:,}"
        if isinstance(error, DataError):
            return f"{kept}once its data can be read, {goes_on} (with images left out it starts afresh)"
        return kept + goes_on
