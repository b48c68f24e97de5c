"""The labels that rows of a table name, made into classes and targets; and a test split drawn from such rows."""

import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence

import torch

from slt_compress.errors import DataError, few
from slt_compress.tasks.task import CLASSIFY, Task, task_of

_TEST_SHARE = 5  # every fifth row is drawn


def task_for(several: bool) -> Task:
    """Return the task of images with one label each, or with several."""
    return task_of("binary-cross-entropy") if several else CLASSIFY


def check_known(dataset: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raise DataError, naming them, for classes of a data set that a network does not know."""
    found = sorted(set(names))
    unknown = sorted(set(found) - set(known))
    if not unknown:
        return
    twins = filter(None, (same_name(name, known) for name in unknown))
    raise DataError(
        f"the network tells apart {len(known)} classes ({few(known)}), {dataset} has {len(found)} ({few(found)}); "
        f"it does not know {next(twins, few(unknown))}"
    )


def check_forms(place: str, names: Iterable[str]) -> None:
    """Raise DataError if two names are one text in two forms of Unicode."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise DataError(f"{place} has two names for one class, {same_name(name, [other])}")


def same_name(name: str, others: Iterable[str]) -> str:
    """Return in which way a person reads a name as one of the others; empty if it is another name."""
    for other in others:
        if name != other and unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
            return f"{name!a} and {other!a}, one text in two forms of Unicode"
        if name != other and _folded(name) == _folded(other):
            return f"{name!r} and {other!r}, which differ only in upper and lower case"
    return ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def targets(
    rows: Sequence[Collection[str]], classes: Sequence[str], where: Callable[[int], str], *, several: bool
) -> torch.Tensor:
    """Return what a network is to find in each row's image.

    Args:
        rows: the labels of each.
        classes: names of all labels, in the order of the logits.
        where: what a row is called in a message.
        several: whether a row may have any number of labels; else it has one.

    Returns:
        int64 (n,), or with `several` float32 (n, labels) of 0 and 1.

    Raises DataError for a label that is no class.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    for index, names in enumerate(rows):
        unknown = [name for name in names if name not in numbers]
        if unknown:
            twin = same_name(unknown[0], classes)
            compare = f" (compare {twin})" if twin else ""
            raise DataError(f"{where(index)}: the label {unknown[0]!r} is in no training row{compare}")
    if not several:
        return torch.tensor([numbers[name] for (name,) in rows], dtype=torch.int64)
    found = torch.zeros((len(rows), len(classes)))
    places = [(index, numbers[name]) for index, names in enumerate(rows) for name in names]
    if places:
        found[tuple(torch.tensor(places).T)] = 1
    return found


def draw_test(rows: Sequence[Collection[object]]) -> tuple[list[int], list[int]]:
    """Return the positions of training and test rows: every fifth is drawn for the test, the same ones every time.

    A row stays with training if it is the last one there with some label. Of rows that are too few, or too different,
    none are drawn.
    """
    left: dict[object, int] = {}
    for names in rows:
        for name in names:
            left[name] = left.get(name, 0) + 1
    wanted = max(1, len(rows) // _TEST_SHARE)
    test: list[int] = []
    for index in torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist():
        if len(test) == wanted:
            break
        if all(left[name] > 1 for name in rows[index]):
            test.append(index)
            for name in rows[index]:
                left[name] -= 1
    chosen = set(test)
    return [index for index in range(len(rows)) if index not in chosen], sorted(test)
