"""The colours of a dream: its own, its source's, a palette's."""

import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from dreamreel.pipeline.app.api import dream_image, dream_video, zoom
from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.dreaming.colour import (
    Colours,
    from_oklab,
    recoloured,
    to_oklab,
    with_colour_of,
)
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.record import read_record
from dreamreel.pipeline.jobs.reproduce import reproduce
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import luma, to_image

CPU = torch.device("cpu")


def look(**dream: object) -> Settings:
    quick = {"terms": "textures", "octaves": 1, "steps": 3, **dream}
    return build(("test", {"dream": quick, "video": {"hold_light": 0.0}}))


@pytest.fixture
def photo(scene: np.ndarray) -> Tensor:
    return to_image(scene[:96, :160], CPU)


@pytest.fixture
def sunset(tmp_path: Path) -> Path:
    """A picture of 60x40 in reds and yellows."""
    random = np.random.default_rng(1).integers(0, 60, (40, 60, 3))
    picture = np.uint8(np.array([20, 90, 190]) + random * [0.2, 1.5, 1])
    cv2.imwrite(str(tmp_path / "sunset.png"), picture)
    return tmp_path / "sunset.png"


def colour_change(source: Tensor, dreamed: Tensor) -> float:
    """The mean change of colour, the channels minus luma, in levels of 255."""
    change = (dreamed - luma(dreamed)) - (source - luma(source))
    return 255 * float(change.abs().mean())


def palette_distance(image: Tensor, colours: Colours) -> float:
    own = Colours.of(image)
    means = (own.mean - colours.mean).abs().max()
    spreads = (own.covariance.diag().sqrt() - colours.covariance.diag().sqrt()).abs().max()
    return float(torch.maximum(means, spreads))


def test_oklab_comes_back_and_white_is_white() -> None:
    image = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(from_oklab(to_oklab(image)), image, atol=2e-4)
    white = to_oklab(torch.ones(1, 3, 1, 1)).flatten()
    assert white.tolist() == pytest.approx([1, 0, 0], abs=1e-3)


def test_a_dream_in_light_alone_keeps_the_colours_of_its_source(
    dreamnet: Network, photo: Tensor
) -> None:
    free, kept = (dream_image(photo, dreamnet, look(colour=name)) for name in ("free", "keep"))
    assert colour_change(photo, kept) < 0.1 * colour_change(photo, free)
    assert float(luma(kept - photo).abs().mean()) > 0.5 * float(luma(free - photo).abs().mean())


def test_the_brightest_and_darkest_become_paler_and_keep_their_hue() -> None:
    source = torch.tensor([0.8, 0.2, 0.2])[None, :, None, None]
    for light in (0.0, 0.1, 0.5, 0.95, 1.0):
        shown = with_colour_of(source, torch.full_like(source, light)).flatten()
        assert float(luma(shown[None, :, None, None])) == pytest.approx(light, abs=1e-5)
        assert float(shown[1]) == pytest.approx(float(shown[2]), abs=1e-6)
        assert float(shown[0]) >= float(shown[1]) - 1e-6


def test_a_picture_takes_the_colours_of_another(photo: Tensor, sunset: Path) -> None:
    wanted = Colours.of(to_image(cv2.imread(str(sunset)), CPU))
    found = recoloured(photo * 0.5 + 0.2, wanted)
    assert palette_distance(found, wanted) < 0.02 < palette_distance(photo, wanted)


def test_a_picture_in_its_own_colours_stays_as_it_is(photo: Tensor) -> None:
    assert torch.allclose(recoloured(photo, Colours.of(photo)), photo, atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_grey_takes_colours_without_noise(photo: Tensor, level: float) -> None:
    grey = torch.full((1, 3, 8, 8), level)
    found = recoloured(grey, Colours.of(photo))
    assert bool(found.isfinite().all()) and float(found.std((2, 3)).max()) < 1e-3


def test_still_video_and_zoom_take_the_palette(
    dreamnet: Network, scene: np.ndarray, photo: Tensor, sunset: Path
) -> None:
    wanted = Colours.of(to_image(cv2.imread(str(sunset)), CPU))
    settings, rate = look(palette=sunset), Fraction(25)
    frames = [scene[:96, 3 * number : 160 + 3 * number] for number in range(3)]
    images = [
        dream_image(photo, dreamnet, settings),
        *dream_video(frames, rate, dreamnet, settings),
        *zoom(photo, dreamnet, 2, rate, settings),
    ]
    for image in images:
        assert palette_distance(image, wanted) < 0.3 * palette_distance(photo, wanted)


def test_video_and_zoom_keep_colours(dreamnet: Network, scene: np.ndarray, photo: Tensor) -> None:
    frames = [scene[:96, 3 * number : 160 + 3 * number] for number in range(3)]
    images = list(dream_video(frames, Fraction(25), dreamnet, look(colour="keep")))
    for frame, image in zip(frames, images, strict=True):
        assert colour_change(to_image(frame, CPU), image) < 0.5
    plain, kept, free = (
        next(zoom(photo, dreamnet, 2, Fraction(25), look(**dream)))
        for dream in ({"steps": 0}, {"colour": "keep"}, {})
    )
    assert colour_change(plain, kept) < 0.5 * colour_change(plain, free)


def still_job(photo: Path, settings: Settings) -> Job:
    source = NamedFile(path=photo)
    return Job(kind="still", source=source, output=photo.with_name("o.png"), settings=settings)


def test_the_record_knows_the_palette_by_its_content(
    sunset: Path, scene: np.ndarray, tmp_path: Path
) -> None:
    photo = tmp_path / "p.png"
    cv2.imwrite(str(photo), scene[:64, :96])
    out = run(still_job(photo, look(palette=sunset)))
    assert read_record(record_path(out)).job.palette_sha256 is not None
    shutil.move(sunset, tmp_path / "moved.png")
    with pytest.raises(UserError, match=r"sunset\.png, which .* is gone or has changed"):
        reproduce(record_path(out), tmp_path / "again.png")
    shutil.move(tmp_path / "moved.png", sunset)
    again = reproduce(record_path(out), tmp_path / "again.png")
    assert again.read_bytes() == out.read_bytes()


def test_a_palette_that_cannot_be_is_refused(sunset: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for dream, told in (
        ({"palette": tmp_path / "none.png"}, "none.png"),
        ({"palette": text}, "text.png"),
        ({"palette": sunset, "colour": "source"}, "two palettes"),
    ):
        with pytest.raises(UserError, match=told):
            run(still_job(sunset, look(**dream)))
        assert not (tmp_path / "o.png").exists()
