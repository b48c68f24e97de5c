"""The state of a running search or training, so that a killed one can be resumed as if nothing had happened.

    OUTPUT.ckpt/search.safetensors         tensors, of a search: method.*, optimiser.*, buffer.*, generator
                                           one JSON document: step, seconds, what is asked for, a digest
    OUTPUT.ckpt/search-PART.safetensors    likewise, of a further training of the same job

All jobs use the same name, so that the state of one is not mistaken for that of another: what is asked for tells them
apart. The order of the images is not in it: the seed and the step tell it. Each file replaces the one before
atomically, and its SHA-256 covers every tensor, so that a damaged file is noticed. There is no pickle in it.
"""

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from slt_compress import files
from slt_compress.config import check_every
from slt_compress.errors import CheckpointError, UsageError
from slt_compress.methods.base import Method

FORMAT = "slt-compress checkpoint 2"
_KEY = "checkpoint"
_NAME = "search"


class Resumable(Protocol):
    """What moves from step to step, and can be kept between two."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all tensors that change from step to step, by name."""

    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take over what `state_dict` returned, on any device."""


def of_group(group: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors that are named GROUP.NAME, by NAME."""
    return {name.removeprefix(f"{group}."): value for name, value in tensors.items() if name.startswith(f"{group}.")}


def grouped(group: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors by name as GROUP.NAME."""
    return {f"{group}.{name}": value for name, value in tensors.items()}


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def moments(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the state of an optimiser, by number of the parameter and name; without one where it has made no step."""
    return {
        f"{index}.{name}": value
        for index, parameter in enumerate(_parameters(optimiser))
        for name, value in optimiser.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor)
    }


def set_moments(optimiser: torch.optim.Optimizer, moments: Mapping[str, torch.Tensor]) -> None:
    """Give a new optimiser what `moments` has returned of one of the same parameters."""
    parameters = _parameters(optimiser)
    for key, value in moments.items():
        index, _, name = key.partition(".")
        parameter = parameters[int(index)]
        optimiser.state[parameter][name] = value.to(parameter.device)


