"""The rows of a CSV file, as they are written. What is refused of them is tested with `listing`."""

from pathlib import Path

from slt_compress.data.csv_file import find_file, read_rows


def test_rows_have_their_line_their_place_and_their_labels(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text('split,path,label\ntrain,"a, b.png",cat\n\nVal,/data/c.png, dog ;cat;dog\n', encoding="utf-8-sig")
    first, second = read_rows(find_file(tmp_path))
    assert (first.line, first.image, first.labels, first.split) == (2, tmp_path / "a, b.png", ("cat",), "train")
    assert (second.line, second.image, second.labels, second.split) == (4, Path("/data/c.png"), ("dog", "cat"), "val")
