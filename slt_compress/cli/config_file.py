"""The file of `--config`: TOML with the options of commands, checked as those of the command line are.

Keys at the top hold for every command that has such an option, and those in a table named after a command for this one
alone, ahead of those at the top. Nothing here is run, and no path is resolved: a value means what it means on the
command line.
"""

import difflib
import inspect
import math
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from slt_compress.errors import UsageError, few

MAX_BYTES = 1_000_000  # of a file; one with every option has about a thousand
COMMAS = "a list with commas"  # marks, inside Annotated, a text that a file may also give as a list

_MOST_SHOWN = 60  # characters of a wrong value
_NOUNS: dict[type, str] = {int: "a whole number", float: "a number", str: "a string", Path: "a string"}


@dataclass(frozen=True)
class Key:
    """An option or an argument of a command, as a file may give it.

    Attributes:
        name: of the parameter; a file may have dashes in the place of underscores.
        kind: of one value.
        choices: that it is one of, empty if it is free.
        minimum, maximum: of a number.
        several: whether the value is a list.
        commas: whether it is a text that may be given as a list.
        is_argument: whether the command line gives it without its name.
        default: what it is if it is not given.
    """

    name: str
    kind: type
    choices: tuple[Any, ...] = ()
    minimum: float = -math.inf
    maximum: float = math.inf
    several: bool = False
    commas: bool = False
    is_argument: bool = False
    default: Any = None

    @property
    def shown(self) -> str:
        """The name as files and messages have it."""
        return self.name.replace("_", "-")

    def taken(self, value: Any) -> Any:
        """Return a value of a file as the command line has it. Raises ValueError if it is none for this key."""
        if self.several:
            if isinstance(value, list) and all(map(self._fits, value)):
                return value
        elif self._fits(value):
            return float(value) if self.kind is float else value
        elif self.commas and isinstance(value, list) and value and all(map(_is_plain, value)):
            return ",".join(map(str, value))
        raise ValueError(self.expected)

    @property
    def expected(self) -> str:
        """What a value must be."""
        one = self._expected_one()
        if self.several:
            return f"a list, each {one}"
        return f"{one} or a list" if self.commas else one

    def _expected_one(self) -> str:
        if self.kind is bool:
            return "true or false"
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        least, most = (f"{bound:.15g}" for bound in (self.minimum, self.maximum))
        if math.isinf(self.maximum):
            return _NOUNS[self.kind] + ("" if math.isinf(self.minimum) else f" of at least {least}")
        return f"{_NOUNS[self.kind]} from {least} to {self.maximum if self.kind is int else most}"

    def _fits(self, value: Any) -> bool:
        if self.kind is bool or isinstance(value, bool):
            return self.kind is bool and isinstance(value, bool)
        if self.choices:
            return value in self.choices and isinstance(value, type(self.choices[0]))
        if self.kind in (int, float):
            return isinstance(value, int | self.kind) and self.minimum <= value <= self.maximum
        return isinstance(value, str) and "\0" not in value  # which no command line can hold


def _is_plain(value: Any) -> bool:
    """Return whether a value can be an item of a list with commas."""
    return isinstance(value, int | float | str) and not isinstance(value, bool) and not set("\0,") & set(str(value))


def keys_of(command: Callable[..., None]) -> dict[str, Key]:
    """Return the options and arguments of a command by name, from its signature."""
    return {name: _key(name, parameter) for name, parameter in inspect.signature(command).parameters.items()}


def _key(name: str, parameter: inspect.Parameter) -> Key:
    annotation: Any = parameter.annotation
    marks: list[Any] = []
    if get_origin(annotation) is Annotated:
        annotation, *marks = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not types.NoneType)
    several = get_origin(annotation) is list
    kind = get_args(annotation)[0] if several else annotation
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    bounds = {
        bound: getattr(mark, name)
        for mark in marks
        for bound, name in (("minimum", "min"), ("maximum", "max"))
        if getattr(mark, name, None) is not None
    }
    return Key(
        name,
        type(choices[0]) if choices else kind,
        choices,
        several=several,
        commas=COMMAS in marks,
        is_argument=any(type(mark).__name__ == "ArgumentInfo" for mark in marks),
        default=parameter.default,
        **bounds,
    )


