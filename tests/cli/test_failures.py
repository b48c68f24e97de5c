"""From a failure to one message, the next command to try, and an exit code."""

from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file
from typer.testing import CliRunner

from slt_compress import errors
from slt_compress.cli.failures import exit_codes, require_file
from slt_compress.cli.interrupts import INTERRUPTED
from slt_compress.errors import MissingDatasetError, SltError, UnknownModelError, UsageError
from tests.support.commands import Searched, refused
from tests.support.pictures import save_picture
from tests.support.process import Run

CODES = {
    "SltError": 1,
    "DataError": 1,
    "MissingDatasetError": 1,
    "LostProcessError": 1,
    "FailedRunsError": 1,
    "MissingPackageError": 1,
    "HubError": 1,
    "OutputError": 1,
    "UnreachableError": 1,
    "UsageError": 2,
    "UnknownModelError": 2,
    "TicketError": 3,
    "CheckpointError": 3,
    "VerificationError": 3,
}


def attempt(failure: BaseException) -> tuple[int, str]:
    """Raise it in a command; return the exit code and what was printed on stderr."""
    app = typer.Typer()

    @app.command()
    def command() -> None:
        with exit_codes(lambda: "stopped"):
            raise failure

    done = CliRunner().invoke(app, [], env={"COLUMNS": "40"}, catch_exceptions=False)
    assert done.stdout == ""
    return done.exit_code, done.stderr


def expected_failures() -> list[type[SltError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SltError)]


@pytest.mark.parametrize("kind", expected_failures())
def test_every_failure_has_its_message_and_exit_code(kind: type[SltError]) -> None:
    failure = MissingDatasetError("mnist", "no `data_dir`") if kind is MissingDatasetError else kind("no `data_dir`")
    code, shown = attempt(failure)
    assert code == CODES[kind.__name__] == kind.exit_code
    assert shown.startswith("error: no --data-dir")
    assert len(shown.splitlines()) == 1


def test_every_failure_is_listed() -> None:
    assert {kind.__name__ for kind in expected_failures()} == set(CODES)


def test_some_failures_name_the_next_command() -> None:
    _, shown = attempt(UnknownModelError("unknown model 'x'"))
    assert shown == "error: unknown model 'x'; slt-compress models lists what there is\n"
    _, shown = attempt(UnknownModelError("unknown model 'x': did you mean y?"))
    assert shown == "error: unknown model 'x': did you mean y?\n"
    _, shown = attempt(MissingDatasetError("mnist", "mnist is not there"))
    assert shown.startswith("error: mnist is not there; on a machine with internet run: slt-compress search MODEL")
    assert "--dataset mnist --data-dir FOLDER" in shown
    _, shown = attempt(MissingDatasetError("hf:user/set", "user/set is not there"))
    assert "datasets.load_dataset('user/set').save_to_disk('FOLDER')" in shown
    assert "--dataset hf:FOLDER" in shown


def test_an_interrupt_has_its_own_code_and_words() -> None:
    assert attempt(KeyboardInterrupt()) == (INTERRUPTED, "error: stopped\n")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        attempt(ZeroDivisionError())


def test_a_missing_file_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"")
    require_file(tmp_path / "there")
    with pytest.raises(UsageError, match=r"none does not exist, expected a file; make one with: slt-compress search"):
        require_file(tmp_path / "none")
    with pytest.raises(UsageError, match="is a folder"):
        require_file(tmp_path)


@pytest.mark.parametrize("command", ["evaluate", "inspect", "export", "verify"])
@pytest.mark.parametrize("kind", ["noise", "truncated", "foreign", "flipped", "empty"])
def test_files_that_are_no_tickets(searched: Searched, invoke: Run, tmp_path: Path, command: str, kind: str) -> None:
    whole = searched[0].read_bytes()
    path = tmp_path / "bad.bin"
    if kind == "foreign":
        save_file({"weight": np.zeros(10, np.float32)}, path)
    else:
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 4
        noise = np.random.default_rng(0).bytes(9000)
        path.write_bytes({"noise": noise, "truncated": whole[:-100], "flipped": bytes(flipped), "empty": b""}[kind])
    refused(invoke(command, path), 3, "bad.bin is not a valid ticket", tmp_path)


def test_names_of_several_lines_make_no_further_line(invoke: Run, tmp_path: Path) -> None:
    done = invoke("inspect", "no\nticket")
    assert done.stderr.startswith("error: no\\nticket does not exist")
    assert len(done.stderr.splitlines()) == 1
    for name in ("red", "blue"):
        for part in ("train", "test"):
            save_picture(tmp_path / "images" / part / f"{name}\nish" / "0.png", name, 0)
    (tmp_path / "images" / "train" / "red\nish" / "1\r.png").write_bytes(b"damaged")
    done = invoke("search", "lenet-5", "--dataset", "imagefolder", "--data-dir", "images", "--json")
    refused(done, 1, "red\\nish/1\\r.png: its content is of no format that Pillow reads", tmp_path)
