"""The log of predictions: what is written is read again, whatever is in it, and what is damaged is named."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slt_compress.errors import DataError, UsageError
from slt_compress.prediction.log import FEATURES, Prediction, read_log, write_log

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text == text.strip())
SHARE = st.floats(0, 1, width=32)
PREDICTIONS = st.builds(
    Prediction,
    path=TEXT,
    ranked=st.lists(st.tuples(TEXT, SHARE), min_size=3, max_size=3).map(tuple),
    margin=SHARE,
    features=st.tuples(SHARE, st.floats(-1e6, 1e6, width=32), SHARE, SHARE),
    label=TEXT,
)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@given(predictions=st.lists(PREDICTIONS, min_size=1, max_size=3))
def test_what_is_written_is_read_again(
    suffix: str, predictions: list[Prediction], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / f"log{suffix}"
    assert write_log(path, predictions) == len(predictions)
    for one, row in zip(predictions, read_log(path), strict=True):
        assert (row["path"], row["class"], row["label"]) == (one.path, one.name, one.label)
        numbers = [one.probability, one.margin, *one.features]
        assert [row[name] for name in ("probability", "margin", *FEATURES)] == pytest.approx(numbers, rel=1e-6)


def test_csv_has_the_columns_that_scripts_depend_on(tmp_path: Path) -> None:
    one = Prediction("a,b.png", (("cat", 0.75), ("dog", 0.2)), 0.55)
    write_log(tmp_path / "log.csv", [one])
    assert (tmp_path / "log.csv").read_bytes() == (
        b'path,class,probability,margin,class2,probability2\n"a,b.png",cat,0.75,0.55,dog,0.2\n'
    )
    write_log(tmp_path / "log.jsonl", [one])
    assert json.loads((tmp_path / "log.jsonl").read_bytes())["class2"] == "dog"


def test_bytes_of_a_file_name_that_are_no_text_come_back(tmp_path: Path) -> None:
    for suffix in (".csv", ".jsonl"):
        path = tmp_path / f"log{suffix}"
        write_log(path, [Prediction("a\udcff.png", (("cat", 1.0),), 1.0)])
        assert next(read_log(path))["path"] == "a\udcff.png"


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[Prediction]:
        yield Prediction("a", (("cat", 1.0),), 1.0)
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        write_log(tmp_path / "log.csv", broken())
    assert write_log(tmp_path / "none.csv", []) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("l.csv", "", "is empty"),
        ("l.csv", "a,b\n1,2\n", "has the columns a, b, expected some of class"),
        ("l.csv", "path\nx\n", "expected some of class"),
        ("l.csv", "class,class\nx,y\n", "has the column class twice"),
        ("l.csv", "class,margin\ncat,0.5\ncat\n", "line 3: 1 values for 2 columns"),
        ("l.csv", "class,margin\ncat,much\n", "line 2: margin is 'much', expected a number from 0 to 1"),
        ("l.csv", "class,margin\ncat,1.5\n", "margin is '1.5'"),
        ("l.csv", "entropy\nnan\n", "entropy is 'nan', expected a finite number"),
        ("l.csv", 'class\n"cat', "line 2: unexpected end of data"),
        ("l.jsonl", '{"class": "cat"}\n{"class": "ca', "line 2: no JSON object"),
        ("l.jsonl", "[1]\n", "line 1: no JSON object"),
        ("l.jsonl", '{"margin": [1]}\n', "line 1: margin is '[1]'"),
        ("l.jsonl", "[" * 10**5, "line 1: no JSON object"),
    ],
)
def test_a_damaged_log_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as failure:
        list(read_log(tmp_path / name))
    assert words in str(failure.value)
    assert name in str(failure.value)


def test_cells_that_hold_nothing_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("\ufeffclass,label,margin,other\ncat,,,7\n\ndog,dog,0.5,\n")
    assert list(read_log(tmp_path / "l.csv")) == [{"class": "cat"}, {"class": "dog", "label": "dog", "margin": 0.5}]


def test_other_names_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.csv or \.jsonl"):
        list(read_log(tmp_path / "log.txt"))
    with pytest.raises(DataError, match="No such file"):
        list(read_log(tmp_path / "log.csv"))
