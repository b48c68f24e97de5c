"""What commands that train weights share: options, saving what cannot be measured, what is said."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from slt_compress.cli import options as shared
from slt_compress.cli import trained
from slt_compress.cli.console import Printer
from slt_compress.cli.trained import Writing
from slt_compress.config import CHOICES
from slt_compress.errors import OutputError, SltError, UsageError
from slt_compress.pipeline.find import UnmeasuredError, UnmeasuredInterrupt
from slt_compress.pruning import names
from slt_compress.ticket.ticket import Ticket
from tests.support.commands import Searched, options, refused
from tests.support.killed import die_in_step
from tests.support.process import Run

COMMANDS = ("prune", "find-ticket", "train")


def test_choices_are_those_the_library_knows() -> None:
    for kind, known in (
        (trained.PruneMethod, names.METHODS),
        (trained.FindMethod, names.FINDERS),
        (trained.RecipeName, names.RECIPES),
        (trained.ScopeName, names.SCOPES),
        (trained.ValuesName, names.VALUES),
        (shared.CodecName, CHOICES["codec"]),
        (shared.StatisticsName, CHOICES["statistics"]),
    ):
        assert set(get_args(kind)) == set(known)


def test_they_say_the_same_about_every_option_they_share() -> None:
    found = {name: options(name) for name in (*COMMANDS, "search")}
    shared = {
        "--epochs",
        "--max-steps",
        "--batch-size",
        "--augment",
        "--precision",
        "--device",
        "--log",
        "--tensorboard",
    }
    own = {"--init", "--seed", "--codec", "--statistics", "--checkpoint-every"}
    for flag in (*shared, *own):
        texts = {found[name][flag].help for name in (COMMANDS if flag in own else found)}
        assert len(texts) == 1, flag
    assert found["train"]["--lr"].help == found["find-ticket"]["--lr"].help  # prune takes several
    assert found["prune"]["--lr"].help.startswith("Learning rate of the weights.")


def writing(folder: Path, model: str = "lenet-300-100", **fields: Any) -> Writing:
    return Writing(model, shared.search_config(**fields), folder / "t.safetensors", named=True)


def test_a_ticket_that_cannot_be_measured_is_saved(ticket: Ticket, tmp_path: Path) -> None:
    def fail(_: object) -> Any:
        raise UnmeasuredError(ticket, OSError("gone")) from OSError("gone")

    chosen = writing(tmp_path)
    with pytest.raises(SltError, match=r"is saved as .*t\.safetensors, but measuring it has failed"):
        chosen.save(fail, Printer())
    assert Ticket.load(chosen.output).digest == ticket.digest


def test_an_interrupt_saves_what_was_made(ticket: Ticket, tmp_path: Path) -> None:
    def interrupt(_: object) -> Any:
        raise UnmeasuredInterrupt(ticket)

    chosen = writing(tmp_path)
    assert chosen.interrupted().startswith("interrupted; nothing was written (--checkpoint-every STEPS would")
    with pytest.raises(UnmeasuredInterrupt):
        chosen.save(interrupt, Printer())
    assert chosen.interrupted().startswith("interrupted; the ticket was found, and is saved as ")


def test_an_interrupt_that_saves_a_ticket_says_how_its_controls_go_on(ticket: Ticket, tmp_path: Path) -> None:
    chosen = replace(writing(tmp_path), checkpoint_every=3, found=[(ticket, shared.search_config())])
    assert "continues" not in chosen.interrupted()
    chosen.folder.mkdir()
    (chosen.folder / "search.safetensors").write_bytes(b"")
    assert chosen.interrupted().endswith(f"; the same command continues from the checkpoint in {chosen.folder}")


FEW = ("--max-steps", 20, "--batch-size", 64)
TRAININGS = {
    "prune": ("prune", "lenet-300-100", *FEW, "--method", "magnitude"),
    "find-ticket": ("find-ticket", "lenet-300-100", *FEW, "--sparsity", "0.5,0.8", "--rounds", 2),
    "train": ("train", "given.safetensors", *FEW, "--controls"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_command_goes_on_after_an_interrupt(
    name: str, invoke: Run, searched: Searched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(searched[0], tmp_path / "given.safetensors")
    command = (*TRAININGS[name], "--output", "t.safetensors")
    whole = invoke(*command, "--quiet")
    assert whole.returncode == 0, whole.stderr
    made = [path for path in sorted(tmp_path.glob("t*.safetensors")) if path.is_file()]
    expected = {path.name: path.read_bytes() for path in made}
    for path in made:
        path.unlink()

    kept = tmp_path / "t.safetensors.ckpt"
    command = (*command, "--checkpoint-every", 4)
    for step, words in (
        (2, "interrupted; nothing was written, as no checkpoint was due yet"),
        (14, "interrupted; the same command continues from the checkpoint in t.safetensors.ckpt"),
    ):
        with monkeypatch.context() as patched:
            die_in_step(patched, step, KeyboardInterrupt())
            done = invoke(*command)
        assert done.returncode == 130
        assert words in " ".join(done.stderr.split())
    there = (kept / "search.safetensors").read_bytes()
    (given := tmp_path / "given.safetensors").rename(hidden := tmp_path / "given")
    other = (*command, "--lr", 0.5) if name != "train" else ("prune", "lenet-300-100", *FEW, *command[-4:])
    refused(invoke(*other), 2, "belongs to another training: its ", tmp_path)
    (kept / "search.safetensors").write_bytes(there[:5000])
    if name != "train":
        refused(invoke(*command), 3, "once it is deleted the training starts afresh", tmp_path)
    (kept / "search.safetensors").write_bytes(there)
    hidden.rename(given)

    done = invoke(*command)
    assert done.returncode == 0, done.stderr
    assert "resuming from the checkpoint of step 12" in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.glob("t*.safetensors")} == expected
    assert not kept.exists()


def test_files_are_checked_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = writing(tmp_path)
    chosen.check({"`log`": None}, {"`weights`": tmp_path / "w.safetensors"})
    with pytest.raises(UsageError, match="`weights`"):
        chosen.check({}, {"`weights`": chosen.output})
    with pytest.raises(OutputError):
        replace(chosen, output=tmp_path / "none" / "t").check({}, {})
    monkeypatch.setattr("slt_compress.training.distributed.started_by_torchrun", lambda: True)
    with pytest.raises(UsageError, match="weights are trained in one process; torchrun is for search"):
        chosen.check({}, {})


def test_the_next_command_has_the_images_and_the_code(tmp_path: Path) -> None:
    chosen = writing(tmp_path, "net.py:build", dataset="mnist", data_dir=Path("images"))
    words = f"slt-compress evaluate {chosen.output} --data-dir images --source net.py:build"
    assert chosen.advice("evaluate") == f"next: {words}"
