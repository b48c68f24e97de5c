"""Operators of torch by what they do with neurons. `flow` and `rewrite_rules` describe the others one by one."""

from typing import Any

import torch

# Operators that only move elements, or leave them where they are. Random ones do nothing in evaluation mode.
MOVES = frozenset(
    [
        "alias",
        "chunk",
        "clone",
        "contiguous",
        "detach",
        "dropout",
        "expand",
        "expand_as",
        "feature_dropout",
        "flatten",
        "flip",
        "float",
        "index",
        "index_select",
        "lift_fresh_copy",
        "movedim",
        "narrow",
        "permute",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "repeat",
        "repeat_interleave",
        "reshape",
        "reshape_as",
        "roll",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "stack",
        "swapaxes",
        "t",
        "to",
        "_to_copy",
        "transpose",
        "type_as",
        "unbind",
        "unflatten",
        "unsqueeze",
        "view",
        "view_as",
        "cat",
        "concat",
        "concatenate",
        "hstack",
        "vstack",
        "tile",
        "unfold",
        "numpy_T",
        "mT",
    ]
)
PADS = frozenset(
    ["pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"]
)
POOLS = frozenset(
    [
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "max_pool2d_with_indices",
        "upsample_nearest2d",
        "upsample_bilinear2d",
        "upsample_bicubic2d",
    ]
)
REDUCTIONS = frozenset(["mean", "sum", "amax", "amin", "var", "std", "prod", "logsumexp", "linalg_vector_norm", "norm"])
NORMS = frozenset(["linalg_vector_norm", "norm"])
CONVOLUTIONS = frozenset(["conv1d", "conv2d", "conv3d"])
LAYERS = CONVOLUTIONS | {"linear", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
LIKE = frozenset(["zeros_like", "ones_like", "full_like"])
SHAPES = LIKE | {"empty_like", "new_zeros", "new_ones", "new_full", "sym_size"}
# Operators that may read several activations, besides those that work value by value.
SEVERAL = MOVES | {"matmul", "bmm", "scaled_dot_product_attention"}


# Operators without parameters, sizes and places, whose results are smaller where what they read is.
UNCHANGED = frozenset(
    [
        "_to_copy",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "alias",
        "amax",
        "amin",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "bmm",
        "clone",
        "contiguous",
        "detach",
        "dropout",
        "expand_as",
        "feature_dropout",
        "flatten",
        "float",
        "gelu",
        "hardswish",
        "layer_norm",
        "linalg_vector_norm",
        "log_sigmoid",
        "log_softmax",
        "logsumexp",
        "mT",
        "matmul",
        "max_pool1d",
        "max_pool2d",
        "max_pool2d_with_indices",
        "max_pool3d",
        "mean",
        "mish",
        "movedim",
        "norm",
        "permute",
        "pixel_shuffle",
        "pixel_unshuffle",
        "prod",
        "relu6",
        "reshape_as",
        "rms_norm",
        "softmax",
        "squeeze",
        "std",
        "sum",
        "swapaxes",
        "sym_size",
        "t",
        "to",
        "transpose",
        "type_as",
        "unsqueeze",
        "upsample_bicubic2d",
        "upsample_bilinear2d",
        "upsample_nearest2d",
        "var",
        "view_as",
    ]
)


def name_of(target: Any) -> str:
    """Return an operator's name, without the underscore of those that work in place."""
    packet = getattr(target, "overloadpacket", None)
    return (packet.__name__ if packet else getattr(target, "__name__", str(target))).rstrip("_")


def is_pointwise(target: Any) -> bool:
    """Return whether an operator works value by value."""
    return torch.Tag.pointwise in getattr(target, "tags", ())
