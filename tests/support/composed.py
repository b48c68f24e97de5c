"""Random small networks, put together from blocks of all kinds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.support.families import Family

ACTIVATIONS: list[Callable[[], nn.Module]] = [nn.ReLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.Identity]


def _write_into_itself(x: torch.Tensor) -> torch.Tensor:
    x = x * 1
    x[:, 1:] = x[:, :-1].clone()
    return x


def _write_into_zeros(x: torch.Tensor) -> torch.Tensor:
    found = torch.zeros_like(x)
    found[:, ::2] = x[:, ::2]
    return found


def _write_through_a_view(x: torch.Tensor) -> torch.Tensor:
    x = x * 1
    x[:, :2].mul_(2)
    return x


ODD: list[Callable[[torch.Tensor], torch.Tensor]] = [  # of planes, and do not change the shape
    _write_into_itself,
    _write_into_zeros,
    _write_through_a_view,
    lambda x: x.flip(1) + x,
    lambda x: x.roll(1, 1),
    lambda x: x + torch.stack([x, x * 2], 1).sum(1),
    lambda x: x * torch.cat([x[:, :2], torch.ones_like(x)[:, 2:]], 1),
    lambda x: x.softmax(1),
    lambda x: x.cumsum(1),
    lambda x: x.sort(1)[0],
    lambda x: x.amax((2, 3), keepdim=True) * x,
    lambda x: x * (x.mean(1, keepdim=True) > 0),
    lambda x: x - x.mean(1, keepdim=True),
    lambda x: torch.maximum(x, x.transpose(2, 3)),
    lambda x: F.normalize(x, dim=1),
    lambda x: x @ x.transpose(2, 3),
    lambda x: x.repeat(1, 2, 1, 1)[:, : x.shape[1]],
    lambda x: x.repeat_interleave(2, 1)[:, ::2],
    lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")[:, :, 1:-1, 1:-1],
    lambda x: F.layer_norm(x, x.shape[2:]),
    lambda x: F.batch_norm(x, None, None, training=True),
    lambda x: torch.where(x > 0, x, x.flip(3)),
    lambda x: torch.fft.rfft2(x).abs()[..., :1] + x,
]


class Around(nn.Module):
    """What a function makes of an input and of layers."""

    def __init__(self, forward: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.run = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.run(x, *self.layers)
        return out


def _heads(x: torch.Tensor, qkv: nn.Module, project: nn.Module, heads: int, fused: bool) -> Any:
    batch, tokens, width = x.shape
    query, key, value = qkv(x).view(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    if fused:
        found = F.scaled_dot_product_attention(query, key, value)
    else:
        found = (query @ key.transpose(-2, -1)).softmax(-1) @ value
    return project(found.transpose(1, 2).reshape(batch, tokens, width))


class Composer:
    """Draws blocks, all for one number of channels, which some of them change."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def one_of(self, *choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def network(self) -> tuple[nn.Module, tuple[int, ...]]:
        """Return a network and the shape of its input: an image, or tokens."""
        if self.random.random() < 0.3:
            layers: list[nn.Module] = [nn.Linear(5, 8)]
            layers += [self.token_block(8) for _ in range(self.random.integers(1, 4))]
            layers += [Around(lambda x: x.mean(1)) if self.one_of(True, False) else Around(lambda x: x[:, 0])]
            return nn.Sequential(*layers, *self.head(8)), (6, 5)
        layers, channels = [nn.Conv2d(3, 8, 3, padding=1)], 8
        for _ in range(self.random.integers(1, 5)):
            block, channels = self.plane_block(channels)
            layers.append(block)
        layers += [nn.AdaptiveAvgPool2d(self.one_of(1, 2)), nn.Flatten()]
        side = layers[-2].output_size
        return nn.Sequential(*layers, *self.head(channels * int(side) ** 2)), (3, 8, 8)  # type: ignore[arg-type]

    def head(self, width: int) -> list[nn.Module]:
        """Return one layer, or several."""
        if self.one_of(True, False):
            return [nn.Linear(width, 3)]
        return [nn.Linear(width, 7), self.one_of(*ACTIVATIONS)(), nn.Linear(7, 3)]

    def plane_block(self, channels: int) -> tuple[nn.Module, int]:
        """Return a block, and how many channels it makes."""
        kinds = [
            "conv",
            "grouped",
            "depthwise",
            "norm",
            "act",
            "residual",
            "concat",
            "chunk",
            "excite",
            "pool",
            "group",
        ]
        kinds += ["shuffle", "split", "nested", "slice", "transposed", "pad", "glu", "upsample", "odd", "odd", "twice"]
        kind = self.one_of(*kinds)
        act = self.one_of(*ACTIVATIONS)()
        width = self.one_of(4, 8, 12)
        if kind == "conv":
            return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), act), width
        if kind == "transposed":
            return nn.Sequential(nn.ConvTranspose2d(channels, width, 2, 2), act, nn.MaxPool2d(2)), width
        if kind == "grouped":
            return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, groups=2 if channels % 4 else 4), act), width
        if kind == "depthwise":
            times = self.one_of(1, 2)
            return nn.Conv2d(channels, channels * times, 3, padding=1, groups=channels), channels * times
        if kind == "norm":
            return self.one_of(nn.BatchNorm2d(channels), nn.InstanceNorm2d(channels, affine=True)), channels
        if kind == "act":
            return self.one_of(act, nn.PReLU(channels), nn.PReLU(), nn.ReLU(inplace=True)), channels
        if kind == "residual":
            inner, inside = self.plane_block(channels)
            back = nn.Conv2d(inside, channels, 1)
            return Around(lambda x, inner, back: F.relu(x + back(inner(x))), inner, back), channels
        if kind == "nested":
            first, inside = self.plane_block(channels)
            second, outputs = self.plane_block(inside)
            return nn.Sequential(first, second), outputs
        if kind == "concat":
            one, other = nn.Conv2d(channels, 4, 1), nn.Conv2d(channels, 8, 3, padding=1)
            if self.one_of(True, False):
                return Around(lambda x, one, other: torch.cat([one(x), other(x)], 1), one, other), 12
            return Around(lambda x, one: torch.cat([x, one(x).relu()], 1), one), channels + 4
        if kind == "chunk":
            return Around(lambda x: torch.mul(*x.chunk(2, 1))), channels // 2
        if kind == "glu":
            return nn.Sequential(nn.Conv2d(channels, 8, 1), nn.GLU(1)), 4
        if kind == "split":
            layer = nn.Conv2d(channels // 2, channels // 2, 1)
            return Around(lambda x, layer: torch.cat([(p := x.chunk(2, 1))[0], layer(p[1])], 1), layer), channels
        if kind == "shuffle":
            return Around(lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)), channels
        if kind == "slice":
            return Around(lambda x: x[:, 1:-1] * 2 if x.shape[1] > 4 else x), channels - 2 if channels > 4 else channels
        if kind == "pad":
            return Around(lambda x: F.pad(x, (0, 0, 0, 0, 1, 1))), channels + 2
        if kind == "excite":
            down, up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
            return Around(
                lambda x, down, up: x * up(down(x.mean((2, 3), keepdim=True)).relu()).sigmoid(), down, up
            ), channels
        if kind == "odd":
            return Around(self.one_of(*ODD)), channels
        if kind == "twice":
            layer = nn.Conv2d(channels, channels, 3, padding=1)
            return Around(lambda x, layer: layer(F.relu(layer(x))), layer), channels
        if kind == "group":
            return nn.GroupNorm(channels // 2 if channels % 2 == 0 else 1, channels), channels
        if kind == "upsample":
            return nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(2)), channels
        return self.one_of(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)), channels

    def token_block(self, width: int) -> nn.Module:
        """Return a block that keeps the width."""
        kind, act = self.one_of("attention", "mlp", "gated", "mixer", "plain", "halved"), self.one_of(*ACTIVATIONS)()
        layers: tuple[nn.Module, ...]
        norm = self.one_of(nn.LayerNorm(width), nn.Identity(), nn.RMSNorm(width))
        if kind == "attention":
            heads, fused = self.one_of(2, 4), self.one_of(True, False)
            layers = (norm, nn.Linear(width, 3 * width), nn.Linear(width, width))
            return Around(lambda x, norm, qkv, project: x + _heads(norm(x), qkv, project, heads, fused), *layers)
        if kind == "mlp":
            layers = (norm, nn.Linear(width, 10), act, nn.Linear(10, width))
            return Around(lambda x, norm, one, act, other: x + other(act(one(norm(x)))), *layers)
        if kind == "gated":
            layers = (norm, nn.Linear(width, 20), nn.Linear(10, width))
            return Around(lambda x, norm, one, two: x + two(torch.mul(*one(norm(x)).chunk(2, -1))), *layers)
        if kind == "halved":
            layers = (nn.Linear(width, 12), nn.Linear(6, width))
            return Around(lambda x, one, other: other(F.glu(one(x))), *layers)
        if kind == "mixer":
            layers = (nn.Linear(6, 9), nn.Linear(9, 6))
            return Around(lambda x, one, two: x + two(one(x.transpose(1, 2)).relu()).transpose(1, 2), *layers)
        return nn.Sequential(nn.Linear(width, width), act)


def composed(seed: int) -> Family:
    """Return a random network."""
    shape = Composer(seed).network()[1]
    return Family(lambda: Composer(seed).network()[0], (shape,))
