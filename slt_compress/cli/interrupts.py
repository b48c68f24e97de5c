"""Ctrl-C on the command line: one message and exit code 130, whenever it comes. Imported first, so it imports little.

Python raises KeyboardInterrupt wherever the program happens to be. Inside an import anything can come of that: C++ code
that calls Python aborts the process, a library swallows it or makes an ImportError of it, and once it has passed
through `exec` of a string, `python -m` ends by the signal, whatever the exit code. So here

- while no command works yet, and the second time, an interrupt ends the process at once;
- while a command works, it is raised as KeyboardInterrupt, so that what was begun is cleaned up; in an import, at its
  end; and again where a library has swallowed it;
- however a command ends after an interrupt, it has been interrupted;
- once a command has ended, its exit code stands: what Python and libraries take down after that, a quarter of the time
  of a short command, is left to the system.

Who imports the package keeps Python's handler: only `install`, called by the command line, replaces it.
"""

import _thread
import atexit
import os
import sys
import time

TYPE_CHECKING = False  # as in typing, whose import takes longer than all that is done here
if TYPE_CHECKING:
    import signal
    from types import FrameType
    from typing import NoReturn
else:
    import _signal as signal  # the same functions, without an enum of all signals

INTERRUPTED = 130

_PATIENCE = 3.0  # seconds, after which a command that is still working has swallowed the interrupt
_BEFORE, _WORKING, _ENDED = "before", "working", "ended"


class _State:
    """Attributes: phase, of the command; received: whether an interrupt came; told: whether a message says so;
    repeating: whether the next call of the handler is a repetition, and not another Ctrl-C; exit_code: of the process,
    None while it is not known.
    """

    phase = _BEFORE
    received = told = repeating = False
    exit_code: int | None = None


def install() -> None:
    """Take Python's handler's place; not if whoever started the process wants interrupts ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _handle)
        sys.unraisablehook = _unraisable
        atexit.register(_leave_last)  # the first that is registered is the last that runs
        if hasattr(os, "register_at_fork"):  # workers that load data have ways of their own
            os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


class Raised:
    """A command runs in it: an interrupt raises KeyboardInterrupt out of it, whatever the code inside makes of that."""

    def __enter__(self) -> None:
        _State.phase = _WORKING

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        _State.phase = _ENDED
        if _State.received and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error


def told() -> None:
    """Note that the message of an interrupted command is being printed."""
    _State.told = True


def end_with(code: int) -> None:
    """Note the exit code that the process is about to end with."""
    if code == INTERRUPTED and not _State.told:
        _tell()
    _State.phase, _State.exit_code = _ENDED, code


def _leave_last() -> None:
    """End the process, after all else that is to be done at its end. A stream that fails is left to Python."""
    if _State.exit_code is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_State.exit_code)


def _leave_at_once() -> "NoReturn":
    if not _State.told:
        _tell()
    multiprocessing = sys.modules.get("multiprocessing")
    for child in multiprocessing.active_children() if multiprocessing else ():
        child.terminate()
    os._exit(INTERRUPTED)


def _tell() -> None:
    _State.told = True
    nothing = "; nothing was written" if _State.phase is _BEFORE else ""
    os.write(2, f"error: interrupted{nothing}\n".encode())


def _handle(number: int, frame: "FrameType | None") -> None:  # noqa: ARG001
    repeated, _State.repeating = _State.repeating, False
    if _State.phase is _ENDED and not _State.received:
        return
    if _State.phase is not _WORKING or (_State.received and not repeated):
        if not repeated:
            _leave_at_once()
        return
    _State.received = True
    _repeat_after(_PATIENCE)
    importing = _who_imports(frame)
    if importing is None:
        raise KeyboardInterrupt
    importing.f_trace = _raise
    sys.settrace(_trace_nothing)  # without it, no frame is traced


def _repeat_after(seconds: float) -> None:
    main = _thread.get_ident()  # signals are handled there

    def repeat() -> None:
        time.sleep(seconds)
        if _State.phase is _WORKING:
            _State.repeating = True
            if hasattr(signal, "pthread_kill"):  # which also ends a wait, such as that for a lock
                signal.pthread_kill(main, signal.SIGINT)
            else:
                _thread.interrupt_main()

    _thread.start_new_thread(repeat, ())  # unlike threading's, it needs no lock that the interrupted code may hold


def _who_imports(frame: "FrameType | None") -> "FrameType | None":
    """Return the frame that goes on when all imports are finished that are running, None if none is."""
    found = None
    while frame:
        if frame.f_code.co_name == "_find_and_load" and frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            found = frame.f_back
        frame = frame.f_back
    return found


def _raise(frame: "FrameType", event: str, arg: object) -> "NoReturn":  # noqa: ARG001
    sys.settrace(None)
    raise KeyboardInterrupt


def _trace_nothing(frame: "FrameType", event: str, arg: object) -> None:
    """Trace no frame but those that have been told to."""


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Raise an interrupt again that came where nothing can be raised, such as in a finaliser."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt) and _State.received:
        _repeat_after(0.0)
    else:
        sys.__unraisablehook__(unraisable)
