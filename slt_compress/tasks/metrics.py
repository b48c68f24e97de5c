"""Metrics by name, each of a whole split on the CPU; the higher, the better."""

import torch


def accuracy(predictions: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the share of predictions, int64 (n, …), that equal their targets; negative targets do not count."""
    counted = int((targets >= 0).sum())
    return int((predictions == targets).sum()) / counted if counted else 0.0


def mean_iou(predictions: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the mean over classes of intersection over union, of int64 (n, height, width) each.

    A class that occurs in neither does not count, nor do places with a negative target.
    """
    predictions, targets = predictions[targets >= 0], targets[targets >= 0]
    classes = torch.unique(torch.cat([predictions.flatten(), targets.flatten()]))
    shares = []
    for one in classes.tolist():
        found, true = predictions == one, targets == one
        shares.append(int((found & true).sum()) / int((found | true).sum()))
    return sum(shares) / len(shares) if shares else 0.0


def f1(predictions: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the micro-averaged F1 of bool predictions (n, labels) against 0/1 targets; 1 where there is no label."""
    true = targets > 0.5
    hits = int((predictions & true).sum())
    counted = int(predictions.sum()) + int(true.sum())
    return 2 * hits / counted if counted else 1.0


def r2(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the coefficient of determination of float (n, …), averaged over the columns that are not constant."""
    found, true = outputs.double().reshape(len(outputs), -1), targets.double().reshape(len(targets), -1)
    spread = (true - true.mean(0)).square().sum(0)
    varies = spread > 0
    if not varies.any():
        return 0.0
    return float((1 - (found - true).square().sum(0)[varies] / spread[varies]).mean())
