"""When a state is saved, and what is said where it was; `test_checkpoint` stops searches at every place."""

from pathlib import Path

import pytest
import torch

from slt_compress.errors import DataError, OutputError, UsageError
from slt_compress.training.checkpoint import Checkpoints
from slt_compress.training.keeper import Keeper
from slt_compress.training.loop import Clock


class Counter:
    """A state of one number."""

    def __init__(self) -> None:
        self.number = torch.zeros(())

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"number": self.number}

    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        self.number = tensors["number"]


def test_the_state_is_saved_when_it_is_due_and_where_that_is_asked_for(tmp_path: Path) -> None:
    kept, state = Checkpoints(tmp_path / "kept", 3), Counter()
    keeper = Keeper(kept, state, Clock())
    seen = []
    for done in range(1, 9):
        state.number += 1
        keeper.keep(done, 8)
        seen.append(kept.find())
    assert seen == [None, None, 3, 3, 3, 6, 6, 6]  # after the last step nothing is left to resume
    keeper.save()
    loaded = Counter()
    assert kept.load(loaded)[0] == loaded.number == 8
    silent = Keeper(Checkpoints(tmp_path / "other", resume=True), state, Clock(), 4)
    silent.keep(6, 8)
    silent.save()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (Checkpoints(Path("kept")), r"the search is kept in .*: once its data can be read, `resume` continues after"),
        (Checkpoints(Path("kept"), what="training", automatic=True), r"the training is kept in .*, the same command"),
    ],
)
def test_it_says_how_to_go_on(kept: Checkpoints, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^gone; {words}"), Keeper(kept, Counter(), Clock(), 5).rescuing():
        raise DataError("gone")
    assert kept.find() == 5


def test_what_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "kept").write_bytes(b"")
    keeper = Keeper(Checkpoints(tmp_path / "kept", 1, warn=told.append, what="training"), Counter(), Clock())
    for done in (1, 2):
        keeper.keep(done, 8)
    assert [text.partition(": ")[0] for text in told] == ["no checkpoint after step 1, the training goes on"]
    with pytest.raises(OutputError):
        Checkpoints(tmp_path / "kept", 1).check()


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "3"])
def test_the_steps_between_two_are_a_whole_number(every: object) -> None:
    with pytest.raises(UsageError, match="`checkpoint_every` must be a whole number of at least 1, got "):
        Checkpoints(Path("kept"), every)  # type: ignore[arg-type]


def test_parts_have_files_of_their_own_which_go_with_the_first(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "kept", 1)
    parts = [kept, kept.of("random-mask"), kept.of("random-mask").of("start")]
    for part in parts:
        Keeper(part, Counter(), Clock(), 2).save()
    (tmp_path / "kept" / "mine.txt").write_bytes(b"not ours")
    assert {one.file for one in kept.present()} == {one.file for one in parts}
    assert {one.part for one in parts[1].present()} == {"random-mask", "random-mask-start"}
    kept.remove()
    assert [path.name for path in kept.folder.iterdir()] == ["mine.txt"]
