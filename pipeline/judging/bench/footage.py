"""What a benchmark dreams of: soft noise that slides, as frames or as a film; random weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import nn

from dreamreel.pipeline.config.values import Size
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.judging.bench.course import NETWORK, Course
from dreamreel.pipeline.media.encoding import Encoding, encode
from dreamreel.pipeline.tensors import to_frame
from dreamreel.pipeline.zooming.grain import noise

RATE = Fraction(30)  # frames a second
SLIDE = 2  # pixels a frame


def sliding_frames(size: Size, frames: int) -> Iterator[Frame]:
    """So many frames of `size` (height, width) of soft noise that slides."""
    height, width = size
    scene = to_frame(noise((height, width + SLIDE * frames), 1, torch.device("cpu")))
    return (scene[:, SLIDE * number : SLIDE * number + width] for number in range(frames))


def sliding_clip(path: Path, size: Size, frames: int) -> Path:
    """The path of a new film of `sliding_frames`."""
    encode(sliding_frames(size, frames), path, Encoding(size, RATE, crf=20, speed="veryfast"))
    return path


@contextmanager
def with_weights(course: Course, folder: Path) -> Iterator[Course]:
    """`course` with a file of random weights in `folder`, if its network is GoogLeNet and it has
    none: they take the same time as trained ones, and need no download."""
    if course.network != NETWORK or course.weights is not None:
        yield course
        return
    from safetensors.torch import save_file
    from torchvision.models import googlenet

    torch.manual_seed(0)
    module = googlenet(weights=None, aux_logits=False, init_weights=False)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)  # keeps activations of one size
    path = folder / f"{NETWORK}.safetensors"
    save_file({name: one.contiguous() for name, one in module.state_dict().items()}, path)
    yield replace(course, weights=path)
