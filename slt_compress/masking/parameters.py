"""What becomes of each parameter of a network: gated, generated from the seed, or constant.

It follows from the network's own modules and names, so that a ticket need not store it.
"""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from slt_compress import prng

EMBEDDING_STD = 0.5  # of frozen embeddings and tokens; at timm's 0.02 the patches drown them (ViT: 87 % -> 94 %)
# In networks of residual branches behind LayerNorms, as a factor on the scales: of all layers, and once more of the
# first ones of branches. With them a vit_tiny at 90 % learns MNIST to 96 % in 420 steps instead of 42 %.
CALM, BRANCH_START = 0.7, 0.5
ENOUGH_INPUTS = 64  # of a last layer; with fewer, the sum of all would be too small a logit for a sure answer
Density = float | Mapping[str, float]  # target share of a network's gates that are open, or that of each tensor
EMBEDDING_SCALE = float(np.float32(3**0.5 * EMBEDDING_STD))  # of values uniform in (-1, 1)


def gated_names(module: nn.Module) -> list[str]:
    """Return the parameters to be gated, in module order: weights of convolutions, linear layers and attention.

    Norms, biases, embedding tables, position embeddings and tokens are not gated. A tensor that two modules share
    appears once.
    """
    names, seen = [], set()
    for path, layer in module.named_modules():
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
            attributes = ["weight"]
        elif isinstance(layer, nn.MultiheadAttention):
            attributes = ["in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"]
        else:
            continue
        for attribute in attributes:
            parameter = getattr(layer, attribute)
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                names.append(f"{path}.{attribute}" if path else attribute)
    return names


def statistic_names(module: nn.Module) -> list[str]:
    """Return the names of the running statistics of all normalisations, in module order: what training observes and no
    seed rebuilds. They come in pairs, NAME.running_mean and NAME.running_var.
    """
    persistent = module.state_dict()
    means = [name for name, _ in module.named_buffers() if name in persistent and name.endswith("running_mean")]
    pairs = [(name, f"{name.removesuffix('mean')}var") for name in means]
    return [name for pair in pairs if pair[1] in persistent for name in pair]


def other_statistic_names(module: nn.Module) -> list[str]:
    """Return the names of all other persistent floating-point buffers, in module order.

    Most are tables that the network's builder makes; whether one has to be stored is for the caller to find out.
    """
    running = set(statistic_names(module))
    persistent = module.state_dict()
    return [
        name
        for name, buffer in module.named_buffers()
        if name in persistent and name not in running and buffer.is_floating_point()
    ]


@dataclass(frozen=True)
class Scale:
    """What the values of a gated tensor are multiplied with.

    Attributes:
        value: the factor, where `density` of the tensor's gates are open.
        balanced: whether the factor follows the gates, so that the variance of the outputs stays as it is.
    """

    value: float
    balanced: bool


def density_of(name: str, density: Density) -> float:
    """Return the target share of open gates of a tensor."""
    return density[name] if isinstance(density, Mapping) else density


def scales(module: nn.Module, initialiser: str, density: Density) -> dict[str, Scale]:
    """Return the scale of each gated tensor, by name: `prng.scale` of its fan-in.

    Where no BatchNorm of the same width follows in the same block to undo it, a layer that keeps only `density` of its
    weights would shrink its output by √density; its scale is divided by that. And it follows the gates: soft ones keep
    far more than that, and the last layer often keeps nearly all of its weights to the end, so that the logits would be
    several times too large. Several layers without norms would blow up. A last layer of few inputs has larger weights.

    In networks with residual branches behind LayerNorms, see `residual_branches`, nothing else bounds what the branches
    add up to. There, the scales of all such layers are multiplied by `CALM`, those at the beginning of a branch also by
    `BRANCH_START`, those at its end by two over the number of branches. docs/methods.md shows what happens without.
    """
    found = {}
    branches = residual_branches(module)
    starts, ends = {branch[0] for branch in branches}, {branch[-1] for branch in branches}
    layers = [
        (path, layer)
        for path, layer in module.named_modules()
        if any(True for _ in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)))
    ]
    followers = {path: follower for (path, _), follower in itertools.pairwise(layers)}
    names = gated_names(module)
    for name in names:
        weight = module.get_parameter(name)
        path = name.rpartition(".")[0]
        next_path, follower = followers.get(path, ("", None))
        # The first norm of the next block comes after the residual sum, where the scale of this branch matters.
        fan_in, outputs = _fans(module.get_submodule(path), weight)
        beside = next_path.rpartition(".")[0] == path.rpartition(".")[0]
        norm = isinstance(follower, nn.modules.batchnorm._BatchNorm) and follower.num_features == outputs
        normalised = beside and norm
        value = prng.scale(initialiser, fan_in * (1 if normalised else density_of(name, density)))
        balanced = not normalised
        if balanced and branches:
            value *= CALM
            value *= BRANCH_START if name in starts else 1
            value *= min(1.0, 2 / len(branches)) if name in ends else 1
        elif balanced and name == names[-1]:
            value *= max(1.0, (ENOUGH_INPUTS / fan_in) ** 0.5)
        found[name] = Scale(float(np.float32(value)), balanced)
    return found


