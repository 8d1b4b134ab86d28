"""The Python API without files: images or frames in, images out."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import constant
from dreamreel.pipeline.dreaming.carrying import dream_video as dream_moving_frames
from dreamreel.pipeline.dreaming.colour import coloured
from dreamreel.pipeline.dreaming.detail import mixed
from dreamreel.pipeline.dreaming.enlarging import enlarged, scale_of, shrunk
from dreamreel.pipeline.dreaming.imagining import imagine
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.frames import Box, Frame
from dreamreel.pipeline.jobs.preparation import palette_of
from dreamreel.pipeline.motion.following import follow_motion
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize
from dreamreel.pipeline.zooming.endless import infinite_zoom
from dreamreel.pipeline.zooming.journey import Journey


def dream_image(image: Tensor, network: Network, settings: Settings | None = None) -> Tensor:
    """The dream of `image`, (1, 3, H, W) float32 RGB in [0, 1]: an image of that shape and range.

    Raises UserError if the image is too small for the network.

    >>> import torch
    >>> from dreamreel.pipeline import Settings, dream_image, load_network
    >>> network = load_network("dreamnet")
    >>> settings = Settings(dream={"octaves": 2, "steps": 3, "terms": "textures"})
    >>> dream_image(torch.rand(1, 3, 96, 160), network, settings).shape
    torch.Size([1, 3, 96, 160])
    """
    settings = settings or Settings()
    size = (image.shape[2], image.shape[3])
    scale = scale_of(settings.dream, size[1])
    small = resize(image, shrunk(Box(0, 0, size[1], size[0]), scale).size)
    subject = Subject.of(small, 0, network, settings)
    detail = subject.dreamed(small, subject.still) - small
    dreamed = (image + enlarged(detail, size)).clamp(0, 1)
    dreamed = coloured(image, dreamed, settings.dream, palette_of(settings))
    return mixed(image, dreamed, settings.dream.mix)


def imagine_image(
    size: tuple[int, int], network: Network, settings: Settings | None = None
) -> Tensor:
    """An image of `size` (height, width) that shows the terms of `settings`, from noise:
    (1, 3, H, W) float32 RGB in [0, 1].

    >>> from dreamreel.pipeline import Settings, imagine_image, load_network
    >>> settings = Settings(dream={"terms": "class:castle"}, imagine={"steps": 2, "views": 1})
    >>> imagine_image((64, 96), load_network("dreamnet"), settings).shape
    torch.Size([1, 3, 64, 96])
    """
    return imagine(size, network, settings or Settings())


def dream_video(
    frames: Iterable[Frame], rate: Fraction, network: Network, settings: Settings | None = None
) -> Iterator[Tensor]:
    """The dreams of `frames`, (H, W, 3) uint8 BGR at `rate` frames per second: one image for each,
    (1, 3, H, W) float32 RGB in [0, 1]. The dream follows the motion of the frames.

    >>> import numpy as np
    >>> from fractions import Fraction
    >>> from dreamreel.pipeline import Settings, dream_video, load_network
    >>> scene = np.random.default_rng(0).integers(0, 255, (96, 200, 3), np.uint8)
    >>> frames = [scene[:, 4 * number : 160 + 4 * number] for number in range(3)]
    >>> settings = Settings(dream={"octaves": 2, "steps": 3, "terms": "textures"})
    >>> images = dream_video(frames, Fraction(25), load_network("dreamnet"), settings)
    >>> [tuple(image.shape) for image in images]
    [(1, 3, 96, 160), (1, 3, 96, 160), (1, 3, 96, 160)]
    """
    settings = settings or Settings()
    moving = follow_motion(frames, rate, settings)
    palette = palette_of(settings)
    return dream_moving_frames(moving, network, constant(settings), palette=palette)


def zoom(
    image: Tensor,
    network: Network,
    frames: int,
    rate: Fraction,
    settings: Settings | None = None,
    loop: bool = False,
) -> Iterator[Tensor]:
    """The endless zoom into `image`: as many images as `frames` says, for `rate` frames per second.

    `image` and the results are (1, 3, H, W) float32 RGB in [0, 1]. A `loop` ends where it began.

    >>> import torch
    >>> from fractions import Fraction
    >>> from dreamreel.pipeline import Settings, load_network, zoom
    >>> settings = Settings(dream={"octaves": 2, "steps": 3}, camera={"zoom": 1.5})
    >>> image, network = torch.rand(1, 3, 96, 160), load_network("dreamnet")
    >>> images = zoom(image, network, 3, Fraction(25), settings)
    >>> [tuple(image.shape) for image in images]
    [(1, 3, 96, 160), (1, 3, 96, 160), (1, 3, 96, 160)]
    """
    settings, journey = settings or Settings(), Journey(frames, rate, loop)
    palette = palette_of(settings)
    return infinite_zoom(image, network, constant(settings), journey, palette=palette)
