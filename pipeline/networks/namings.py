"""Weights under names that are not torchvision's: those of timm, or names of one's own that come
in torchvision's order.

Where two libraries build the same network, they build it from the input to the output. So the
weights under the names of one, in that order, are those of the other one by one, if every shape and
the last word of every name (weight, bias, running_mean) says so too.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dreamreel.pipeline.networks.weights import Weights

# timm's names in the order of its networks, as patterns. A number in one stands for a stage, then a
# block. Some belong to convnext's own files, as its authors named them.
TIMM_OUTSIDE = (
    *(r"conv_stem", r"stem\.conv", r"stem\.bn", r"stem\.(\d+)", r"bn1", r"features\.(\d+)"),
    *(r"(?:stages|downsample_layers)\.(\d+)\..*", r"blocks\.(\d+)\..*", r"s(\d+)\.b.*"),
    *(r"pre_logits\.fc(\d+)", r"conv_head", r"bn2", r"head\.norm|norm", r"head(?:\.fc)?"),
    r"classifier",
)
IN_BLOCK = re.compile(
    r"(?:blocks|stages)\.(\d+)\.(?:blocks\.)?(\d+)\.(?!\d)(.+)|s(\d+)\.b(\d+)\.(.+)"
)
# The parts of a block, in order, for each kind of block. A block is of the first kind that has all
# of its parts.
BLOCKS = (
    ("conv", "bn1"),
    ("conv_dw", "bn1", "se", "conv_pw", "bn2"),
    ("conv_exp", "bn1", "se", "conv_pwl", "bn2"),
    ("conv_pw", "bn1", "conv_dw", "bn2", "se", "conv_pwl", "bn3"),
    ("downsample", "conv1", "conv2", "se", "conv3"),
    ("gamma", "conv_dw", "norm", "mlp"),
    ("gamma", "dwconv", "norm", "pwconv1", "pwconv2"),
)
IN_PART = ("conv", "bn", "conv_reduce", "fc1", "conv_expand", "fc2")
LAST = ("gamma", "weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"  # counts training steps; no activation depends on it
SAME_WORD = {"gamma": "layer_scale"}  # timm's last words that are called otherwise in torchvision


def respelled(name: str) -> str:
    """A weight's `name` in today's spelling: old densenets have a dot before a number, and parts of
    timm's networks an underscore after the word before it."""
    name = re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2", name)
    return re.sub(r"((?:^|\.)(?:features|stem|stages))_(?=\d|conv|norm|dense|trans)", r"\1.", name)


def timm_order(names: Sequence[str]) -> list[str] | None:
    """`names` in the order in which timm builds the network that they belong to; None if they are
    not names of timm's."""
    kinds: dict[tuple[str, str], set[str]] = {}
    for name in names:
        if block := _in_block(name):
            kinds.setdefault(block[:2], set()).add(block[2].split(".")[0])
    places = {name: _place(name, kinds) for name in names if not name.endswith(COUNTER)}
    if not places or None in places.values():
        return None
    return sorted(places, key=lambda name: places[name] or ())


def by_order(weights: Weights, order: Sequence[str], wanted: Mapping[str, Tensor]) -> Weights:
    """The `weights` under the names of a network whose state dict is `wanted`, if those named in
    `order` are its first ones, one by one, by the last words of their names and their shapes; else
    none of them. The last layer may have another number of outputs."""
    names = [name for name in wanted if not name.endswith(COUNTER)]
    if len(order) > len(names):
        return {}
    head = names[-1].rpartition(".")[0]
    found: dict[str, Tensor] = {}
    for theirs, ours in zip(order, names, strict=False):
        outputs = None if ours.rpartition(".")[0] == head else wanted[ours].shape[0]
        fitted = _reshaped(weights[theirs], wanted[ours].shape, outputs)
        word = theirs.rpartition(".")[2]
        if fitted is None or SAME_WORD.get(word, word) != ours.rpartition(".")[2]:
            return {}
        found[ours] = fitted
    return found


def _reshaped(tensor: Tensor, shape: torch.Size, outputs: int | None) -> Tensor | None:
    """`tensor` in `shape`, whose first number is free if `outputs` is None; None if it has another
    shape: neither are there ones to add or leave out, nor places to unroll."""
    if tensor.layout != torch.strided or tensor.is_quantized or not tensor.ndim:
        return None
    if outputs is not None and tensor.shape[0] != outputs:
        return None
    inner, wanted = tensor.shape[1:], shape[1:]
    bare = [size for size in inner if size != 1] == [size for size in wanted if size != 1]
    unrolled = len(wanted) == 1 and inner.numel() == wanted.numel()
    return tensor.reshape(tensor.shape[0], *wanted) if bare or unrolled else None


def _in_block(name: str) -> tuple[str, str, str] | None:
    """The numbers of the stage and the block that `name` lies in, and the rest of it."""
    match = IN_BLOCK.fullmatch(name)
    if match is None:
        return None
    return match[1] or match[4], match[2] or match[5], match[3] or match[6]


def _place(name: str, kinds: Mapping[tuple[str, str], set[str]]) -> tuple[int, ...] | None:
    """Where `name` comes in timm's order, given the parts of each block; None if it is unknown."""
    layer, _, last = name.rpartition(".")
    if last not in LAST:
        return None
    if block := _in_block(name):
        stage, number, rest = block
        kind = next((kind for kind in BLOCKS if kinds[stage, number] <= {*kind}), None)
        part, *inner = rest.split(".")
        if kind is None or any(word not in (*IN_PART, *LAST) for word in inner):
            return None
        ranks = [IN_PART.index(word) for word in inner if word in IN_PART]
        outside = next(i for i, p in enumerate(TIMM_OUTSIDE) if re.fullmatch(p, name))
        # 1: a stage's blocks come after its downsampling.
        place = (outside, int(stage), 1, int(number), kind.index(part), *ranks)
        return (*place, LAST.index(last))
    layer = re.sub(r"stages\.(\d+)\.downsample\.", r"downsample_layers.\1.", layer)
    for outside, pattern in enumerate(TIMM_OUTSIDE):
        if match := re.fullmatch(pattern, layer):
            down = re.fullmatch(r"downsample_layers\.(\d+)\.(\d+)", layer)
            numbers = (int(down[1]), 0, int(down[2])) if down else tuple(map(int, match.groups()))
            return (outside, *numbers, LAST.index(last))
    return None
