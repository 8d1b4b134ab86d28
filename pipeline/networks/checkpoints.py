"""Which of the weights in a file are those of a network, whatever wraps them.

Training scripts put a state dict into others ("state_dict", "model_ema"), and wrap the network in
others, which puts words before or into its names ("module.", "_orig_mod.", "backbone."). Other
libraries have other names: see `namings`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from dreamreel.pipeline.networks.namings import COUNTER, by_order, respelled, timm_order
from dreamreel.pipeline.networks.weights import Weights

# Words of averaged weights, which dream as well as those that they are an average of, or better.
AVERAGED = {
    *("ema", "model_ema", "ema_model", "state_dict_ema", "ema_state_dict", "params_ema"),
    *("averaged", "averaged_model", "swa", "swa_model", "swa_state_dict", "teacher"),
}
# Words that wrap a network's own names, wherever they stand.
WRAPPERS = AVERAGED | {
    *("state_dict", "model_state_dict", "net_state_dict", "model_state", "state", "weights"),
    *("model", "net", "network", "params", "module", "_orig_mod", "_fsdp_wrapped_module"),
    *("_checkpoint_wrapped_module", "backbone", "encoder", "trunk", "base_model", "student"),
}
# The least share of a network's weights that must be found behind words that are not known. A round
# number: a part of another network may have a few names and shapes in common.
LEAST_SHARE = 0.5
DEEPEST = 32  # words in the name of a weight that is looked at; a round number above any network's
Prefix = tuple[str, ...]


@dataclass(frozen=True)
class Fitting:
    """The `weights` of a network, under its own names, and those that are not its own behind the
    same words. `notice` tells, in a line, which were taken, if there were several."""

    weights: Weights
    notice: str | None = None


def fitting(weights: Weights, wanted: Mapping[str, Tensor], given: str) -> Fitting:
    """The `weights` that fit a network whose state dict is `wanted`, by name and shape. Of several
    that fit as well, they are the averaged ones, or else the first. `given` is their file's name.

    Where names that are not the network's own tell of more of it, they go by them: see `namings`.
    If none fit, they are the weights as they are.
    """
    found = _by_prefix(weights, wanted)
    named = max(map(len, found.values()), default=0)
    if named < sum(not name.endswith(COUNTER) for name in wanted):
        other = _by_other_names(weights, wanted, few=named < LEAST_SHARE * len(wanted), given=given)
        if len(other.weights) > named:
            return other
    if not found:
        return Fitting(weights)
    most = max(len(names) for names in found.values())
    best = [prefix for prefix, names in found.items() if len(names) == most]
    taken = next((prefix for prefix in best if AVERAGED & {*prefix}), best[0])
    others = [_named(prefix) for prefix in best if prefix != taken]
    notice = None
    if others:
        notice = f"{given} holds several such weights: {_named(taken)} taken, not {others[0]}"
    return Fitting(_behind(taken, weights, wanted), notice)


def _by_other_names(
    weights: Weights, wanted: Mapping[str, Tensor], few: bool, given: str
) -> Fitting:
    """The `weights` that timm's names, or with `few` any names in the order of the network, give
    to the network whose state dict is `wanted`. Of several, averaged ones are taken."""
    groups: defaultdict[Prefix, dict[str, str]] = defaultdict(dict)
    for name in weights:
        words = name.split(".")
        own = next((at for at, word in enumerate(words) if word not in WRAPPERS), len(words) - 1)
        groups[tuple(words[:own])][respelled(".".join(words[own:]))] = name
    for prefix in sorted(groups, key=lambda prefix: AVERAGED.isdisjoint(prefix)):
        behind = {own: weights[name] for own, name in groups[prefix].items()}
        order = timm_order(list(behind))
        if order is not None:
            return Fitting(by_order(behind, order, wanted))
        found = by_order(behind, [name for name in behind if not name.endswith(COUNTER)], wanted)
        if few and len(found) >= LEAST_SHARE * len(wanted):
            return Fitting(
                found, f"{given} has names of its own; its weights go by order and shape"
            )
    return Fitting({})


def _by_prefix(weights: Weights, wanted: Mapping[str, Tensor]) -> dict[Prefix, list[str]]:
    """The names of `wanted` that `weights` fill, by the words before them. Words that are not known
    count only if enough is behind them."""
    found: defaultdict[Prefix, list[str]] = defaultdict(list)
    for name, tensor in weights.items():
        for prefix, own in _readings(name, wanted):
            if tensor.shape == wanted[own].shape:
                found[prefix].append(own)
    return {
        prefix: names
        for prefix, names in found.items()
        if all(map(_is_wrapper, prefix)) or len(names) >= LEAST_SHARE * len(wanted)
    }


def _readings(name: str, wanted: Mapping[str, Tensor]) -> Iterator[tuple[Prefix, str]]:
    """The names in `wanted` that the weight `name` can mean, each with the words before it."""
    words = respelled(name).split(".")
    for at in range(len(words) if len(words) <= DEEPEST else 0):
        own = _own_name(words[at:], wanted)
        if own is not None:
            yield tuple(words[:at]), own


def _own_name(words: list[str], wanted: Mapping[str, Tensor]) -> str | None:
    """The name in `wanted` that `words` make, as they are or without the wrappers in them."""
    whole = ".".join(words)
    if whole in wanted:
        return whole
    bare = ".".join(word for word in words if word not in WRAPPERS)
    return bare if words[0] not in WRAPPERS and bare in wanted else None


def _behind(prefix: Prefix, weights: Weights, wanted: Mapping[str, Tensor]) -> Weights:
    """The `weights` behind the words `prefix`, without them."""
    before = "".join(f"{word}." for word in prefix)
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(before):
            words = respelled(name.removeprefix(before)).split(".")
            found[_own_name(words, wanted) or ".".join(words)] = tensor
    return found


def _is_wrapper(word: str) -> bool:
    return word in WRAPPERS or word.isdecimal()  # a number: a part of a sequence


def _named(prefix: Prefix) -> str:
    return repr(".".join(prefix)) if prefix else "those at its top"
