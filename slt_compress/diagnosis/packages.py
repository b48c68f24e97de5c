"""Which packages are installed, whether they can be imported, and whether they are new enough."""

import importlib
import platform
import re
from collections.abc import Iterator
from importlib import metadata

from slt_compress.diagnosis.report import Finding, NotInstalledError, tried
from slt_compress.version import __version__

REQUIRED = {  # name for pip -> name to import
    "filelock": "filelock",
    "matplotlib": "matplotlib",
    "ml-dtypes": "ml_dtypes",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnx-ir": "onnx_ir",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "pillow": "PIL",
    "rich": "rich",
    "safetensors": "safetensors",
    "scikit-learn": "sklearn",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
    "typer": "typer",
}
OPTIONAL = {  # likewise, and what needs it
    "datasets": ("datasets", "data sets of Hugging Face"),
    "pyarrow": ("pyarrow", "data sets of Hugging Face"),
    "huggingface_hub": ("huggingface_hub", "tickets on the Hugging Face hub"),
    "tensorboard": ("tensorboard", "logs for TensorBoard"),
    "ziglang": ("ziglang", "HTML pages"),
}
_LOWEST_PYTHON = (3, 11)
_NUMBER = re.compile(r"\d+(?:\.\d+)*")


def packages() -> Iterator[Finding]:
    """Yield Python and this package, then each package that is required, then those that some features need."""
    version = platform.python_version()
    yield Finding("python", "ok" if release(version) >= _LOWEST_PYTHON else "failed", version)
    yield Finding("slt-compress", "ok", __version__)
    lowest = _lowest()
    for name, module in REQUIRED.items():
        yield tried(name, lambda name=name, module=module: _version(name, module, lowest, ""), required=True)  # type: ignore[misc]
    for name, (module, use) in OPTIONAL.items():
        yield tried(
            name,
            lambda name=name, module=module, use=use: _version(name, module, lowest, f", for {use}"),  # type: ignore[misc]
            required=False,
        )


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without what says that it is no release."""
    found = _NUMBER.match(version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _version(name: str, module: str, lowest: dict[str, str], use: str) -> str:
    """Return the version of a package that can be imported and is new enough. Raises NotInstalledError for others."""
    least = lowest.get(name)
    advice = f'pip install "{name}>={least}"' if least else f"pip install {name}"
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise NotInstalledError(f"{advice}{use}") from error
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:  # such as one that lies in the current folder
        version = str(getattr(imported, "__version__", "unknown"))
    if least and release(version) < release(least):
        raise NotInstalledError(f"{version} is too old: {advice}{use}")
    return version


def _lowest() -> dict[str, str]:
    """Return the lowest versions that this package asks for, by name; none if it is not installed."""
    try:
        asked = metadata.requires("slt-compress") or []
    except metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([A-Za-z0-9_.-]+)>=([\d.]+)", text) for text in asked)
    return {match[1].lower(): match[2] for match in found if match}
