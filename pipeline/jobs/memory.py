"""The peak of memory that a film takes, known before its first frame."""

import math

import torch

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.dreaming.enlarging import scale_of, shrunk
from dreamreel.pipeline.dreaming.vocabulary import layers_of
from dreamreel.pipeline.frames import Box
from dreamreel.pipeline.memory import free_memory
from dreamreel.pipeline.networks.cpu_kernels import LARGE
from dreamreel.pipeline.networks.network import Network

GIB = 2.0**30
PICTURE = 12  # bytes of a pixel: three channels in float32
# Bytes of a process that dreams nothing yet, with its libraries; and bytes per pixel of a frame
# beside the network: the frames that threads have ready, what is carried, and the tensors of its
# arithmetic. Measured with films of 640x360 to 3840x2160, of dreamnet and GoogLeNet, in bfloat16.
PROCESS_BYTES, FRAME_BYTES = 0.83 * GIB, 420.0
LARGE_FRAME_BYTES = 290.0  # where pictures are so large that freed ones are returned at once
# The same on a GPU, of what torch allocates there.
GPU_BYTES, GPU_FRAME_BYTES = 0.1 * GIB, 250.0


def peak_bytes(network: Network, settings: Settings, size: tuple[int, int]) -> float:
    """About how many bytes a film of frames of `size` (height, width) takes at its peak, dreamed by
    `network`: of this process on a CPU, of what torch allocates on a GPU."""
    on_cpu = network.device.type == "cpu"
    process, frame = (PROCESS_BYTES, FRAME_BYTES) if on_cpu else (GPU_BYTES, GPU_FRAME_BYTES)
    if on_cpu and PICTURE * math.prod(size) >= LARGE:
        frame = LARGE_FRAME_BYTES
    scale = scale_of(settings.dream, size[1])
    dreamed = shrunk(Box(0, 0, size[1], size[0]), scale).size
    names = [layer for dream in settings.dreams for layer in layers_of(dream, network).values()]
    tile = network.sight.side_at_once(dreamed, names, settings.dream.tile)
    seen = dreamed if tile is None else (min(dreamed[0], tile), min(dreamed[1], tile))
    return process + frame * math.prod(size) + network.memory_for(seen, names)


def told_peak(network: Network, settings: Settings, size: tuple[int, int]) -> str:
    """A line that tells the peak of memory, and how much is free."""
    peak, free = peak_bytes(network, settings, size), free_bytes(network.device)
    has = "" if math.isinf(free) else f"; {_told(free)} are free"
    where = "" if network.device.type == "cpu" else f" on {network.device}"
    return f"{size[1]}x{size[0]} takes about {_told(peak)} of memory{where}{has}"


def free_bytes(device: torch.device) -> float:
    """How many bytes `device` has free; infinity where it does not tell."""
    if device.type == "cpu":
        return free_memory()
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return math.inf


def _told(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
