"""What libraries say is dropped while they work, and heard again afterwards."""

import logging
import warnings

import pytest

from slt_compress.models.quiet import quiet


def speak() -> None:
    print("printed")
    logging.getLogger("a library").warning("logged")
    warnings.warn("warned", stacklevel=2)


def test_nothing_is_heard_inside(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        speak()  # a warning that got through would be an error
    assert capsys.readouterr().out == ""
    assert caplog.messages == []


def test_errors_are_logged_nevertheless(caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        logging.getLogger("a library").error("broken")
    assert caplog.messages == ["broken"]


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_heard_afterwards(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    try:
        with quiet():
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    with pytest.warns(UserWarning, match="warned"):
        speak()
    assert capsys.readouterr().out == "printed\n"
    assert caplog.messages == ["logged"]
