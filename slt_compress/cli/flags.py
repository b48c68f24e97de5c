"""Arguments of the package as the options of the command line.

Messages of the package name arguments as Python callers know them, between backticks: `sparsity`, or with a value
`weights=dense`.
"""

import re

# Arguments that the command line knows under another name than Python.
_OPTIONS = {
    "learning_rate": "lr",
    "initialiser": "init",
    "model_arguments": "model_arg",
    "dims": "dim",
    "histograms": "merge",
}
# Arguments that it does not know, as they are objects of the caller's.
_PYTHON_ALONE = {"train", "test", "validation", "loss", "metric", "collate_fn", "inputs", "detailed"}


def as_flags(text: str) -> str:
    """Return a message with `name` as --name, and `name=value` as --name value; what only Python has as name=."""

    def flag(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name in _PYTHON_ALONE:
            return f"{name}= in Python"
        option = "--" + _OPTIONS.get(name, name).replace("_", "-")
        return option if value is None else f"{option} {value}"

    return re.sub(r"`([a-z][a-z_]*)(?:=([^`]+))?`", flag, text)
