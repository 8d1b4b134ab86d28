"""The benchmark: Dreamreel's speed and memory on this machine."""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.ascent import ascent_direction
from dreamreel.pipeline.dreaming.terms import Term
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.jobs.preparation import loaded_network
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.media.encoding import Encoding, encode
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.networks.catalog import find_architecture
from dreamreel.pipeline.networks.devices import find_device, find_precision
from dreamreel.pipeline.tensors import to_frame
from dreamreel.pipeline.zooming.endless import infinite_zoom
from dreamreel.pipeline.zooming.grain import noise
from dreamreel.pipeline.zooming.journey import Journey

LAYER = "inception4c"  # of torchvision's GoogLeNet: the layer of Google's DeepDream notebook
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of torchvision's inputs
SIZE = (360, 640)  # height, width of the image of one evaluation, in pixels
MATRIX = 4096  # side of the matrices whose product stands for this machine's best FLOP rate
SIZES = {"640x360": (360, 640), "1280x720": (720, 1280), "1920x1080": (1080, 1920)}
RATE = Fraction(30)  # frames a second
OVERHEAD_FRAMES = 60  # of the longer clip; the shorter has a quarter
ZOOM_SIZE, ZOOM_FRAMES = (270, 480), 60  # (height, width) in pixels; frames after the first

Say = Callable[[str], None]
Figures = dict[str, Any]


