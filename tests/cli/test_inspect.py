"""`inspect`: every byte is accounted for, and text from a file stays text."""

from dataclasses import replace
from pathlib import Path

from slt_compress import Ticket
from slt_compress.ticket.sample import with_values
from tests.support.commands import Searched, document, refused
from tests.support.documents import rich_ticket
from tests.support.process import Run


def test_inspect_accounts_for_every_byte(searched: Searched, invoke: Run) -> None:
    shown = document(invoke("inspect", searched[0], "--json"))
    assert shown["bytes"] == searched[0].stat().st_size
    assert sum(layer["bytes"] for layer in shown["layers"]) == shown["mask_bytes"]
    assert sum(layer["weights"] for layer in shown["layers"]) == 50_200
    assert set(shown["layers"][0]) >= {"name", "shape", "weights", "kept", "codec", "bytes", "bound_bytes"}
    assert shown["method"]["name"] == "crbg"
    text = invoke("inspect", searched[0]).stdout
    for word in ("1.weight", "300×64", "rice", "Shannon bound", "digits", "slt-compress evaluate"):
        assert word in text


def test_stored_weights_are_counted_by_layer(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    old = Ticket.load(searched[0])
    ticket = with_values(old, "int4", {old.layers[1].name})
    ticket.save(tmp_path / "t.safetensors")
    shown = document(invoke("inspect", "t.safetensors", "--json"))
    assert [layer["values"] for layer in shown["layers"]] == ["int4", None, "int4"]
    assert sum(layer["values_bytes"] for layer in shown["layers"]) == shown["values_bytes"] == ticket.values_bytes > 0
    lines = " ".join(invoke("inspect", "t.safetensors").stdout.split())
    kept = sum(layer.kept for layer in ticket.layers if layer.values)
    share = ticket.values_bytes / shown["bytes"]
    assert f"{ticket.values_bytes:,} bytes, {share:.1%} of the file: {kept:,} trained weights of 2 of 3" in lines
    assert "from the seed 0" in lines
    assert "value bytes" not in invoke("inspect", searched[0]).stdout


def test_class_names_from_a_file_are_plain_text(searched: Searched, invoke: Run, tmp_path: Path) -> None:
    ticket = Ticket.load(searched[0])
    hostile = ["[bold]x[/bold]\x1b[2J", *ticket.provenance.classes[1:]]
    replace(ticket, provenance=replace(ticket.provenance, classes=hostile)).save(tmp_path / "t.safetensors")
    done = invoke("inspect", "t.safetensors")
    assert "[bold]x[/bold]\\x1b[2J" in done.stdout


def test_a_folder_is_no_ticket(invoke: Run, tmp_path: Path) -> None:
    refused(invoke("inspect", ".", "--json"), 2, ". is a folder, expected a file", tmp_path)


def test_what_is_shown_of_a_classifier_stays_what_it_was(searched: Searched, invoke: Run) -> None:
    shown = document(invoke("inspect", searched[0], "--json"))
    assert list(shown["model"]) == ["builder", "name", "classes", "channels", "input_size", "small_input"]
    assert shown["version"] == 1
    assert shown["inputs"] == [{"shape": [1, 8, 8], "dtype": "float32"}]
    assert "inputs" not in invoke("inspect", searched[0]).stdout


def test_another_network_is_shown_with_its_task_and_tensors(invoke: Run, tmp_path: Path) -> None:
    ticket = rich_ticket()
    ticket.with_metrics(r2=0.875).save(tmp_path / "t.safetensors")
    shown = document(invoke("inspect", "t.safetensors", "--json"))
    parts = ("mask_bytes", "statistics_bytes", "parameters_bytes", "values_bytes")
    assert shown["bytes"] > sum(shown[part] for part in parts)
    assert [shown[part] for part in parts] == [
        *(ticket.mask_bytes, ticket.statistics_bytes, ticket.parameters_bytes, ticket.values_bytes),
    ]
    assert (shown["version"], shown["granularity"], shown["rewind_steps"]) == (2, "mixed", 500)
    assert shown["task"] == {"name": "regression", "loss": "smooth_l1", "metric": "größte Abweichung"}
    assert shown["model"] == {"builder": "python", "name": "nets:Net.<locals>.make"}
    assert [layer["coats"] for layer in shown["layers"]] == [3, 1, 1, 1, 1, 1]
    assert [layer["values"] for layer in shown["layers"]] == [None, None, "fp32", "fp16", "int8", "int4"]
    lines = " ".join(invoke("inspect", "t.safetensors").stdout.split())
    for words in (
        "regression: smooth_l1, measured by größte Abweichung",
        "inputs int64 7, float32 scalar",
        "outputs float32 3×4",
        "rewound to step 500",
        "metrics r2 0.875, as reported",
        "trained on digits method",
        f"values {ticket.values_bytes:,}, header",
        "format version 2",
    ):
        assert words in lines
