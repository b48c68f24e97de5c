"""Where the files of a data set lie: what no result may be written over. Needs no torch."""

from collections.abc import Iterator
from pathlib import Path

from slt_compress.data.csv_file import find_file, read_rows
from slt_compress.data.reference import PREFIX, parse
from slt_compress.errors import DataError
from slt_compress.files import OF_RESULTS, Places

CSV = "csv"


def inputs(dataset: str, data_dir: Path | None) -> dict[str, Places]:
    """Return what is read of a data set, by the argument that leads there, as `files.check_apart` takes it.

    Raises UsageError for a name hf:… that cannot be read.
    """
    found: dict[str, Places] = {"`data_dir`": data_dir}
    if dataset == CSV and data_dir:
        found["`data_dir`"] = _listed(data_dir)
    if dataset.startswith(PREFIX):
        path = parse(dataset).path
        found["`dataset`"] = _with_files(path) if path.is_dir() else path if path.exists() else None
    return found


def _listed(place: Path) -> Iterator[Path]:
    """Yield a CSV file of images, or the folder with it, and the images. What is wrong with it is told elsewhere."""
    yield place
    try:
        file = find_file(place)
        yield file
        for row in read_rows(file):
            yield row.image
    except DataError:
        return


def _with_files(folder: Path) -> Iterator[Path]:
    """Yield a folder, and the files at its top; results of ours may lie beside them."""
    yield folder
    yield from (file for file in folder.iterdir() if file.suffix not in OF_RESULTS)