def bench(repeats: int, say: Say = lambda line: None) -> Figures:
    """The figures of this machine: medians of `repeats` runs, in which the rivals take turns.

    `evaluation_speedup`: time of one gradient evaluation written plainly, over ours.
    `matrix_share`: FLOP rate of ours over that of a large matrix product.
    `overhead_cpu_ms`: CPU time of a 640x360 frame without its dreaming, in milliseconds.
    `zoom_share`: time of a 480x270 frame of a zoom over that of its first, a still.
    `peak_memory_mib`: peak memory of a process that dreams a video, by the frame's size.
    Further entries are the times behind these, the device, precision, threads and torch's version.

    `say` receives a line before each measurement. Raises UserError on Windows.
    """
    if sys.platform == "win32":
        raise UserError("dreamreel bench needs Linux or macOS, which tell CPU time and memory")
    device = find_device("auto")
    precision = find_precision("auto", device)
    say(f"evaluating GoogLeNet up to {LAYER} at {SIZE[1]}x{SIZE[0]}, {repeats} times each way")
    figures = evaluation_figures(repeats, device, precision)
    say(f"passing {OVERHEAD_FRAMES} frames through everything but the dream")
    figures["overhead_cpu_ms"] = round(
        statistics.median(overhead_cpu_ms() for _ in range(max(1, repeats // 2))), 1
    )
    say("timing frames of a zoom against its first, a still")
    figures["zoom_share"] = round(
        statistics.median(zoom_share() for _ in range(max(1, repeats // 2))), 3
    )
    memory = {}
    for name, size in SIZES.items():
        say(f"dreaming at {name} to measure peak memory")
        memory[name] = peak_memory_mib(size)
    figures["peak_memory_mib"] = memory
    machine = {
        "device": str(device),
        "precision": str(precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return figures | machine


def describe(figures: Figures) -> str:
    """`figures` as text, a line each."""
    memory = ", ".join(f"{size} {mib} MiB" for size, mib in figures["peak_memory_mib"].items())
    return "\n".join(
        [
            f"on {figures['device']}, {figures['precision']}, {figures['threads']} threads, "
            f"torch {figures['torch']}",
            f"one evaluation       {figures['evaluation_ms']} ms, the plain way "
            f"{figures['plain_ms']} ms: {figures['evaluation_speedup']} times faster",
            f"share of matrix rate {figures['matrix_share']}",
            f"a frame's overhead   {figures['overhead_cpu_ms']} ms of CPU time at 640x360",
            f"a zoom's frame       {figures['zoom_share']} of the time of a still",
            f"peak memory          {memory}",
        ]
    )


def evaluation_figures(repeats: int, device: torch.device, precision: torch.dtype) -> Figures:
    """The figures of a gradient evaluation: ours, the plain way and a matrix product take turns."""
    from torchvision.models import googlenet

    torch.manual_seed(0)
    plain = googlenet(weights=None, aux_logits=False, init_weights=False).eval().to(device)
    network = assemble(find_architecture("googlenet"), plain.state_dict(), device, precision)
    image = torch.rand(1, 3, *SIZE, device=device)
    left, right = (
        torch.randn(MATRIX, MATRIX, device=device, dtype=torch.bfloat16) for _ in range(2)
    )
    dream = build(("bench", {"dream": {"smoothing": 0.0, "normalise": "std"}})).dream

    def ours() -> Tensor:
        direction = ascent_direction(image_last, network, [Term(LAYER)], dream, (7, -5))
        return image_last + direction

    image_last = image.contiguous(memory_format=torch.channels_last)
    rivals: dict[str, Callable[[], Tensor]] = {
        "ours": ours,
        "plain": lambda: plain_step(plain, image, (7, -5)),
        "matrix": lambda: left @ right,
    }
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for round_ in range(repeats + 1):
        for name, rival in rivals.items():
            seconds = _timed(rival, device)
            if round_:  # the first round warms up
                times[name].append(seconds)
    typical = {name: statistics.median(taken) for name, taken in times.items()}
    rate = evaluation_flops(plain, device) / typical["ours"]
    matrix_rate = 2 * MATRIX**3 / typical["matrix"]
    return {
        "evaluation_speedup": round(typical["plain"] / typical["ours"], 2),
        "matrix_share": round(rate / matrix_rate, 3),
        "evaluation_ms": round(typical["ours"] * 1000, 1),
        "plain_ms": round(typical["plain"] * 1000, 1),
        "matrix_tflops": round(matrix_rate / 1e12, 3),
    }


def plain_step(module: nn.Module, image: Tensor, shift: tuple[int, int]) -> Tensor:
    """`image` (1, 3, H, W) after one ascent step as it is usually written: a hook, the whole
    network `module`, `backward`. The network sees the image rolled by `shift` (down, right)."""
    kept: list[Tensor] = []
    hook = module.get_submodule(LAYER).register_forward_hook(
        lambda part, inputs, output: kept.append(output)
    )
    mean, std = (torch.tensor(values, device=image.device).view(1, 3, 1, 1) for values in IMAGENET)
    leaf = image.clone().requires_grad_(True)
    module((leaf.roll(shift, (2, 3)) - mean) / std)
    hook.remove()
    kept[0].square().mean().backward()
    assert leaf.grad is not None
    return image + leaf.grad / leaf.grad.std()


def evaluation_flops(module: nn.Module, device: torch.device) -> int:
    """FLOPs of `module` up to the layer, for an image of `SIZE`: forward, and as many backward."""
    from torch.utils.flop_counter import FlopCounterMode

    counted = [0]
    counter = FlopCounterMode(display=False)
    hook = module.get_submodule(LAYER).register_forward_hook(
        lambda part, inputs, output: counted.append(counter.get_total_flops())
    )
    with torch.no_grad(), counter:
        module(torch.zeros(1, 3, *SIZE, device=device))
    hook.remove()
    return 2 * counted[-1]


def overhead_cpu_ms() -> float:
    """CPU time of a 640x360 frame without ascent steps, in milliseconds; ffmpeg's is included."""
    nothing = build(("bench", {"dream": {"steps": 0}, "video": {"frame_steps": 0}}))
    with tempfile.TemporaryDirectory() as folder:
        clip = _moving_clip(Path(folder) / "clip.mp4", SIZE, OVERHEAD_FRAMES)
        short = _moving_clip(Path(folder) / "short.mp4", SIZE, OVERHEAD_FRAMES // 4)
        # The difference of two lengths leaves out what any render costs once.
        spent = [_cpu_seconds(source, nothing) for source in (short, clip)]
    return (spent[1] - spent[0]) / (OVERHEAD_FRAMES - OVERHEAD_FRAMES // 4) * 1000


def zoom_share() -> float:
    """The time of a 480x270 frame of a zoom over that of its first, which is a still."""
    settings = build(("bench", {}))
    network = loaded_network(settings)
    image = noise(ZOOM_SIZE, 0, network.device)
    ended = [time.perf_counter()]
    for _ in infinite_zoom(image, network, constant(settings), Journey(ZOOM_FRAMES + 1, RATE)):
        if network.device.type == "cuda":
            torch.cuda.synchronize(network.device)
        ended.append(time.perf_counter())
    return (ended[-1] - ended[1]) / ZOOM_FRAMES / (ended[1] - ended[0])


def peak_memory_mib(size: tuple[int, int]) -> int:
    """Peak memory, in MiB, of a fresh process that dreams three frames of `size` (height, width):
    resident memory, or on a GPU what torch allocates there."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_dream_and_weigh, (size,))


def _dream_and_weigh(size: tuple[int, int]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        clip = _moving_clip(Path(folder) / "clip.mp4", size, 3)
        few = build(("bench", {"dream": {"steps": 1}, "video": {"frame_steps": 1, "carry": 0.5}}))
        run(_job(clip, Path(folder) / "dream.mp4", few))
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    return _peak_resident_kib() >> 10


def _job(source: Path, out: Path, settings: Settings) -> Job:
    return Job(kind="video", source=NamedFile(path=source), output=out, settings=settings)


def _peak_resident_kib() -> int:
    """The peak of this process's resident memory, in KiB."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():  # getrusage's peak on Linux includes that of the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # macOS: bytes


def _moving_clip(path: Path, size: tuple[int, int], frames: int) -> Path:
    """The path of a new clip of soft noise that slides by two pixels a frame."""
    height, width = size
    scene = to_frame(noise((height, width + 2 * frames), 1, torch.device("cpu")))
    slid = (scene[:, 2 * number : 2 * number + width] for number in range(frames))
    encode(slid, path, Encoding(size, RATE, crf=20, speed="veryfast"))
    return path


def _cpu_seconds(source: Path, settings: Settings) -> float:
    before = _cpu_time()
    run(_job(source, source.with_name("out.mp4"), settings), overwrite=True)
    return _cpu_time() - before


def _cpu_time() -> float:
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _timed(run: Callable[[], Tensor], device: torch.device) -> float:
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
