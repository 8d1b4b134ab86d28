"""Images, and the only bridge between them and frames.

An image is a float32 RGB tensor of shape (1, 3, H, W) in [0, 1], channels last in memory.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline import pixels
from dreamreel.pipeline.frames import Box, Frame

STEEP, CELLS = 32, 4  # times that an image shrinks at once, at most; cells of an average, a side
Shift = int | Tensor
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601)


def to_image(frame: Frame, device: torch.device) -> Tensor:
    """`frame` (H, W, 3 or 4) as an image (1, 3, H, W) on `device`, without alpha."""
    if pixels.takes_frame(frame, device):
        return pixels.image_of(frame)
    found = moved(torch.from_numpy(np.ascontiguousarray(frame[..., :3])), device)
    levels = 255 if frame.dtype == np.uint8 else 65535
    image = found.flip(-1).permute(2, 0, 1)[None].float().div_(levels)
    return image.contiguous(memory_format=torch.channels_last)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor`, of the CPU, on `device`. A GPU goes on computing meanwhile: from pinned memory, the
    copy waits for its turn there rather than here."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_frame(image: Tensor, depth: int = 8) -> Frame:
    """`image` (1, 3, H, W) as a frame (H, W, 3), clipped and rounded to the nearest level: uint8,
    or uint16 from 0 to 65535 if `depth` is more than 8 bits."""
    return Leaving(image, depth).frame()


class Leaving:
    """An image (1, 3, H, W) on its way from its device to a frame, as `to_frame` makes one. A GPU
    goes on computing meanwhile; what is asked here waits until the image has arrived."""

    def __init__(self, image: Tensor, depth: int = 8) -> None:
        self._size = (image.shape[2], image.shape[3])
        self._left: torch.cuda.Event | None = None
        if depth <= 8 and pixels.takes(image):
            frame, is_finite = pixels.levels(image)
            self._here = torch.cat([frame.flatten(), torch.tensor([is_finite], dtype=frame.dtype)])
            return
        levels, kind = (255, torch.uint8) if depth <= 8 else (65535, torch.int32)
        scaled = image[0].mul(levels).round_().clamp_(0, levels).to(kind)
        finite = image.isfinite().all().to(kind)  # leaves with the pixels, in one move
        packed = torch.cat([scaled.permute(1, 2, 0).flip(-1).flatten(), finite[None]])
        if image.device.type == "cuda":
            self._here = torch.empty(packed.shape, dtype=kind, pin_memory=True)
            self._here.copy_(packed, non_blocking=True)
            self._left = torch.cuda.Event()
            self._left.record()
        else:
            self._here = packed.cpu()

    @property
    def is_on_its_way(self) -> bool:
        """Whether to ask for the frame may mean to wait."""
        return self._left is not None and not self._left.query()

    @property
    def is_finite(self) -> bool:
        """Whether the image was finite throughout."""
        return bool(self._arrived()[-1])

    def frame(self) -> Frame:
        """The frame (H, W, 3)."""
        frame = self._arrived()[:-1].view(*self._size, 3).numpy()
        return frame if frame.dtype == np.uint8 else frame.astype(np.uint16)

    def _arrived(self) -> Tensor:
        if self._left is not None:
            self._left.synchronize()
        return self._here


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """`image` (1, C, H, W) resized to `size` (height, width), bilinear; anti-aliased if shrunk. One
    that shrinks to less than a `STEEP`th is averaged over cells first."""
    if tuple(image.shape[2:]) == size:
        return image
    if min(image.shape[2] / size[0], image.shape[3] / size[1]) > STEEP:
        # The filter would be as wide as hundreds of pixels: slow, and too wide for a GPU.
        image = F.adaptive_avg_pool2d(image, (CELLS * size[0], CELLS * size[1]))
    shrinks = size[0] < image.shape[2] or size[1] < image.shape[3]
    resized = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=shrinks)
    return resized.contiguous(memory_format=torch.channels_last)


def sample(image: Tensor, grid: Tensor, edges: str) -> Tensor:
    """`image` (1, C, H, W) resampled at the points `grid` (1, H', W', 2), which are in
    grid_sample's coordinates: (1, C, H', W'). `edges` is grid_sample's padding mode.

    An image that is resampled in every frame must neither blur nor ring. PyTorch's bicubic filter
    (a = -0.75) amplifies middle frequencies each time. Two parts of it and one of bilinear are
    nearly the spline of Catmull and Rom (a = -0.5), which amplifies none.
    """
    if edges == "border" and image.shape[1] <= pixels.MOST_CHANNELS and pixels.takes(image):
        return pixels.sampled(image, grid)
    rows, width = grid.shape[1:3]
    # On a CPU, grid_sample runs one thread for each image of a batch: make strips of rows a batch.
    strips = torch.get_num_threads() if image.device.type == "cpu" else 1
    strips = next(count for count in range(strips, 0, -1) if rows % count == 0)
    image = image.expand(strips, -1, -1, -1)
    grid = grid.reshape(strips, rows // strips, width, 2)
    cubic = F.grid_sample(image, grid, "bicubic", edges, align_corners=False)
    linear = F.grid_sample(image, grid, "bilinear", edges, align_corners=False)
    sampled = linear.lerp_(cubic, 2 / 3).transpose(0, 1).reshape(1, -1, rows, width)
    return sampled.contiguous(memory_format=torch.channels_last)


def rolled(image: Tensor, shift: tuple[Shift, Shift]) -> Tensor:
    """`image` (1, C, H, W) rolled by `shift` (down, right), in pixels. What leaves it at an edge
    comes in at the opposite one. Shifts may be scalars on the device of the image."""
    down, right = shift
    if isinstance(down, int) and isinstance(right, int):
        return image.roll((down, right), (2, 3))
    height, width = image.shape[2:]
    rows = (torch.arange(height, device=image.device) - down) % height
    columns = (torch.arange(width, device=image.device) - right) % width
    return image.permute(0, 2, 3, 1)[:, rows[:, None], columns].permute(0, 3, 1, 2)


def inside(image: Tensor, box: Box) -> Tensor:
    """The part of `image` (1, C, H, W) in `box`: a copy, unless it is all of it."""
    if box.size == tuple(image.shape[2:]):
        return image
    part = image[:, :, box.rows, box.columns]
    return part.clone(memory_format=torch.channels_last)


def pasted(image: Tensor, part: Tensor, box: Box) -> Tensor:
    """`image` (1, C, H, W) with `part` in `box`."""
    if box.size == tuple(image.shape[2:]):
        return part
    image = image.clone(memory_format=torch.channels_last)
    image[:, :, box.rows, box.columns] = part
    return image


def blur(image: Tensor, sigma: float) -> Tensor:
    """`image` (1, C, H, W) blurred by a Gaussian of `sigma` pixels, with edges reflected. The
    kernel ends at 3 sigma."""
    radius = min(max(1, round(3 * sigma)), min(image.shape[2:]) - 1)
    if sigma <= 0 or radius < 1:
        return image
    gaussian = _gaussian(sigma, radius, image.device)
    if pixels.takes(image):
        return pixels.blurred(image, gaussian)
    kernel = gaussian.expand(image.shape[1], 1, -1)
    padded = F.pad(image, (radius, radius, radius, radius), mode="reflect")
    across = F.conv2d(padded, kernel[:, :, None, :], groups=image.shape[1])
    return F.conv2d(across, kernel[:, :, :, None], groups=image.shape[1])


def luma(image: Tensor) -> Tensor:
    """The luma (1, 1, H, W) of `image` (1, 3, H, W)."""
    if pixels.takes(image):
        return pixels.light(image, _luma_weights(image.device))
    # Channels last, the colours of places are rows of a matrix: faster than a convolution.
    weights = _luma_weights(image.device).to(image.dtype)
    return (image.permute(0, 2, 3, 1) @ weights)[:, None]


def sharpness(image: Tensor, where: Tensor | None = None) -> Tensor:
    """The mean squared Laplacian of the luma of `image` (1, 3, H, W), which is at least 3 by 3: a
    scalar. `where` (1, 1, H, W) weighs the places, if given.

    Pech-Pacheco et al., ICPR 2000, use the variance of the Laplacian. That is nearly the same, as
    over many pixels its mean is nearly 0.
    """
    light = luma(image)
    if where is None and pixels.takes(light):
        return pixels.roughness(light)
    y = light[0, 0]
    beside = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:]
    squares = (beside - 4 * y[1:-1, 1:-1]).square()
    if where is None:
        return squares.mean()
    weights = where[0, 0, 1:-1, 1:-1]
    return (weights * squares).sum() / weights.sum().clamp_min(1e-12)


def crop_to(image: Tensor, size: tuple[int, int]) -> Tensor:
    """`image` (1, C, H, W) resized to cover `size` (height, width), then cropped about the centre:
    (1, C, height, width)."""
    height, width = size
    scale = max(height / image.shape[2], width / image.shape[3])
    covering = (
        max(height, round(image.shape[2] * scale)),
        max(width, round(image.shape[3] * scale)),
    )
    image = resize(image, covering)
    top, left = (covering[0] - height) // 2, (covering[1] - width) // 2
    return image[:, :, top : top + height, left : left + width].contiguous(
        memory_format=torch.channels_last
    )


# Constants are kept where they are used: to move one to a GPU in each frame would take its time.
@lru_cache(maxsize=64)
def _gaussian(sigma: float, radius: int, device: torch.device) -> Tensor:
    """The Gaussian of `sigma` places that ends at `radius`, with a sum of 1: (2 radius + 1,)."""
    at = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    return kernel / kernel.sum()


@lru_cache(maxsize=8)
def _luma_weights(device: torch.device) -> Tensor:
    return torch.tensor(LUMA).to(device)
