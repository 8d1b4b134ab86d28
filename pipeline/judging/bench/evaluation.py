"""An evaluation, the gradient of one ascent step: ours, the plain way, and a matrix product."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.dreaming.ascent import Ascent, dream
from dreamreel.pipeline.dreaming.terms import Term
from dreamreel.pipeline.jobs.preparation import loaded_network
from dreamreel.pipeline.judging.bench.course import Course
from dreamreel.pipeline.judging.bench.figures import Values
from dreamreel.pipeline.networks.catalog import favourite_layer, find_architecture
from dreamreel.pipeline.networks.checkpoints import fitting
from dreamreel.pipeline.networks.network import Network, Normalise
from dreamreel.pipeline.networks.weights import read_weights
from dreamreel.pipeline.tensors import resize

STEPS = 4  # of an ascent that is timed; an evaluation takes a step's share of its time
SHIFT = (7, -5)  # (down, right) in pixels, by which the plain step rolls the image


@dataclass(frozen=True)
class Plain:
    """A network as its makers wrote it, in float32: its `module`, what brings an image to its
    `input`, and the `layer` that is dreamed."""

    module: nn.Module
    input: nn.Module
    layer: str


def evaluation_values(course: Course) -> Values:
    """The figures of an evaluation of the course's network, of which ours, the plain way and a
    matrix product take turns."""
    device, plain = course.on, plain_of(course)
    torch.manual_seed(0)
    image = torch.rand(1, 3, *course.evaluated, device=device)
    image_last = image.contiguous(memory_format=torch.channels_last)
    ascend = ascent_of(loaded_network(course.settings()), plain.layer, course)
    left, right = (
        torch.randn(course.matrix, course.matrix, device=device, dtype=torch.bfloat16)
        for _ in range(2)
    )
    rivals: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: ascend(image_last),
        "plain": lambda: plain_step(plain, image, 1.0),
        "matrix": lambda: left @ right,
    }
    times = in_turns(rivals, course.repeats, device)
    flops, product = evaluation_flops(plain, course), 2 * course.matrix**3
    ours = [seconds / STEPS for seconds in times["ours"]]
    best = statistics.median(times["matrix"])
    return {
        "evaluation_ms": [seconds * 1000 for seconds in ours],
        "plain_evaluation_ms": [seconds * 1000 for seconds in times["plain"]],
        "evaluation_speedup": [
            other / seconds for other, seconds in zip(times["plain"], ours, strict=True)
        ],
        "evaluation_tflops": [flops / seconds / 1e12 for seconds in ours],
        "matrix_tflops": [product / seconds / 1e12 for seconds in times["matrix"]],
        "matrix_share": [flops / seconds / (product / best) for seconds in ours],
    }


def plain_of(course: Course) -> Plain:
    """The course's network in the plain way, with the layer that is dreamed by default. Raises
    UserError if its weights cannot be loaded."""
    architecture = find_architecture(course.network)
    file = course.weights
    weights = architecture.fetch() if file is None else read_weights(file)
    module = architecture.build().eval()
    given = f"{file or course.network}"
    module.load_state_dict(fitting(weights, module.state_dict(), given).weights, strict=False)
    return Plain(
        module.to(course.on), Normalise(architecture).to(course.on), favourite_layer(course.network)
    )


def ascent_of(network: Network, layer: str, course: Course) -> Callable[[Tensor], Tensor]:
    """A dream of `layer` in `STEPS` steps at the size of the image alone, by `network`."""
    one = {"octaves": 1, "coarsest": min(course.evaluated)}
    settings = build(("bench", {"dream": {**one, "smoothing": 0.0, "normalise": "std"}})).dream
    return lambda image: dream(image, network, [Term(layer)], settings, Ascent(STEPS, 1.0))


def plain_step(plain: Plain, image: Tensor, size: float) -> Tensor:
    """`image` (1, 3, H, W) after one ascent step as it is usually written: a hook, the whole
    network, `backward`. `size` is the step's standard deviation in levels of 255."""
    kept: list[Tensor] = []
    hook = plain.module.get_submodule(plain.layer).register_forward_hook(
        lambda part, inputs, output: kept.append(output)
    )
    leaf = image.clone().requires_grad_(True)
    plain.module(plain.input(leaf.roll(SHIFT, (2, 3))))
    hook.remove()
    kept[0].square().mean().backward()
    assert leaf.grad is not None
    return (image + size / 255 * leaf.grad / leaf.grad.std()).clamp(0, 1)


def plain_dream(
    plain: Plain, image: Tensor, octaves: int, steps: int, scale: float, size: float
) -> Tensor:
    """The dream of `image` (1, 3, H, W) as it is usually written: `octaves`, each `scale` times the
    size of the one before, of so many plain `steps` of that `size`."""
    detail = torch.zeros_like(image)
    dreamed = image
    for octave in reversed(range(octaves)):
        at = (round(image.shape[2] / scale**octave), round(image.shape[3] / scale**octave))
        base = resize(image, at)
        dreamed = base + resize(detail, at)
        for _ in range(steps):
            dreamed = plain_step(plain, dreamed, size)
        detail = dreamed - base
    return dreamed


def evaluation_flops(plain: Plain, course: Course) -> int:
    """FLOPs of the network up to the layer, for the image of an evaluation: forward, and as many
    backward."""
    from torch.utils.flop_counter import FlopCounterMode

    counted = [0]
    counter = FlopCounterMode(display=False)
    hook = plain.module.get_submodule(plain.layer).register_forward_hook(
        lambda part, inputs, output: counted.append(counter.get_total_flops())
    )
    with torch.no_grad(), counter:
        plain.module(torch.zeros(1, 3, *course.evaluated, device=course.on))
    hook.remove()
    return 2 * counted[-1]


def in_turns(
    rivals: dict[str, Callable[[], Tensor]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """The seconds of each of `rivals`, `repeats` times each, in turns, after a round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for round_ in range(repeats + 1):
        for name, seconds in _round(rivals, device):
            if round_:
                times[name].append(seconds)
    return times


def _round(
    rivals: dict[str, Callable[[], Tensor]], device: torch.device
) -> Iterator[tuple[str, float]]:
    for name, rival in rivals.items():
        began = time.perf_counter()
        rival()
        finish(device)
        yield name, time.perf_counter() - began


def finish(device: torch.device) -> None:
    """Return once `device` has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
