"""A user's own network: a function that returns it, named `package.module:function` or offered by
an installed package under the entry point group `dreamreel.networks`."""

import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.layers import dissect
from dreamreel.pipeline.networks.names import check_allowed, entry_point
from dreamreel.pipeline.networks.network import Architecture, hollow

# ImageNet's mean and standard deviation, on which most networks are trained.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def own_architecture(name: str) -> Architecture:
    """The architecture that the function called `name` returns, or that of the module that it
    returns, with the module's attributes `mean` and `std`, or ImageNet's.

    Raises UserError if the user has not allowed it, if there is no such function, and if it returns
    something else, or a module that cannot be run.
    """
    made = _function(name)()
    if isinstance(made, Architecture):
        return replace(made, name=name)
    if not isinstance(made, nn.Module):
        raise UserError(
            f"{name} returns a {type(made).__name__}; it should return a torch.nn.Module or an "
            "Architecture"
        )
    made.eval()
    architecture = Architecture(
        name,
        partial(deepcopy, made),
        _numbers(name, made, "mean", IMAGENET_MEAN),
        _numbers(name, made, "std", IMAGENET_STD),
        made.state_dict,
    )
    try:
        dissect(hollow(architecture))
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{name} cannot be run on a tensor (1, 3, H, W) without data, which tells its layers: "
            f"{error}"
        ) from error
    return architecture


def _function(name: str) -> Callable[[], Any]:
    if (point := entry_point(name)) is not None:
        return point.load()
    check_allowed(name)
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)  # a module in the working folder, as `python -m` finds it
    try:
        found: Any = import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UserError(f"there is no network {name} ({error})") from error
    finally:
        if added:
            sys.path.remove(here)
    if not callable(found):
        raise UserError(f"{name} is a {type(found).__name__}, not a function")
    return found


def _numbers(
    name: str, module: nn.Module, what: str, usual: tuple[float, ...]
) -> tuple[float, ...]:
    """The three numbers of the attribute `what` of `module`, or the `usual` ones."""
    given = getattr(module, what, None)
    if not isinstance(given, list | tuple | Tensor):
        return usual
    numbers = torch.as_tensor(given, dtype=torch.float64).flatten().tolist()
    if len(numbers) != 3 or (what == "std" and 0 in numbers):
        raise UserError(f"{what} of {name} is {numbers}; three numbers, one a channel, are needed")
    return tuple(numbers)
