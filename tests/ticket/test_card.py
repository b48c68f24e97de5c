"""The model card: YAML that the hub reads, text that nothing in a ticket can change, and commands that work."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slt_compress import Ticket
from slt_compress.errors import UsageError, one_line
from slt_compress.models.spec import PythonModel
from slt_compress.ticket.card import _yaml, card, search_command
from slt_compress.ticket.sample import with_values
from tests.support.commands import commands, options
from tests.support.process import Run


def front(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return loaded


def changed(ticket: Ticket, **fields: Any) -> Ticket:
    return replace(ticket, provenance=replace(ticket.provenance, **fields))


def test_the_hub_reads_what_the_ticket_records(ticket: Ticket) -> None:
    text = card(ticket, "me/net", "apache-2.0")
    data = ModelCard(text).data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "apache-2.0",
        "slt-compress",
        "image-classification",
    )
    assert {"slt-compress", "lottery-ticket"} <= set(data.tags)
    assert data.datasets is None  # digits are not on the hub
    [result] = data.eval_results
    assert (result.task_type, result.dataset_type, result.metric_type) == ("image-classification", "digits", "accuracy")
    assert result.metric_value == ticket.provenance.metrics["accuracy"]
    for fact in (ticket.digest, f"{ticket.kept:,} of {ticket.weight_count:,}", f"{len(ticket.to_bytes()):,} bytes"):
        assert fact in text
    assert 'Ticket.from_pretrained("me/net").restore()' in text.replace("\nmodule = ticket", "")
    assert front(card(ticket, "me/net"))["license"] == "unknown"
    assert front(card(changed(ticket, dataset="cifar10"), "me/net"))["datasets"] == ["uoft-cs/cifar10"]
    bare = front(card(changed(ticket, metrics={}), "me/net"))
    assert not {"model-index", "metrics"} & set(bare)


def test_trained_weights_make_no_lottery_ticket(ticket: Ticket) -> None:
    stored = with_values(ticket, "int8")
    text = card(stored, "me/net")
    assert "lottery" not in text
    assert "are trained, and those that are kept are stored, as int8 with a scale for each row. The file" in text
    assert f"| stored weights | {stored.values_bytes:,} bytes, as int8 with a scale for each row |" in text
    assert search_command(stored) == ""
    for name in ("teacher", "started_from", "rounds"):  # what another search, or another command, has found
        method = replace(ticket.provenance.method, settings={**ticket.provenance.method.settings, name: 1})
        assert search_command(changed(ticket, method=method)) == ""
    part = card(with_values(ticket, "fp16", {ticket.layers[0].name}), "me/net")
    assert "stored, as fp16. Those of 1 of its 3 layers follow from a seed instead." in part


@pytest.mark.parametrize("name", ["MIT License", "", "mit\nx: y", "Apache"])
def test_a_license_is_one_of_the_hub_s(ticket: Ticket, name: str) -> None:
    with pytest.raises(UsageError, match=r"^`license` must be as the hub lists it, such as apache-2\.0 or other, got"):
        card(ticket, "me/net", name)


LEAF = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
KEYS = st.sampled_from(["license", "model-index", "pipeline_tag"])
TREE = st.recursive(
    LEAF,
    lambda one: st.one_of(st.lists(one, min_size=1), st.dictionaries(KEYS, one, min_size=1)),
    max_leaves=10,
)


def in_lines(value: Any) -> Any:
    """Return a tree with its texts as they are written."""
    if isinstance(value, dict):
        return {key: in_lines(one) for key, one in value.items()}
    if isinstance(value, list):
        return [in_lines(one) for one in value]
    return one_line(value) if isinstance(value, str) else value


@given(tree=st.dictionaries(KEYS, TREE, min_size=1))
def test_any_front_matter_is_yaml(tree: dict[str, Any]) -> None:
    found = yaml.safe_load("\n".join(_yaml(tree)))
    assert found == in_lines(tree)
    assert str(found) == str(in_lines(tree))  # 1 is no True, and 1e-05 no text


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1))
def test_names_in_a_ticket_become_no_markup(ticket: Ticket, text: str) -> None:
    """Names of classes and data sets may be anything: headings, tables, images, YAML, ends of lines."""
    nasty = f"{text}| # <img src=x> `a` ![x](y)\n---\nlicense: gpl"
    made = changed(ticket, dataset=nasty, classes=[nasty], library=nasty, metrics={nasty: 0.5})
    found = card(made, "me/net", "mit")
    assert front(found)["license"] == "mit"
    plain = card(changed(ticket, dataset="d", classes=["c"], library="l", metrics={"m": 0.5}), "me/net", "mit")
    assert found.count("\n") == plain.count("\n")
    without_code = re.sub(r"`[^`\n]*`", "", found.split("\n---\n", 1)[1])
    assert "<img" not in without_code
    assert "![x]" not in without_code


@pytest.mark.parametrize(
    "words",
    [
        "--seed 3 --sparsity 0.83 --batch-size 64 --max-steps 6",
        "--method edge-popup --scope layer --freeze-ratio 0.3 --lock-ratio 0.1 --max-steps 4 --lr 0.01",
        "--method random --init uniform",
        "--recipe paper --max-steps 4 --augment crop --init signed-constant",
        "--recipe paper --max-steps 2 --precision bf16",
        "--max-bytes 5000 --max-steps 8",
        "--max-bytes 5KB --method random",
    ],
)
def test_its_command_finds_the_same_masks(invoke: Run, tmp_path: Path, words: str) -> None:
    assert invoke("search", "lenet-300-100", *words.split(), "--output", "a.safetensors").returncode == 0
    first = Ticket.load(tmp_path / "a.safetensors")
    _, *command = shlex.split(search_command(first))
    assert f"slt-compress {shlex.join(command)}\n" in card(first, "me/net")
    assert invoke(*command, "--output", "b.safetensors").returncode == 0
    assert Ticket.load(tmp_path / "b.safetensors").to_bytes() == first.to_bytes()


def test_commands_are_shown_that_there_are(ticket: Ticket) -> None:
    own = changed(ticket, model=PythonModel("net.py:build"))
    assert search_command(own) == ""
    assert "ticket.apply_to(build())" in card(own, "me/net")
    folder = changed(ticket, dataset="imagefolder")
    assert "--dataset imagefolder --data-dir FOLDER" in search_command(folder)
    for one in (ticket, own, folder, changed(ticket, dataset="hf")):
        for line in re.findall(r"^slt-compress .*", card(one, "me/net"), re.MULTILINE):
            name, *words = line.split()[1:]
            assert name in commands()
            assert {word for word in words if word.startswith("--")} <= set(options(name))
