"""Encoders in hardware: taken where a trial shows that one works, and never otherwise."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from dreamreel.pipeline.config.fields import Output
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.media.encoding import encoding_for
from dreamreel.pipeline.media.hardware import HARDWARE, find_hardware, works
from making import Run

ABOUT = (96, 160), Fraction(24)


def test_an_encoder_that_this_machine_lacks_does_not_work() -> None:
    assert not works("h264_of_no_card")


def test_auto_takes_the_first_that_works() -> None:
    found = find_hardware("auto", "h264", "yuv420p")
    assert found == next((name for name in HARDWARE["h264"] if works(name)), None)


def test_software_stays_what_it_was() -> None:
    assert encoding_for(Output(), ".mp4", *ABOUT).hardware is None
    assert find_hardware("auto", "prores", "yuv422p10le") is None
    assert find_hardware("auto", "h264", "yuv444p10le") is None


def test_an_encoder_of_another_codec_is_refused() -> None:
    with pytest.raises(UserError, match="does not encode h264"):
        encoding_for(Output(encoder="hevc_nvenc"), ".mp4", *ABOUT)


@pytest.mark.skipif(works("h264_amf"), reason="this machine has one")
def test_a_missing_encoder_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="does not work on this machine"):
        encoding_for(Output(encoder="h264_amf"), ".mp4", *ABOUT)


def test_auto_renders_a_film_wherever_it_is(
    moving_clip: Path, tmp_path: Path, dreamreel: Callable[..., Run]
) -> None:
    out = tmp_path / "out.mp4"
    quick = ("--preset", "draft", "--encoder", "auto")
    done = dreamreel("video", moving_clip, "-o", out, *quick)
    assert done.code == 0 and out.exists()
    if find_hardware("auto", "h264", "yuv420p") is None:
        assert "no encoder in hardware works here" in done.err
        plain = tmp_path / "plain.mp4"
        dreamreel("video", moving_clip, "-o", plain, *quick[:-2])
        assert plain.read_bytes() == out.read_bytes()
