"""Small networks, one of each kind of connection between layers, with random values everywhere."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from slt_compress.models.registry import build_model, resolve_model

IMAGE = ((3, 16, 16),)


@dataclass(frozen=True)
class Family:
    """A network, and what it takes.

    Attributes:
        build: makes it.
        shapes: of one example of each input; of several numbers, or of token ids where it ends with "ids".
    """

    build: Callable[[], nn.Module]
    shapes: tuple[Any, ...] = field(default=IMAGE)

    def module(self, seed: int = 0) -> nn.Module:
        """Return the network in evaluation mode, all its values random, none of them zero or of no effect."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.build().eval()
            with torch.no_grad():
                for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                    if name.endswith(("bias", "running_mean")):
                        tensor.normal_(0, 0.3)
                    elif isinstance(tensor, nn.Parameter) and tensor.ndim > 1:
                        tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
                    elif isinstance(tensor, nn.Parameter) or name.endswith("running_var"):
                        tensor.copy_(0.5 + torch.rand(tensor.shape))
        return module

    def inputs(self, batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Return a batch of random examples."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            torch.randint(7, (batch, *shape[:-1]), generator=generator)
            if shape[-1] == "ids"
            else torch.randn(batch, *shape, generator=generator)
            for shape in self.shapes
        )


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 7), nn.GELU(), nn.Linear(7, 4))


def cnn() -> nn.Module:
    """LeNet: what is flattened gives several columns to a channel."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 10), nn.Tanh(), nn.Linear(10, 4)),
    )


class Residual(nn.Module):
    """A block with a sum, and with a projection where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.way = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.second(F.relu(self.first(x)))) + self.way(x))


def resnet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3), Residual(6, 6), Residual(6, 8), Residual(8, 8)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    )


def grouped() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=4), nn.BatchNorm2d(12), nn.SiLU()),
        *(nn.Conv2d(12, 24, 3, groups=12), nn.Conv2d(24, 6, 1, groups=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4)),
    )


class Branches(nn.Module):
    """Inception: branches that are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.three = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1), nn.Conv2d(6, 5, 3, padding=1)
        self.pooled, self.head = nn.Conv2d(6, 3, 1), nn.Conv2d(12, 6, 1)
        self.last = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        found = torch.cat([self.one(x), self.three(x), self.pooled(F.max_pool2d(x, 3, 1, 1))], 1)
        out: torch.Tensor = self.last(F.relu(self.head(F.relu(found))).mean((2, 3)))
        return out


class Excitation(nn.Module):
    """Squeeze and excitation: a channel is multiplied by what is made for it of all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down, self.up = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.last = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))
        out: torch.Tensor = self.last(x.mean((2, 3)))
        return out


class UNet(nn.Module):
    """A way down and up again, with a transposed convolution and what was kept aside."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, 2, 1)
        self.up, self.last = nn.ConvTranspose2d(8, 5, 2, 2), nn.Conv2d(11, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        aside = F.relu(self.first(x))
        out: torch.Tensor = self.last(torch.cat([aside, F.relu(self.up(F.relu(self.down(aside))))], 1))
        return out


class Attention(nn.Module):
    """Heads by `matmul` and `softmax`, from one layer for queries, keys and values, with sizes written out."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.embed, self.norm = nn.Linear(6, 12), nn.LayerNorm(12)
        self.qkv, self.project = nn.Linear(12, 36), nn.Linear(12, 12)
        self.rise, self.fall, self.last = nn.Linear(12, 20), nn.Linear(20, 12), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        heads = self.qkv(self.norm(x)).view(x.shape[0], 5, 3, 3, 4)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        if self.kind == "matmul":
            found = (query @ key.transpose(-2, -1) / 2).softmax(-1) @ value
        elif self.kind == "einsum":
            weights = torch.einsum("bhqd,bhkd->bhqk", query, key).softmax(-1)
            found = torch.einsum("bhqk,bhkd->bhqd", weights, value)
        else:
            found = F.scaled_dot_product_attention(query, key, value)
        x = x + self.project(found.transpose(1, 2).reshape(x.shape[0], 5, 12))
        x = x + self.fall(F.gelu(self.rise(self.norm(x))))
        out: torch.Tensor = self.last(x.mean(1))
        return out


