"""The application in which every command takes its options from a file too: `--config` and `--print-config`."""

import functools
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from slt_compress import files
from slt_compress.cli import config_file, console
from slt_compress.cli.config_file import Key
from slt_compress.cli.failures import exit_codes, told
from slt_compress.errors import UsageError
from slt_compress.version import __version__

Command = Callable[..., None]

_PANEL = "Configuration"


class Application(typer.Typer):
    """Commands as typer has them, each with the two options.

    Attributes:
        keys: what a file may say of each command, by its name, which is that of its function.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.keys: dict[str, dict[str, Key]] = {}

    def command(  # type: ignore[override]  # the same settings, whatever they are in this version of typer
        self, name: str | None = None, **settings: Any
    ) -> Callable[[Command], Command]:
        register = super().command(name, **settings)

        def decorate(function: Command) -> Command:
            own = name or function.__name__.replace("_", "-")
            self.keys[own] = config_file.keys_of(function)
            register(_configured(function, own, self.keys))
            return function

        return decorate


def _configured(command: Command, name: str, commands: dict[str, dict[str, Key]]) -> Command:
    """Return a command with `--config`, whose values stand in for options not given, and `--print-config`."""

    def read(context: typer.Context, path: Path | None) -> Path | None:
        config_file.note_taken(None, ())
        if path is not None and not context.resilient_parsing:
            with told():
                values = config_file.load(path, name, commands)
            config_file.note_taken(path, [(commands[name][key], value) for key, value in values.items()])
            context.default_map = values
            if values.get("json"):
                console.want_json()
        return path

    config = Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Options from a file; those of the command line win.",
            callback=read,
            is_eager=True,
            rich_help_panel=_PANEL,
        ),
    ]
    print_config = Annotated[
        bool,
        typer.Option(
            "--print-config", help="Print all options as such a file, and run nothing.", rich_help_panel=_PANEL
        ),
    ]

    @functools.wraps(command)
    def run(context: typer.Context, config: Path | None, print_config: bool, **arguments: Any) -> None:
        if config:  # what the command line has said itself is not the file's doing
            values = (context.default_map or {}).items()
            taken = [(commands[name][key], value) for key, value in values if _is_from_file(context, key)]
            config_file.note_taken(config, taken)
        if print_config:
            with exit_codes():
                _show(name, arguments)
            return
        with told():
            _check_apart(config, arguments)
        command(**arguments)

    signature = inspect.signature(command)
    brought = [
        _parameter("context", typer.Context, inspect.Parameter.empty),
        _parameter("config", config, None),
        _parameter("print_config", print_config, False),
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in signature.parameters.values()]
    run.__signature__ = signature.replace(parameters=[*own, *brought])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *brought)}
    return run


def _check_apart(config: Path | None, arguments: dict[str, Any]) -> None:
    """Raise UsageError if a path among the arguments, which may be written, is the file of options itself."""
    for name, value in arguments.items():
        if config and isinstance(value, Path) and files.same(value, config):
            raise UsageError(f"`config` and `{name}` are the same file, {value}: give another `{name}`")


def _is_from_file(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT_MAP"


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _show(name: str, arguments: dict[str, Any]) -> None:
    text = config_file.to_toml(name, arguments, f"slt-compress {name} --config THIS_FILE, version {__version__}")
    plain = {key.replace("_", "-"): _json(value) for key, value in arguments.items()}
    console.Printer(json=bool(arguments.get("json"))).document({name: plain}, text)


def _json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    if isinstance(value, Path) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value
