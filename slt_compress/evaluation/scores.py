"""How sure a classifier is of each image, and what the image itself is like."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from slt_compress.errors import VerificationError


@dataclass(frozen=True)
class Scores:
    """What a classifier makes of n images, on the CPU.

    Attributes:
        classes: int64 (n, k), the k most probable ones, the most probable first.
        probabilities: float32 (n, k), theirs: a softmax of the logits.
        margin: float32 (n,), how far the most probable class is ahead of the second, as a difference of probabilities.
        entropy: float32 (n,), of all probabilities, in nats.
        largest_logit: float32 (n,).
    """

    classes: torch.Tensor
    probabilities: torch.Tensor
    margin: torch.Tensor
    entropy: torch.Tensor
    largest_logit: torch.Tensor

    @classmethod
    def of(cls, logits: torch.Tensor, top: int = 1) -> "Scores":
        """Return the scores of logits, (n, classes), with the `top` most probable classes.

        Raises VerificationError for logits that are no finite numbers.
        """
        if not torch.isfinite(logits).all():
            raise VerificationError("the network's outputs are not finite numbers: its file is damaged")
        logs = torch.log_softmax(logits.cpu().double(), 1)
        probabilities = logs.exp()
        ranked = probabilities.topk(min(max(top, 2), logits.shape[1]), 1)
        second = ranked.values[:, 1] if logits.shape[1] > 1 else torch.zeros(len(logits))
        return cls(
            classes=ranked.indices[:, :top],
            probabilities=ranked.values[:, :top].float(),
            margin=(ranked.values[:, 0] - second).float(),
            entropy=-(probabilities * logs).sum(1).clamp(max=0).float(),
            largest_logit=logits.cpu().amax(1).float(),
        )

    @classmethod
    def join(cls, parts: "Sequence[Scores]") -> "Scores":
        """Return those of one batch after the other."""
        return cls(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)))


@dataclass(frozen=True)
class InputFeatures:
    """What n images are like, on the CPU, as fractions of the full range of a pixel.

    Attributes:
        mean: float32 (n,), of all pixels and channels.
        contrast: float32 (n,), their standard deviation.
    """

    mean: torch.Tensor
    contrast: torch.Tensor

    @classmethod
    def of(cls, images: torch.Tensor) -> "InputFeatures":
        """Return the features of uint8 (n, channels, size, size)."""
        pixels = images.flatten(1).double().div_(255)
        return cls(pixels.mean(1).float().cpu(), pixels.std(1, correction=0).float().cpu())

    @classmethod
    def join(cls, parts: "Sequence[InputFeatures]") -> "InputFeatures":
        """Return those of one batch after the other."""
        return cls(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)))
