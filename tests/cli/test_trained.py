"""What commands that train weights share: options, saving what cannot be measured, what is said."""

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
from tests.support.commands import options

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
    own = {"--init", "--seed", "--lr", "--codec", "--statistics"}
    for flag in (*shared, *own):
        texts = {found[name][flag].help for name in (COMMANDS if flag in own else found)}
        assert len(texts) == 1, flag


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
