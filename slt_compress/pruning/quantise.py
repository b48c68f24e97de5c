"""Weights as a ticket of int8 or int4 values has them: a scale for each row, and whole numbers."""

import torch

MOST = {"int8": 127, "int4": 7}


def round_rows(weights: torch.Tensor, values: str) -> torch.Tensor:
    """Return weights rounded to "int8" or "int4", float32 in their shape, as `ticket.stored.StoredWeights` rounds them:
    each row, an index of the first axis, has the scale at which its largest weight is the largest number.
    """
    rows = weights.reshape(len(weights), -1)
    scales = rows.abs().amax(1, keepdim=True) / MOST[values]
    scales = scales.masked_fill(scales < torch.finfo(torch.float32).tiny, 1)
    return ((rows / scales).round() * scales).view(weights.shape)