@dataclass(frozen=True)
class State:
    """The moving parts of a search between two steps; what is not in them follows from the request and the step."""

    method: Method
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    module: nn.Module

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all tensors that change from step to step, by name; they are not copied."""
        persistent = self.module.state_dict()
        groups = {
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state[self.method.parameter],
            "buffer": {name: value for name, value in self.module.named_buffers() if name in persistent},
        }
        found = {
            f"{group}.{name}": value.detach()
            for group, values in groups.items()
            for name, value in values.items()
            if isinstance(value, torch.Tensor)
        }
        return {**found, "generator": self.generator.get_state()}

    @torch.no_grad()
    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take over what `state_dict` returned, on the device where the search runs."""
        parameter = self.method.parameter
        of_method = {}
        for key, value in tensors.items():
            group, _, name = key.partition(".")
            if group == "generator":
                self.generator.set_state(value)
            elif group == "buffer":
                self.module.get_buffer(name).copy_(value)
            elif group == "optimiser":
                self.optimiser.state[parameter][name] = value.to(parameter.device)
            else:
                of_method[name] = value
        self.method.load_state_dict(of_method)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoint of one search or training: replaced every `every` steps (None: never written); read first with
    `resume`.

    Raises UsageError, when made, for an `every` that is no whole number of at least 1.

    Attributes:
        folder, every, resume: as above.
        identity: a JSON object that says what is asked for; a file of another request is refused.
        warn: is told of a file that could not be written, as on a full disk: the work goes on, and the file before
            stays.
        part: of a job of several trainings; empty for the first.
        what: is kept, for people: "search" or "training".
        automatic: whether the same request resumes by itself, with no `resume` of the user's.
    """

    folder: Path
    every: int | None = None
    resume: bool = False
    identity: dict[str, Any] = field(default_factory=dict)
    warn: Callable[[str], None] = warnings.warn
    part: str = ""
    what: str = "search"
    automatic: bool = False

    def __post_init__(self) -> None:
        check_every(self.every)

    @property
    def file(self) -> Path:
        return self.folder / (f"{_NAME}-{self.part}.safetensors" if self.part else f"{_NAME}.safetensors")

    @property
    def again(self) -> str:
        """What resumes, in a sentence for people."""
        return "the same command" if self.automatic else "`resume`"

    @property
    def afresh(self) -> str:
        """How to begin without the file, likewise."""
        return f"{'once it is deleted' if self.automatic else 'without `resume`'} the {self.what} starts afresh"

    def of(self, part: str) -> "Checkpoints":
        """Return the checkpoint of a part of the job, whose name is added to that of this one."""
        return replace(self, part=f"{self.part}-{part}" if self.part else part)

    def present(self) -> "Iterator[Checkpoints]":
        """Yield this checkpoint and those of its parts, of which there is a file."""
        if self.file.exists():
            yield self
        for path in sorted(self.folder.glob(f"{self.file.stem}-*.safetensors")):
            yield self.of(path.stem.removeprefix(f"{self.file.stem}-"))

    def due(self, done: int, steps: int) -> bool:
        """Return whether to save after so many steps of `steps`; after the last one there is nothing left to resume."""
        return self.every is not None and done % self.every == 0 and done < steps

    def check(self) -> None:
        """Raise OutputError if the file could not be written. Call it before the search."""
        files.check_folder(self.folder)
        if self.folder.is_dir():
            files.check_writable(self.file)

    def holds_other(self) -> bool:
        """Return whether a file is there that this search neither reads nor was asked to replace."""
        return self.every is None and not self.resume and self.file.exists()

    def save(self, state: Resumable, step: int, seconds: float) -> None:
        """Write the state after `step` steps that took `seconds`."""
        files.make_folder(self.folder)
        tensors = state.state_dict()
        document = {
            "format": FORMAT,
            "identity": self.identity,
            "step": step,
            "seconds": seconds,
        }
        text = json.dumps({**document, "digest": digest_of(document, tensors)})
        with files.replacing(self.file) as temporary:
            try:
                save_file(tensors, temporary, metadata={_KEY: text})
            except SafetensorError as error:
                raise OSError(str(error)) from error

    def find(self) -> int | None:
        """Return the step that a checkpoint of this request has reached, None if there is no checkpoint.

        Raises UsageError if it is another request's, CheckpointError if it cannot be read.
        """
        if not self.file.exists():
            return None
        document, _ = self._read(tensors=False)
        found = document["identity"]
        wanted = json.loads(json.dumps(self.identity))
        for key in {**wanted, **found}:
            if found.get(key) != wanted.get(key):
                raise UsageError(
                    f"{self.file} belongs to another {self.what}: its {key} is {_short(found.get(key))}, wanted is "
                    f"{_short(wanted.get(key))}; {self.afresh}"
                )
        step: int = document["step"]
        return step

    def load(self, state: Resumable) -> tuple[int, float]:
        """Bring the state to where the checkpoint was written; return its step and the seconds spent until then."""
        document, tensors = self._read(tensors=True)
        if document.pop("digest", None) != digest_of(document, tensors):
            raise self._damaged("its digest does not fit its content")
        state.load_state_dict(tensors)
        return document["step"], document["seconds"]

    def remove(self) -> None:
        """Delete the checkpoint and those of its parts, what a killed save has left, and the folder if nothing else is
        in it.
        """
        files_of = [self.file, *(one.file for one in self.present())]
        for path in (*files_of, *self.folder.glob(f".{self.file.stem}*.tmp")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _read(self, *, tensors: bool) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        try:
            with safe_open(self.file, "pt") as file:
                document = json.loads((file.metadata() or {}).get(_KEY, "{}"))
                if "format" not in document:
                    raise ValueError("it is no checkpoint")
                if document["format"] != FORMAT:
                    raise ValueError(f"expected the format {FORMAT!r}, found {document['format']!r}")
                if not isinstance(document["step"], int) or not isinstance(document["identity"], dict):
                    raise ValueError("its document is malformed")
                return document, {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(f"cannot resume from {self.file} ({why}); {self.afresh}")


def digest_of(document: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256, in hexadecimal, of a JSON document and of tensors by name, whatever their order."""
    sha = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        sha.update(value.detach().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return sha.hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"
