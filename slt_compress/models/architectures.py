"""The package's own architectures, by name.

They carry a BatchNorm without affine parameters around every gated layer. A frozen layer cannot learn the scale of its
output, and the normalisation gives it one that does not depend on how many of its weights are kept.

Names with a hyphen or a depth that no ImageNet network has cannot be mistaken for timm's: `resnet20-w4` is the CIFAR
ResNet-20 with four times the channels, `wide_resnet28_10` the Wide ResNet of depth 28 and width 10.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from slt_compress.models.spec import ModelSpec

CUSTOMARY_SIZE = 32  # px; these networks take images of any size
_FASTNET_STEM = 24  # channels
_WIDEST = 16  # times the channels of the narrowest
_MOST_CHANNELS = 1_024  # of a layer of a fastnet
_LEAST_FASTNET = 16  # px, so that the last group has more than one pixel
_DEEPEST = 100  # layers of a Wide ResNet


@dataclass(frozen=True)
class Architecture:
    """How a network is built from the number of classes and channels and the size of the images in a spec."""

    constructor: "Callable[[ModelSpec], nn.Module]"
    minimum_size: int = 1  # px: smaller images are enlarged to it


def find(name: str) -> Architecture | None:
    """Return the architecture of this name, or None."""
    if name in _FIXED:
        return _FIXED[name]
    if found := re.fullmatch(r"fastnet-([1-9]\d{0,3})-([1-9]\d{0,3})-([1-9]\d{0,3})", name, re.ASCII):
        widths = int(found[1]), int(found[2]), int(found[3])
        if max(widths) <= _MOST_CHANNELS:
            return Architecture(lambda spec: FastNet(spec, widths), _LEAST_FASTNET)
    if found := re.fullmatch(r"resnet(20|32|44|56|110)(?:-w([1-9]\d?))?", name, re.ASCII):
        depth, width = int(found[1]), int(found[2] or 1)
        if width <= _WIDEST:
            return Architecture(lambda spec: ResNet(spec, depth, width))
    if found := re.fullmatch(r"wide_resnet([1-9]\d{1,2})_([1-9]\d?)", name, re.ASCII):
        depth, width = int(found[1]), int(found[2])
        if depth % 6 == 4 and depth <= _DEEPEST and width <= _WIDEST:
            return Architecture(lambda spec: WideResNet(spec, depth, width))
    return None


def _linear(features: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(features, outputs, bias=False), nn.BatchNorm1d(outputs, affine=False)]


def _conv(channels: int, outputs: int, kernel: int, padding: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, outputs, kernel, padding=padding, bias=False), *_norm_relu(outputs)]


def _norm_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, affine=False), nn.ReLU()]


def _conv3x3(channels: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False)


def _lenet_300_100(spec: "ModelSpec") -> nn.Module:
    """LeNet-300-100 of LeCun et al. 1998, with ReLU and BatchNorm."""
    return nn.Sequential(
        nn.Flatten(),
        *_linear(spec.channels * spec.input_size**2, 300),
        nn.ReLU(),
        *_linear(300, 100),
        nn.ReLU(),
        *_linear(100, spec.classes),
    )


def _lenet_5(spec: "ModelSpec") -> nn.Module:
    """LeNet-5 of LeCun et al. 1998, with ReLU, max-pooling and BatchNorm."""
    side = (spec.input_size // 2 - 4) // 2
    return nn.Sequential(
        *_conv(spec.channels, 6, 5, padding=2),
        nn.MaxPool2d(2),
        *_conv(6, 16, 5, padding=0),
        nn.MaxPool2d(2),
        nn.Flatten(),
        *_linear(16 * side**2, 120),
        nn.ReLU(),
        *_linear(120, 84),
        nn.ReLU(),
        *_linear(84, spec.classes),
    )


def _conv_n(pairs: int) -> "Callable[[ModelSpec], nn.Module]":
    """Conv-2/4/6 of Frankle & Carbin 2019 and Conv-8 of Ramanujan et al. 2020, with BatchNorm."""

    def construct(spec: "ModelSpec") -> nn.Module:
        layers: list[nn.Module] = []
        channels, side = spec.channels, spec.input_size
        for width in (64, 128, 256, 512)[:pairs]:
            layers += [
                *_conv(channels, width, 3, padding=1),
                *_conv(width, width, 3, padding=1),
                nn.MaxPool2d(2),
            ]
            channels, side = width, side // 2
        layers += [nn.Flatten(), *_linear(channels * side**2, 256), nn.ReLU(), *_linear(256, 256), nn.ReLU()]
        return nn.Sequential(*layers, *_linear(256, spec.classes))

    return construct


class FastNet(nn.Module):
    """A plain network of few, wide convolutions, after those that train fastest on CIFAR-10.

    A 2×2 convolution to 24 channels, three groups of two 3×3 convolutions of which the first is max-pooled, and the
    largest value of each channel into a linear layer: the shape of Jordan 2024 (arXiv:2404.00498), without its trained
    parts, and with ReLU, which as a frozen network is as accurate as GELU and costs half (docs/methods.md).
    """

    def __init__(self, spec: "ModelSpec", widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(spec.channels, _FASTNET_STEM, 2, padding=0))
        groups, channels = [], _FASTNET_STEM
        for width in widths:
            pooled = nn.Sequential(_conv3x3(channels, width), nn.MaxPool2d(2), *_norm_relu(width))
            groups.append(nn.Sequential(pooled, nn.Sequential(*_conv(width, width, 3, padding=1))))
            channels = width
        self.groups = nn.Sequential(*groups)
        self.pool = nn.MaxPool2d((spec.input_size - 1) // 8)
        self.fc = nn.Sequential(*_linear(channels, spec.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.groups(self.stem(x))  # (n, width, size/8, size/8), rounded down
        logits: torch.Tensor = self.fc(self.pool(x).flatten(1))
        return logits


class ResNet(nn.Module):
    """ResNet for small images, He et al. 2015 (arXiv:1512.03385), section 4.2: depth 6n + 2, 16 to 64 channels.

    Where the resolution halves, the shortcut takes every second pixel and fills the new channels with zeros (option A,
    theirs on CIFAR): it has no weight, so a ticket spends no bit on it.
    """

    def __init__(self, spec: "ModelSpec", depth: int, width: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = _conv3x3(spec.channels, 16 * width)
        self.bn1 = nn.BatchNorm2d(16 * width, affine=False)
        self.layer1 = _stage(BasicBlock, 16 * width, 16 * width, blocks, stride=1)
        self.layer2 = _stage(BasicBlock, 16 * width, 32 * width, blocks, stride=2)
        self.layer3 = _stage(BasicBlock, 32 * width, 64 * width, blocks, stride=2)
        self.fc = nn.Sequential(*_linear(64 * width, spec.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))  # (n, 64·width, size/4, size/4)
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, each with BatchNorm, around a shortcut without weights."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs, affine=False)
        self.conv2 = _conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs, affine=False)
        self.stride, self.new_channels = stride, outputs - channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(branch + x)


class WideResNet(nn.Module):
    """Wide ResNet, Zagoruyko & Komodakis 2016 (arXiv:1605.07146): depth 6n + 4, BatchNorm and ReLU ahead of each
    convolution, and a 1×1 convolution as the shortcut where the channels change.
    """

    def __init__(self, spec: "ModelSpec", depth: int, width: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = _conv3x3(spec.channels, 16)
        self.layer1 = _stage(PreactivationBlock, 16, 16 * width, blocks, stride=1)
        self.layer2 = _stage(PreactivationBlock, 16 * width, 32 * width, blocks, stride=2)
        self.layer3 = _stage(PreactivationBlock, 32 * width, 64 * width, blocks, stride=2)
        self.bn = nn.BatchNorm2d(64 * width, affine=False)
        self.fc = nn.Sequential(*_linear(64 * width, spec.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        logits: torch.Tensor = self.fc(F.relu(self.bn(x)).mean((2, 3)))
        return logits


class PreactivationBlock(nn.Module):
    """BatchNorm, ReLU, 3×3 convolution, twice, around a shortcut."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels, affine=False)
        self.conv1 = _conv3x3(channels, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs, affine=False)
        self.conv2 = _conv3x3(outputs, outputs)
        changes = stride > 1 or channels != outputs
        self.shortcut = nn.Conv2d(channels, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.bn1(x))
        branch: torch.Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return branch + (x if self.shortcut is None else self.shortcut(active))


def _stage(
    block: type[BasicBlock] | type[PreactivationBlock], channels: int, outputs: int, blocks: int, stride: int
) -> nn.Sequential:
    """Return blocks in a row; the first changes channels and resolution."""
    return nn.Sequential(block(channels, outputs, stride), *(block(outputs, outputs, 1) for _ in range(blocks - 1)))


_FIXED = {
    "lenet-300-100": Architecture(_lenet_300_100),
    "lenet-5": Architecture(_lenet_5, minimum_size=12),
    "conv2": Architecture(_conv_n(1), minimum_size=2),
    "conv4": Architecture(_conv_n(2), minimum_size=4),
    "conv6": Architecture(_conv_n(3), minimum_size=8),
    "conv8": Architecture(_conv_n(4), minimum_size=16),
    "fastnet": Architecture(lambda spec: FastNet(spec, (64, 256, 256)), _LEAST_FASTNET),
}
NAMES = (
    *_FIXED,
    "fastnet-32-128-128",
    "resnet20",
    "resnet20-w4",
    "resnet32",
    "resnet56",
    "wide_resnet16_4",
    "wide_resnet28_10",
)
