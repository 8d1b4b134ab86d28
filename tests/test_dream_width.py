"""Dreaming small and showing large."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dreamreel.pipeline.app.api import dream_image, dream_video
from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize, to_image
from making import write_clip
from rendering import flight, render_video

CPU = torch.device("cpu")


def look(**dream: object) -> Settings:
    quick = {"layers": "textures", "octaves": 1, "steps": 4, **dream}
    return build(("test", {"dream": quick, "output": {"codec": "ffv1", "save_seconds": 0}}))


def test_a_picture_dreamed_small_is_the_source_and_the_small_dreams_detail(
    dreamnet: Network, scene: np.ndarray
) -> None:
    source = to_image(scene[:192, :320], CPU)
    small = resize(source, (96, 160))
    shown = dream_image(source, dreamnet, look(width=160))
    assert shown.shape == source.shape
    detail = dream_image(small, dreamnet, look()) - small
    found = resize(shown - source, (96, 160))
    alike = torch.corrcoef(torch.stack([detail.flatten(), found.flatten()]))
    assert float(alike[0, 1]) > 0.9
    subject = Subject.of(small, 0, dreamnet, look())
    plain, one, other = subject.responses(
        torch.cat([small, (small + detail).clamp(0, 1), resize(shown, (96, 160))])
    )
    assert (other - plain) / (one - plain) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("width", [160, 320])
def test_no_dream_is_made_larger_than_its_source(
    dreamnet: Network, scene: np.ndarray, width: int
) -> None:
    source = to_image(scene[:96, :160], CPU)
    assert torch.equal(
        dream_image(source, dreamnet, look(width=width)), dream_image(source, dreamnet, look())
    )


def test_a_film_is_dreamed_small(dreamnet: Network, scene: np.ndarray) -> None:
    frames = [scene[:192, 8 * number : 320 + 8 * number] for number in range(4)]
    shown = list(dream_video(frames, Fraction(25), dreamnet, look(width=160)))
    for frame, image in zip(frames, shown, strict=True):
        source = to_image(frame, CPU)
        assert image.shape == source.shape
        assert float((image - source).abs().mean()) > 2 / 255
    fine = [image - resize(resize(image, (96, 160)), (192, 320)) for image in shown]
    own = to_image(frames[-1], CPU)
    own = own - resize(resize(own, (96, 160)), (192, 320))
    assert float(torch.corrcoef(torch.stack([fine[-1].flatten(), own.flatten()]))[0, 1]) > 0.5


def test_bars_stay_as_they_are_beside_a_film_dreamed_small(
    scene: np.ndarray, tmp_path: Path
) -> None:
    frames = [
        cv2.copyMakeBorder(scene[:150, 8 * n : 320 + 8 * n], 21, 21, 0, 0, cv2.BORDER_CONSTANT)
        for n in range(5)
    ]
    clip = write_clip(tmp_path / "c.mkv", frames)
    out = render_video(clip, tmp_path / "o.mkv", look(width=150))
    whole = cv2.VideoCapture(str(out))
    read = [whole.read()[1] for _ in range(5)]
    assert all(image is not None and image.shape == (192, 320, 3) for image in read)
    assert max(int(image[:16].max()) for image in read) < 24
    assert np.abs(read[4][30:160].astype(int) - frames[4][30:160]).mean() > 2


def test_a_zoom_has_no_larger_source(tmp_path: Path) -> None:
    job = Job(
        kind="zoom",
        output=tmp_path / "z.mp4",
        flight=flight(0.2, Fraction(10), (64, 96)),
        settings=look(width=64),
    )
    with pytest.raises(UserError, match=r"dream\.width = 64: .*--width makes the zoom smaller"):
        run(job)


def test_a_width_too_small_for_the_network_is_refused(scene: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), scene)
    source = NamedFile(path=tmp_path / "p.png")
    settings = look(width=32, layers="objects")
    job = Job(kind="still", source=source, output=tmp_path / "o.png", settings=settings)
    with pytest.raises(UserError, match="is too small for dreamnet at objects"):
        run(job)
