"""The format of an export: by name, by a config, or by the suffix of the output."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slt_compress.c_export.export import CExportConfig
from slt_compress.errors import UsageError
from slt_compress.formats.registry import FORMATS, export_config, format_of
from slt_compress.html_export.export import HtmlExportConfig
from slt_compress.onnx_export.export import ExportConfig
from slt_compress.web_export.export import WebExportConfig

if TYPE_CHECKING:
    from slt_compress.formats.registry import AnyExportConfig


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        (None, "t.HTML", "html"),
        (None, "t.web", "web"),
        (None, "t.c", "c"),
        (None, "t.bin", "onnx"),
        (None, None, "onnx"),
        ("c", "t.html", "c"),
    ],
)
def test_a_name_goes_before_the_suffix(name: str | None, output: str | None, expected: str) -> None:
    assert format_of(name, Path(output) if output else None) == expected


@pytest.mark.parametrize("config", [ExportConfig(), CExportConfig(), HtmlExportConfig(), WebExportConfig()])
def test_a_config_goes_before_the_suffix(config: "AnyExportConfig") -> None:
    for each in FORMATS.values():
        assert export_config(None, Path(f"t{each.suffix}"), config, {"replace": False}) == type(config)(replace=False)


def test_what_belongs_to_another_format_is_refused() -> None:
    with pytest.raises(UsageError, match="`format` must be one of onnx, c, html, web, got 'exe'"):
        export_config("exe", Path("t"), None, {})
    with pytest.raises(UsageError, match="the config must be a HtmlExportConfig for `format=html`"):
        export_config("html", Path("t"), CExportConfig(), {})
    for name, setting in (
        ("onnx", "title"),
        ("html", "main"),
        ("html", "weights"),
        ("c", "title"),
        ("web", "layout"),
        ("html", "runtime"),
    ):
        with pytest.raises(UsageError, match=f"`{setting}` has no meaning for `format={name}`"):
            export_config(name, Path("t"), None, {setting: "x"})
