"""`slt-compress doctor`: what works here, for a report of a fault."""

from typing import TYPE_CHECKING, Any

from slt_compress.cli import options as shared
from slt_compress.cli.failures import exit_codes, failure_document
from slt_compress.errors import SltError, few

if TYPE_CHECKING:
    from slt_compress.diagnosis.report import Diagnosis, Finding

EXAMPLES = "Examples:\n\nslt-compress doctor\n\nslt-compress doctor --json"


def doctor(json: shared.Json = False) -> None:
    """Try what the package does here, for a report of a fault; exit with 1 if something required does not work."""
    with exit_codes():
        from slt_compress.cli.console import Printer
        from slt_compress.diagnosis import diagnose

        printer = Printer(json=json)
        found = diagnose.doctor(printer)
        broken = None
        if found.broken:
            number = len(found.broken)
            broken = SltError(
                f"{number} of what is required {'does' if number == 1 else 'do'} not work: {few(found.broken)}"
            )
        document = found.to_json() | (failure_document(broken) if broken else {})
        printer.result(document, [*_system(found), *map(_line, found.packages), *map(_line, found.features)])
        if broken:
            raise broken


def _line(found: "Finding") -> tuple[str, str]:
    if found.status == "ok":
        return found.name, f"ok: {found.detail}, {found.seconds:.1f} s" if found.seconds else found.detail
    return found.name, f"{'FAILED' if found.status == 'failed' else 'missing'}: {found.detail}"


def _system(found: "Diagnosis") -> list[tuple[str, str]]:
    return [
        (name.removesuffix("_bytes").replace("_", " "), _shown(name, value)) for name, value in found.system.items()
    ]


def _shown(name: str, value: Any) -> str:
    from slt_compress.cli.console import size

    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        cards = (f"{card['name']}, {size(card['memory_bytes'])}, bf16 {_shown('', card['bf16'])}" for card in value)
        return "; ".join(cards) or "none"
    return size(value) if name.endswith("_bytes") and isinstance(value, int) else str(value)