class Halves(nn.Module):
    """A gate by GLU, one by `chunk`, and groups that are normalised together."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 16), nn.Linear(8, 20), nn.Linear(10, 12)
        self.norm, self.last = nn.GroupNorm(4, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, other = self.second(F.glu(self.first(x))).chunk(2, -1)
        out: torch.Tensor = self.last(self.norm(self.third(F.silu(one) * other)))
        return out


class Shared(nn.Module):
    """One layer, used twice; and one tensor that two layers have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.one, self.other = nn.Linear(6, 5, bias=False), nn.Linear(6, 5, bias=False)
        self.other.weight = self.one.weight
        self.beside = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.again(torch.relu(self.again(torch.relu(self.first(x))))))
        beside = torch.cat([self.one(x).relu(), self.other(-x).relu()], 1)
        out: torch.Tensor = self.last(hidden) + self.beside(beside)
        return out


class Two(nn.Module):
    """Two inputs, one of them token ids, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.words, self.numbers = nn.Embedding(7, 6), nn.Linear(6, 8), nn.Linear(3, 8)
        self.first, self.second = nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, tokens: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.relu(self.words(self.table(tokens)).mean(1) + self.numbers(numbers))
        return self.first(hidden), self.second(hidden.tanh())


def _named(name: str) -> nn.Module:
    return build_model(resolve_model(name, classes=4, channels=3, input_size=16))


def _shufflenet() -> nn.Module:
    net: nn.Module = torchvision.models.ShuffleNetV2([2, 1, 1], [8, 16, 32, 64, 32], num_classes=4)
    return net


def _densenet() -> nn.Module:
    net: nn.Module = torchvision.models.DenseNet(4, (2, 2), 8, bn_size=2, num_classes=4)
    return net


def _vit() -> nn.Module:
    """With nn.MultiheadAttention."""
    net: nn.Module = torchvision.models.VisionTransformer(16, 8, 2, 3, 12, 16, num_classes=4)
    return net


def _swin() -> nn.Module:
    sizes: dict[str, Any] = {"img_size": 16, "patch_size": 2, "window_size": 4}
    net: nn.Module = timm.models.SwinTransformer(**sizes, embed_dim=12, depths=(2,), num_heads=(3,), num_classes=4)
    return net


def _timm_vit() -> nn.Module:
    sizes: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3}
    net: nn.Module = timm.models.VisionTransformer(**sizes, num_classes=4)
    return net


def _convnext() -> nn.Module:
    net: nn.Module = timm.models.ConvNeXt(3, 4, depths=(1, 1, 1, 1), dims=(8, 8, 12, 12), patch_size=2)
    return net


def _mixer() -> nn.Module:
    net: nn.Module = timm.models.MlpMixer(4, img_size=16, patch_size=8, num_blocks=1, embed_dim=16)
    return net


FAMILIES: dict[str, Family] = {
    "mlp": Family(mlp, ((3, 4, 4),)),
    "cnn": Family(cnn),
    "resnet": Family(resnet),
    "resnet20": Family(functools.partial(_named, "resnet20")),
    "grouped": Family(grouped),
    "mobilenet": Family(functools.partial(_named, "test_efficientnet")),
    "densenet": Family(_densenet, ((3, 32, 32),)),
    "inception": Family(Branches),
    "excitation": Family(Excitation),
    "shufflenet": Family(_shufflenet, ((3, 32, 32),)),
    "unet": Family(UNet),
    "vit": Family(_timm_vit),
    "torchvision vit": Family(_vit),
    "swin": Family(_swin),
    "convnext": Family(_convnext, ((3, 32, 32),)),
    "mixer": Family(_mixer),
    "matmul": Family(functools.partial(Attention, "matmul"), ((5, 6),)),
    "einsum": Family(functools.partial(Attention, "einsum"), ((5, 6),)),
    "fused": Family(functools.partial(Attention, "fused"), ((5, 6),)),
    "halves": Family(Halves, ((6,),)),
    "shared": Family(Shared, ((6,),)),
    "two": Family(Two, ((5, "ids"), (3,))),
}
