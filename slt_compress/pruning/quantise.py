"""Weights as a ticket of int8 or int4 values has them, while they are trained."""

import torch

from slt_compress.ticket.scales import ROUNDS, SHARES

MOST = {"int8": 127, "int4": 7}


def round_rows(weights: torch.Tensor, values: str) -> torch.Tensor:
    """Return weights rounded to "int8" or "int4", float32 in their shape.

    Each row, an index of the first axis, has the scale that `ticket.scales` would choose, but for rounding.
    """
    most, rows = MOST[values], weights.reshape(len(weights), -1)
    plain = rows.abs().amax(1, keepdim=True) / most
    plain = plain.masked_fill(plain < torch.finfo(torch.float32).tiny, 1)
    best, numbers = plain, _numbers(rows, plain, most)
    least = _errors(rows, best, numbers)
    for share in SHARES[most]:
        best, numbers, least = _better((best, numbers, least), rows, plain * float(share), most)
    for _ in range(ROUNDS):
        squares = numbers.square().sum(1, keepdim=True)
        moved = torch.where(squares > 0, (rows * numbers).sum(1, keepdim=True) / squares.clamp(min=1), best)
        best, numbers, least = _better((best, numbers, least), rows, moved, most)
    return (numbers * best).view(weights.shape)


_Rounded = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # scales, numbers, squared errors: (rows, 1 or columns)


def _better(there: _Rounded, rows: torch.Tensor, scales: torch.Tensor, most: int) -> _Rounded:
    """Return of each row what loses less: what is there, or what these scales give."""
    numbers = _numbers(rows, scales, most)
    errors = _errors(rows, scales, numbers)
    won = errors < there[2]
    best, kept, least = (torch.where(won, new, old) for new, old in zip((scales, numbers, errors), there, strict=True))
    return best, kept, least


def _numbers(rows: torch.Tensor, scales: torch.Tensor, most: int) -> torch.Tensor:
    return (rows / scales).round_().clamp_(-most, most)


def _errors(rows: torch.Tensor, scales: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    return (scales * numbers).sub_(rows).square_().sum(1, keepdim=True)
