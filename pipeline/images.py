"""The image convention, and the bridges to files and to OpenCV.

An image is a float32 RGB tensor of shape (1, 3, H, W), in [0, 1], channels last in memory.
A frame is OpenCV's: an array of shape (H, W, 3), BGR, or (H, W, 4), with alpha; uint8, or uint16
where its source is deeper.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.opening import open_picture, regular_file, why_no_picture

Frame = NDArray[Any]

JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
KEEPS_ALPHA = {".png", ".apng", ".webp", ".tif", ".tiff", ".avif", ".tga", ".jp2", ".gif"}
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class Picture:
    """A still: its image, and its alpha (H, W) in [0, 1] where it has one."""

    image: Tensor
    alpha: Tensor | None = None


def to_image(frame: Frame, device: torch.device) -> Tensor:
    """A frame (H, W, 3 or 4) as an image (1, 3, H, W), float32 RGB in [0, 1], without alpha."""
    pixels = torch.from_numpy(np.ascontiguousarray(frame[..., :3])).to(device)
    levels = 255 if frame.dtype == np.uint8 else 65535
    image = pixels.flip(-1).permute(2, 0, 1)[None].float().div_(levels)
    return image.contiguous(memory_format=torch.channels_last)


def to_frame(image: Tensor, depth: int = 8) -> Frame:
    """An image (1, 3, H, W) as a frame (H, W, 3), BGR, rounded to the nearest level: uint8, or
    uint16 of the full range where more than 8 bits of `depth` are asked for."""
    levels, kind = (255, torch.uint8) if depth <= 8 else (65535, torch.int32)
    pixels = image[0].mul(levels).round_().clamp_(0, levels).to(kind)
    frame = np.ascontiguousarray(pixels.permute(1, 2, 0).flip(-1).cpu().numpy())
    return frame if depth <= 8 else frame.astype(np.uint16)


def to_8_bits(frame: Frame) -> Frame:
    """`frame` with 8 bits a colour, rounded."""
    if frame.dtype == np.uint8:
        return frame
    return ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)


def with_alpha(frame: Frame, source: Frame) -> Frame:
    """`frame` (H, W, 3), as transparent as `source` (H, W, 4), or as it is where that has none."""
    if source.shape[2] == 3:
        return frame
    alpha = source[..., 3]
    if alpha.dtype != frame.dtype:
        deeper = frame.dtype == np.uint16
        alpha = alpha.astype(np.uint16) * 257 if deeper else to_8_bits(alpha)
    return np.dstack([frame, alpha])


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """`image` (1, C, H, W) at `size` (height, width); shrinking is anti-aliased."""
    if tuple(image.shape[2:]) == size:
        return image
    shrinks = size[0] < image.shape[2] or size[1] < image.shape[3]
    resized = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=shrinks)
    return resized.contiguous(memory_format=torch.channels_last)


def sample(image: Tensor, grid: Tensor, edges: str) -> Tensor:
    """`image` (1, C, H, W) at the places `grid` (1, H', W', 2), in grid_sample's coordinates.

    What is sampled a hundred times over, frame after frame, may neither blur nor ring. PyTorch's
    bicubic (a = -0.75) strengthens middle frequencies each time; two parts of it and one of
    bilinear make, near enough, Catmull and Rom's spline (a = -0.5), which strengthens none.
    """
    rows, width = grid.shape[1:3]
    # On the CPU only the pictures of a batch share its threads out: let bands of rows be pictures.
    bands = torch.get_num_threads() if image.device.type == "cpu" else 1
    bands = next(count for count in range(bands, 0, -1) if rows % count == 0)
    image = image.expand(bands, -1, -1, -1)
    grid = grid.reshape(bands, rows // bands, width, 2)
    cubic = F.grid_sample(image, grid, "bicubic", edges, align_corners=False)
    linear = F.grid_sample(image, grid, "bilinear", edges, align_corners=False)
    sampled = linear.lerp_(cubic, 2 / 3).transpose(0, 1).reshape(1, -1, rows, width)
    return sampled.contiguous(memory_format=torch.channels_last)


def blur(image: Tensor, sigma: float) -> Tensor:
    """`image` (1, C, H, W) under a Gaussian of `sigma` pixels, edges reflected."""
    radius = min(max(1, round(3 * sigma)), min(image.shape[2:]) - 1)
    if sigma <= 0 or radius < 1:
        return image
    at = torch.arange(-radius, radius + 1, device=image.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, -1)
    padded = F.pad(image, (radius, radius, radius, radius), mode="reflect")
    across = F.conv2d(padded, kernel[:, :, None, :], groups=image.shape[1])
    return F.conv2d(across, kernel[:, :, :, None], groups=image.shape[1])


def luma(image: Tensor) -> Tensor:
    """The luma (1, 1, H, W) of `image` (1, 3, H, W)."""
    return F.conv2d(image, torch.tensor(LUMA)[None, :, None, None].to(image))


def sharpness(image: Tensor) -> float:
    """The mean squared Laplacian of the luma of `image` (1, 3, H, W), at least 3 by 3, values in
    [0, 1].

    Pech-Pacheco et al., ICPR 2000, have its variance; over many pixels its mean is nothing.
    """
    y = luma(image)[0, 0]
    beside = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:]
    return float((beside - 4 * y[1:-1, 1:-1]).square().mean())


def fitted_size(height: int, width: int, new_width: int | None) -> tuple[int, int]:
    """(height, width) at `new_width`, keeping the shape; unchanged where none is asked for."""
    if new_width is None:
        return height, width
    return max(1, round(height * new_width / width)), new_width


def crop_to(image: Tensor, size: tuple[int, int]) -> Tensor:
    """`image` scaled to cover `size` (height, width), then cropped to it about the centre."""
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


def load_picture(path: Path, device: torch.device) -> Picture:
    """The still at `path`, upright as its EXIF orientation says, with its alpha.

    Of an animation, the first picture. Raises UserError where the file is no picture.
    """
    try:
        pixels = read_pixels(path)
    except (OSError, ValueError, SyntaxError) as error:
        why = why_no_picture(path) if str(error).startswith("cannot identify") else error
        raise UserError(f"{path} is no picture that can be read ({why})") from error
    levels = 65535 if pixels.dtype == np.uint16 else 255
    tensor = torch.from_numpy(pixels.astype(np.float32) / levels).to(device)
    image = tensor[:, :, :3].permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    alpha = tensor[:, :, 3] if bool((tensor[:, :, 3] < 1).any()) else None
    return Picture(image, alpha)


def read_pixels(path: Path) -> NDArray[Any]:
    """The pixels at `path` as RGBA (H, W, 4), uint8, or uint16 where a grey file has 16 bits.

    Raises UserError where it is no regular file; OSError, ValueError or SyntaxError where it is no
    picture in one of the formats of `opening`.
    """
    import imageio.v3 as imageio

    open_picture(path).close()  # imageio would try every format that Pillow knows
    data = io.BytesIO(regular_file(path).read_bytes())  # and take a name for an address
    file: Any
    with imageio.imopen(data, "r", plugin="pillow") as file:
        about = file.metadata(index=0, exclude_applied=False)
        mode = about.get("mode", "RGB")
        if mode.startswith(("I", "F")):
            return _grey_to_rgba(np.asarray(file.read(index=0, rotate=True)))
        if "transparency" not in about and mode in ("RGB", "CMYK", "YCbCr", "LAB", "HSV"):
            rgb = file.read(index=0, rotate=True, mode="RGB")
            return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
        return np.asarray(file.read(index=0, rotate=True, mode="RGBA"))


def _grey_to_rgba(grey: NDArray[Any]) -> NDArray[Any]:
    """Grey of many levels (H, W) as RGBA of 65535: floats from 0 to 1, integers of 8 or 16 bits."""
    top = 1.0 if grey.dtype.kind == "f" else (255.0 if grey.max() <= 255 else 65535.0)
    if grey.dtype == np.uint16:
        top = 65535.0
    if not (np.isfinite(grey).all() and grey.min() >= 0 and grey.max() <= top):
        raise ValueError(f"its values run from {grey.min():g} to {grey.max():g}, not to {top:g}")
    levels = np.round(grey / top * 65535).astype(np.uint16)
    return np.dstack([levels, levels, levels, np.full_like(levels, 65535)])


def save_picture(path: Path, picture: Picture, replace: bool) -> None:
    """Write `picture` to `path` in the format of its ending; whole, or not at all. Raises UserError
    where that cannot be, or there is a file by now that it is not to `replace`."""
    import imageio.v3 as imageio

    pixels = picture.image[0].mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    if picture.alpha is not None and path.suffix.lower() in KEEPS_ALPHA:
        alpha = picture.alpha.mul(255).round().byte().cpu().numpy()
        pixels = np.dstack([pixels, alpha])
    options: dict[str, Any] = (
        {"quality": 95, "subsampling": 0} if path.suffix.lower() in JPEG else {}
    )
    data = io.BytesIO()
    try:
        imageio.imwrite(
            data, np.ascontiguousarray(pixels), plugin="pillow", extension=path.suffix.lower(),
            **options,
        )  # fmt: skip
        write_new(path, data.getvalue(), replace)
    except (OSError, ValueError, RuntimeError, OverflowError) as error:  # too large, say
        raise UserError(f"{path} could not be written ({error})") from error


def write_new(path: Path, data: bytes, replace: bool) -> None:
    """Write `data` to the file `path`, whole or not at all. Raises UserError where there is one by
    now that it is not to `replace`, OSError where it cannot be written."""
    try:
        write_whole(path, lambda file: file.write(data), replace)
    except FileExistsError as error:
        raise UserError(f"{path} exists by now; --overwrite replaces it") from error


def check_picture_name(path: Path) -> None:
    """Raise UserError unless `path` ends as a format that can be written does."""
    from PIL import Image

    kind = Image.registered_extensions().get(path.suffix.lower())
    if path.suffix.lower() not in JPEG | KEEPS_ALPHA | {".bmp", ".ppm"} or kind not in Image.SAVE:
        given = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UserError(f"{path} {given}; .png, .jpg, .webp, .tif or .avif would work")