def residual_branches(module: nn.Module) -> list[list[str]]:
    """Return the gated tensors of each residual branch that begins with a LayerNorm (or an RMSNorm), in module order.

    A branch is what follows the norm in the same block, up to the last layer before the next norm that returns to the
    norm's width, if these are several: attention, or the two layers of a transformer's or a ConvNeXt's block.
    """
    gated = gated_names(module)
    branches = []
    for path, block in module.named_modules():
        prefix = f"{path}." if path else ""
        width, branch = 0, list[str]()
        for name, child in (*block.named_children(), ("", nn.LayerNorm(1))):
            if not _is_layer_norm(child):
                inside = f"{prefix}{name}."
                branch += [one for one in gated if one.startswith(inside)]
                continue
            while branch and _outputs(module, branch[-1]) != width:
                branch.pop()
            if len(branch) > 1:
                branches.append(branch)
            width, branch = _width(child), []
    return branches


def _is_layer_norm(layer: nn.Module) -> bool:
    """Return whether this is a LayerNorm or an RMSNorm, torch's own or one that is called so."""
    return isinstance(layer, nn.LayerNorm | nn.RMSNorm) or bool(re.search("(Layer|RMS)Norm", type(layer).__name__))


def _width(norm: nn.Module) -> int:
    """Return the number of features that a norm is for, 0 if it does not say."""
    if isinstance(norm, nn.LayerNorm | nn.RMSNorm):
        return norm.normalized_shape[-1]
    return next((parameter.numel() for parameter in norm.parameters(recurse=False)), 0)


def _outputs(module: nn.Module, name: str) -> int:
    """Return the output width of the layer that a gated tensor belongs to."""
    return _fans(module.get_submodule(name.rpartition(".")[0]), module.get_parameter(name))[1]


def _fans(layer: nn.Module, weight: torch.Tensor) -> tuple[float, int]:
    """Return how many weights an output sums, and how many output channels there are."""
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):  # (inputs, outputs / groups, …); the stride spreads them
        sums = weight.shape[0] // layer.groups * weight[0, 0].numel() / math.prod(layer.stride)
        return sums, layer.out_channels
    return weight[0].numel(), weight.shape[0]


def embedding_names(module: nn.Module) -> list[str]:
    """Return the parameters that are neither gated nor constant: embeddings and tokens, uniform from the seed.

    A table that is the gated weight of another layer too, as in many language models, is gated.
    """
    gated = _gated_ids(module)
    return [
        name
        for name, parameter in module.named_parameters()
        if id(parameter) not in gated and parameter.ndim >= 2 and not name.rpartition(".")[2].endswith("bias")
    ]


def _gated_ids(module: nn.Module) -> set[int]:
    return {id(module.get_parameter(name)) for name in gated_names(module)}


def slopes(module: nn.Module) -> dict[str, float]:
    """Return the slopes of PReLUs, by parameter name: with the 1 of other vectors, they would be no non-linearity."""
    return {
        f"{path}.weight" if path else "weight": layer.weight.detach().flatten()[0].item()
        for path, layer in module.named_modules()
        if isinstance(layer, nn.PReLU)
    }


def set_constants(module: nn.Module, constants: Mapping[str, float]) -> None:
    """Fill parameters, by name, with a constant each."""
    with torch.no_grad():
        for name, value in constants.items():
            module.get_parameter(name).fill_(value)


def freeze_ungated(module: nn.Module, seed: int) -> None:
    """Give every parameter that is not gated its value: biases 0, vectors (norm and layer scales) 1, and embeddings
    uniform with standard deviation `EMBEDDING_STD` from the seed. BatchNorm statistics become those of N(0, 1).
    """
    gated, embeddings = _gated_ids(module), set(embedding_names(module))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in embeddings:
                values = prng.uniform(seed, name, parameter.numel()) * np.float32(EMBEDDING_SCALE)
                parameter.copy_(torch.from_numpy(values).view(parameter.shape))
            elif id(parameter) not in gated:
                parameter.fill_(0.0 if name.rpartition(".")[2].endswith("bias") else 1.0)
        for name, buffer in module.named_buffers():
            if name.endswith(("num_batches_tracked", "running_mean")):
                buffer.zero_()
            elif name.endswith("running_var"):
                buffer.fill_(1.0)
