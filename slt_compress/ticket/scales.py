"""The scale of each row of weights that are rounded to whole numbers, such that little is lost.

A weight w becomes q = round(w / scale), within -most to most, and is read as scale·q. The plain scale, max |w| / most,
cuts nothing off. A smaller one cuts off the largest weights and rounds all others more finely: with few numbers, as in
4 bits, that loses less. So several smaller ones are tried, and a few larger ones, with which the largest weight is a
number, too. The best one is then moved to where the error of its numbers has its minimum, Σwq / Σq², for some rounds,
as in Lloyd's algorithm (IEEE Trans. Inf. Theory 28, 1982). Nothing is drawn: the same weights get the same scales, and
weights that have been rounded once stay as they are, but for a last bit in rows of a few.

Left out: numbers that are chosen by what the network computes of them, as GPTQ does; that needs images.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int8]

SHARES = {  # of the plain scale, by the largest number
    127: [*np.linspace(0.8, 0.975, 8), *(127 / number for number in range(126, 120, -1))],
    7: [*np.linspace(0.4, 0.97, 20), 7 / 6, 7 / 5],
}
ROUNDS = 4  # of moving the best scales; later ones change the error in the fourth digit
_SMALLEST = np.finfo(np.float32).tiny


def quantised(weights: Floats, rows: npt.NDArray[np.int64], count: int, most: int) -> tuple[Floats, Numbers]:
    """Return the scale of each row, positive float32 (count,), and the number of each weight, int8 (n,).

    The sum of squared errors of a row is never larger than with its plain scale.

    Args:
        weights: finite float32 (n,).
        rows: the row of each weight, from 0 to count - 1, int64 (n,).
        count: number of rows.
        most: the largest number, 127 or 7.
    """
    largest = np.zeros(count, np.float32)
    np.maximum.at(largest, rows, np.abs(weights))
    plain = largest / np.float32(most)
    empty = plain < _SMALLEST  # nothing, or numbers too small for a scale
    plain[empty] = 1
    best, least = plain, _errors(weights, plain, rows, most)
    for share in SHARES[most]:
        best, least = _better(best, least, plain * np.float32(share), weights, rows, most)
    for _ in range(ROUNDS):
        numbers = _numbers(weights, best, rows, most).astype(np.float64)
        squares = np.bincount(rows, numbers * numbers, count)
        products = np.bincount(rows, weights * numbers, count)
        moved = np.divide(products, squares, out=best.astype(np.float64), where=squares > 0).astype(np.float32)
        best, least = _better(best, least, moved, weights, rows, most)
    return best, _numbers(weights, best, rows, most)


def _better(
    best: Floats, least: npt.NDArray[np.float64], other: Floats, weights: Floats, rows: npt.NDArray[np.int64], most: int
) -> tuple[Floats, npt.NDArray[np.float64]]:
    """Return for each row the scale that loses less, and its error; the first one where both lose the same."""
    other = np.where(other < _SMALLEST, best, other)
    errors = _errors(weights, other, rows, most)
    won = errors < least
    return np.where(won, other, best), np.where(won, errors, least)


def _numbers(weights: Floats, scales: Floats, rows: npt.NDArray[np.int64], most: int) -> Numbers:
    numbers: Numbers = np.clip(np.rint(weights / scales[rows]), -most, most).astype(np.int8)
    return numbers


def _errors(weights: Floats, scales: Floats, rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.float64]:
    """Return the sum of squared errors of each row, float64 (count,), of weights as a reader finds them."""
    with np.errstate(over="ignore"):  # a scale with which a weight is read as infinite never wins
        found = scales[rows] * _numbers(weights, scales, rows, most).astype(np.float32)
    lost = found.astype(np.float64) - weights
    return np.bincount(rows, lost * lost, scales.size).astype(np.float64)  # of no weights at all they are integers
