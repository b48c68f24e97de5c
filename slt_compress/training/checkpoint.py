"""The state of a running search, in one file, so that a killed search can be resumed as if nothing had happened.

    OUTPUT.ckpt/search.safetensors    tensors: method.*, optimiser.*, buffer.*, generator
                                      one JSON document: step, seconds, what is searched, a digest

The order of the images is not in it: the seed and the step tell it. Each file replaces the one before atomically, and
its SHA-256 covers every tensor, so that a damaged file is noticed. There is no pickle in it.
"""

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from slt_compress import files
from slt_compress.errors import CheckpointError, UsageError
from slt_compress.methods.base import Method

FORMAT = "slt-compress checkpoint 2"
_KEY = "checkpoint"
_FILE = "search.safetensors"


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
    """The checkpoint of one search: replaced every `every` steps (None: never written); read first with `resume`.

    `identity`, a JSON object, says what is searched for; a file of another search is refused. `warn` is told of a file
    that could not be written, as on a full disk: the search goes on, and the file before stays.
    """

    folder: Path
    every: int | None = None
    resume: bool = False
    identity: dict[str, Any] = field(default_factory=dict)
    warn: Callable[[str], None] = warnings.warn

    @property
    def file(self) -> Path:
        return self.folder / _FILE

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

    def save(self, state: State, step: int, seconds: float) -> None:
        """Write the state after `step` steps that took `seconds`."""
        files.make_folder(self.folder)
        tensors = state.state_dict()
        document = {
            "format": FORMAT,
            "identity": self.identity,
            "step": step,
            "seconds": seconds,
        }
        text = json.dumps({**document, "digest": _digest(document, tensors)})
        with files.replacing(self.file) as temporary:
            try:
                save_file(tensors, temporary, metadata={_KEY: text})
            except SafetensorError as error:
                raise OSError(str(error)) from error

    def find(self) -> int | None:
        """Return the step that a checkpoint of this search has reached, None if there is no checkpoint.

        Raises UsageError if it is another search's, CheckpointError if it cannot be read.
        """
        if not self.file.exists():
            return None
        document, _ = self._read(tensors=False)
        found = document["identity"]
        wanted = json.loads(json.dumps(self.identity))
        for key in {**wanted, **found}:
            if found.get(key) != wanted.get(key):
                raise UsageError(
                    f"{self.file} belongs to another search: its {key} is {_short(found.get(key))}, wanted is "
                    f"{_short(wanted.get(key))}; without `resume` the search starts afresh"
                )
        step: int = document["step"]
        return step

    def load(self, state: State) -> tuple[int, float]:
        """Bring the state to where the checkpoint was written; return its step and the seconds spent until then."""
        document, tensors = self._read(tensors=True)
        if document.pop("digest", None) != _digest(document, tensors):
            raise self._damaged("its digest does not fit its content")
        state.load_state_dict(tensors)
        return document["step"], document["seconds"]

    def remove(self) -> None:
        """Delete the checkpoint, what a killed save has left, and the folder if nothing else is in it."""
        for path in (self.file, *self.folder.glob(f".{_FILE}.*.tmp")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _read(self, *, tensors: bool) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        try:
            with safe_open(self.file, "pt") as file:
                document = json.loads((file.metadata() or {})[_KEY])
                if document["format"] != FORMAT:
                    raise ValueError(f"expected the format {FORMAT!r}, found {document['format']!r}")
                if not isinstance(document["step"], int) or not isinstance(document["identity"], dict):
                    raise ValueError("its document is malformed")
                return document, {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(f"cannot resume from {self.file} ({why}); without `resume` the search starts afresh")


def _digest(document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    sha = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        sha.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        sha.update(value.reshape(-1).view(torch.uint8).cpu().numpy().data)
    return sha.hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"