def load(path: Path, command: str, commands: Mapping[str, Mapping[str, Key]]) -> dict[str, Any]:
    """Return what a file says of a command's parameters, by name.

    Raises UsageError, naming the file and the key, for a file that cannot be read, an unknown key or table, or a value
    that the command line would refuse.
    """
    document = _parse(path)
    tables, top = {}, {}
    for key, value in document.items():
        name = _normalised(key).replace("_", "-")
        if isinstance(value, dict):
            if name not in commands:
                raise UsageError(f"{path} has the unknown table [{key}]{_closest(name, commands, '[{}]')}")
            tables[name] = value
        elif name in commands and not any(_normalised(key) in keys for keys in commands.values()):
            raise UsageError(f"{path}: {key} is a command, expected a table [{name}], got {_shown(value)}")
        else:
            top[key] = value
    elsewhere = {name for keys in commands.values() for name in keys}
    found = _values(path, "", top, commands[command], elsewhere)
    return found | _values(path, f" in [{command}]", tables.get(command, {}), commands[command], set())


def _values(
    path: Path, place: str, table: Mapping[str, Any], keys: Mapping[str, Key], ignored: set[str]
) -> dict[str, Any]:
    """Return the checked values of a table by the names of parameters, without those of other commands."""
    found: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in table.items():
        name = _normalised(key)
        if name in spelled:
            raise UsageError(f"{path} gives the same key twice{place}: {spelled[name]} and {key}")
        spelled[name] = key
        if name in keys:
            try:
                found[name] = keys[name].taken(value)
            except ValueError as error:
                raise UsageError(f"{path}: {key}{place} must be {error}, got {_shown(value)}") from error
        elif name not in ignored:
            known = [one.shown for one in keys.values()]
            raise UsageError(f"{path} has the unknown key {key}{place}{_closest(name.replace('_', '-'), known)}")
    return found


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read `config` {path}: {reason}; expected a TOML file") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} has more than {MAX_BYTES:,} bytes, expected a TOML file of options")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 at byte {error.start}, expected a TOML file") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error


def _normalised(key: str) -> str:
    """Return a key as the name of a parameter, with or without dashes."""
    return key.removeprefix("--").replace("-", "_")


def _closest(name: str, known: Iterable[str], form: str = "{}") -> str:
    """Return the most similar names, or else some that are known, to be added to a message."""
    names = list(known)
    similar = difflib.get_close_matches(name, names, n=3)
    if similar:
        return f"; did you mean {' or '.join(map(form.format, similar))}?"
    return f"; known: {few([form.format(one) for one in names])}"


def _shown(value: Any) -> str:
    """Return a value of a file for a message, not too long."""
    if isinstance(value, dict):
        return "a table"
    text = str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def to_toml(command: str, values: Mapping[str, Any], heading: str) -> str:
    """Return the parameters of a command as such a file; those that are None are comments.

    Raises UsageError for text that is none, such as a file name that is not UTF-8. Characters outside ASCII are
    escaped, so that the file is UTF-8 whatever the encoding of stdout.
    """
    lines = [f"# {heading}", f"[{command}]"]
    for name, value in values.items():
        key = name.replace("_", "-")
        lines.append(f"# {key} is not set" if value is None else f"{key} = {_toml(key, value)}")
    return "\n".join(lines) + "\n"


def _toml(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(key, one) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UsageError(f"--{key} {text!r} is no text that a TOML file can hold")
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if " " <= char <= "~":
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@dataclass
class _Taken:
    """What the running call has taken from a file.

    Attributes:
        path: of the file.
        values: that it decides.
    """

    path: Path | None = None
    values: Sequence[tuple[Key, Any]] = ()


_taken = _Taken()


def note_taken(path: Path | None, values: Iterable[tuple[Key, Any]]) -> None:
    """Note which values the running call takes from a file; none without a path."""
    _taken.path, _taken.values = path, list(values)


def spelled_out(words: Sequence[str]) -> list[str]:
    """Return the words of the running call with those of its file in the place of `--config`."""
    if _taken.path is None:
        return list(words)
    first, *rest = words
    place = next(index for index, word in enumerate(rest) if word.partition("=")[0] == "--config")
    given = [*rest[:place], *rest[place + (1 if "=" in rest[place] else 2) :]]
    options, arguments = [], []
    for key, value in _taken.values:
        for one in value if isinstance(value, list) else [value]:
            if key.is_argument:
                arguments.append(str(one))
            elif not isinstance(one, bool):
                options += [f"--{key.shown}", str(one)]
            elif one is not key.default:
                options.append(f"--{key.shown}" if one else f"--no-{key.shown}")
    return [first, *arguments, *options, *given]


def origin(text: str) -> str:
    """Return which options in a message come from a file, to be added to it."""
    taken = {f"--{key.shown}" for key, _ in _taken.values}
    flags = [flag for flag in dict.fromkeys(re.findall(r"--[a-z][a-z-]*", text)) if flag in taken]
    return f"; {_taken.path} sets {' and '.join(flags)}" if flags else ""
