"""Conversion between frames and images, resizing, and picture files."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import fitted_size
from dreamreel.pipeline.media.stills import Picture, check_picture_name, load_picture, save_picture
from dreamreel.pipeline.tensors import blur, crop_to, resize, rolled, to_frame, to_image

CPU = torch.device("cpu")


def test_a_frame_survives_conversion_to_an_image_and_back(scene: np.ndarray) -> None:
    image = to_image(scene, CPU)
    assert image.shape == (1, 3, *scene.shape[:2]) and image.dtype == torch.float32
    assert np.array_equal(to_frame(image), scene)


def test_an_image_is_rgb() -> None:
    frame = np.uint8([[[255, 128, 0]]])  # blue, green, red
    assert to_image(frame, CPU)[0, :, 0, 0].tolist() == pytest.approx([0, 128 / 255, 1])


@given(width=st.integers(1, 2000), height=st.integers(1, 2000), new=st.integers(1, 2000))
def test_a_new_width_keeps_the_aspect_ratio(width: int, height: int, new: int) -> None:
    fitted = fitted_size(height, width, new)
    assert fitted[1] == new
    assert fitted[0] == max(1, round(height * new / width))
    assert fitted_size(height, width, None) == (height, width)


def test_shrinking_does_not_alias() -> None:
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 1
    assert resize(stripes, (16, 16)).std() < 0.05


def test_a_flat_image_stays_flat_under_a_blur() -> None:
    assert torch.allclose(blur(torch.full((1, 3, 9, 7), 0.3), 2.0), torch.tensor(0.3), atol=1e-6)


def test_cropping_fills_the_size_and_keeps_the_centre(picture: torch.Tensor) -> None:
    cropped = crop_to(picture, (64, 64))
    assert cropped.shape == (1, 3, 64, 64)
    assert cropped[0, :, 32, 32].mean() > cropped[0, :, 5, 5].mean()  # the disc stays in the middle


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_pictures_are_written_and_read_in_every_usual_format(
    tmp_path: Path, picture: torch.Tensor, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    check_picture_name(path)
    save_picture(path, Picture(picture), replace=False)
    read = load_picture(path, CPU)
    assert read.image.shape == picture.shape and read.alpha is None
    assert (read.image - picture).abs().mean() < 0.02
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".png", ".webp", ".tif"])
def test_alpha_is_kept(tmp_path: Path, picture: torch.Tensor, ending: str) -> None:
    alpha = torch.linspace(0, 1, 160).expand(96, 160)
    path = tmp_path / f"a{ending}"
    save_picture(path, Picture(picture, alpha), replace=False)
    read = load_picture(path, CPU).alpha
    assert read is not None and torch.allclose(read, alpha, atol=1 / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture_upright(
    tmp_path: Path, picture: torch.Tensor, orientation: int
) -> None:
    upright = Image.fromarray(to_frame(picture)[..., ::-1])
    # The stored pixels are turned by the inverse of what the tag asks for.
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(inverse[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert torch.allclose(load_picture(tmp_path / "a.png", CPU).image, picture, atol=1 / 255)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "CMYK", "1", "I;16"])
def test_every_pixel_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = np.tile(np.arange(0, 250, 10, np.uint8), (20, 1))
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png")
    if mode == "I;16":
        imageio.imwrite(path, grey.astype(np.uint16) * 257)
    else:
        Image.fromarray(grey).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    image = load_picture(path, CPU).image
    assert image.shape == (1, 3, 20, 25)
    if mode == "1":  # black and white dots that are grey on average
        assert set(image.unique().tolist()) == {0.0, 1.0}
        assert image.mean().item() == pytest.approx(grey.mean() / 255, abs=0.05)
    else:
        expected = torch.from_numpy(grey[3] / 255.0).float()
        assert torch.allclose(image[0, :, 3, :], expected, atol=0.02)


def test_a_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, 15:] = (200, 30, 60)
    Image.fromarray(pixels).save(tmp_path / "a.png", transparency=(200, 30, 60))
    alpha = load_picture(tmp_path / "a.png", CPU).alpha
    assert alpha is not None
    assert alpha[:, :15].min() == 1 and alpha[:, 15:].max() == 0


def test_float_grey_is_read_if_its_values_are_known_and_else_refused(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 1, 30, dtype=np.float32), (20, 1))
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    image = load_picture(tmp_path / "a.tif", CPU).image
    assert torch.allclose(image[0, 1], torch.from_numpy(ramp), atol=1e-4)
    Image.fromarray(ramp * 300).save(tmp_path / "b.tif")
    with pytest.raises(UserError, match="values run from 0 to 300"):
        load_picture(tmp_path / "b.tif", CPU)


def test_a_file_that_is_no_picture_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture at all")
    with pytest.raises(UserError, match="a.png is a text, not a picture"):
        load_picture(tmp_path / "a.png", CPU)
    (tmp_path / "b.png").write_bytes(b"\1\2\3 of an unknown kind")
    with pytest.raises(UserError, match="no picture that can be read"):
        load_picture(tmp_path / "b.png", CPU)


@pytest.mark.parametrize("name", ["a.mp4", "a.xyz", "a"])
def test_an_output_name_without_a_picture_ending_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=".png, .jpg"):
        check_picture_name(Path(name))


def test_a_shift_on_the_device_rolls_as_a_number_does() -> None:
    image = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    for down, right in ((0, 0), (3, -2), (-9, 14)):
        shift = torch.tensor(down), torch.tensor(right)
        assert torch.equal(rolled(image, shift), image.roll((down, right), (2, 3)))
        assert torch.equal(rolled(image, (down, right)), image.roll((down, right), (2, 3)))
