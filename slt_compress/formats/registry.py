"""The formats of an export: what they are called, the suffix of their names, and their settings."""

from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from slt_compress.errors import UsageError

if TYPE_CHECKING:
    from slt_compress.c_export.export import CExportConfig
    from slt_compress.html_export.export import HtmlExportConfig
    from slt_compress.onnx_export.export import ExportConfig
    from slt_compress.web_export.export import WebExportConfig

    AnyExportConfig: TypeAlias = ExportConfig | CExportConfig | HtmlExportConfig | WebExportConfig


class Format(NamedTuple):
    """A kind of file, or of folder.

    Attributes:
        suffix: of its name.
        room: folder of the package that writes it.
        config: name of the class of its settings there, in `export`.
    """

    suffix: str
    room: str
    config: str

    def kind(self) -> "type[AnyExportConfig]":
        """Return the class of its settings."""
        module = import_module(f"slt_compress.{self.room}.export")
        found: type[AnyExportConfig] = getattr(module, self.config)
        return found


FORMATS = {
    "onnx": Format(".onnx", "onnx_export", "ExportConfig"),  # the default
    "c": Format(".c", "c_export", "CExportConfig"),
    "html": Format(".html", "html_export", "HtmlExportConfig"),
    "web": Format(".web", "web_export", "WebExportConfig"),  # a folder
}


def format_of(name: str | None, output: Path | None) -> str:
    """Return the name of a format; if none is given, that of an output's suffix, or the default.

    Raises UsageError for an unknown one.
    """
    if name is None:
        suffix = output.suffix.lower() if output else ""
        return next((name for name, one in FORMATS.items() if one.suffix == suffix), next(iter(FORMATS)))
    if name not in FORMATS:
        raise UsageError(f"`format` must be one of {', '.join(FORMATS)}, got {name!r}")
    return name


def export_config(
    name: str | None, output: Path, config: "AnyExportConfig | None", settings: dict[str, Any]
) -> "AnyExportConfig":
    """Return the config of a format, with these fields changed. Without a name, a config decides, or else the output.

    Raises UsageError for an unknown format, and for a config or field of another one.
    """
    from slt_compress.config import with_settings  # needs numpy, and the command line reads this module at its start

    kinds = {each: one.kind() for each, one in FORMATS.items()}
    if name is None and config is not None:
        name = next(each for each, kind in kinds.items() if isinstance(config, kind))
    name = format_of(name, output)
    kind = kinds[name]
    if config is not None and not isinstance(config, kind):
        raise UsageError(f"the config must be a {kind.__name__} for `format={name}`")
    own = {field.name for field in fields(kind)}
    others = {field.name for one in kinds.values() for field in fields(one)} - own
    for setting in settings:
        if setting in others:
            raise UsageError(f"`{setting}` has no meaning for `format={name}`")
    chosen: Any = config or kind()
    changed: AnyExportConfig = with_settings(chosen, settings)
    return changed
