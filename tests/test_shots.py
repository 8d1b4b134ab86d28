"""Cuts and fades are found; motion, changes of light and flashes are not taken for cuts."""

from fractions import Fraction

import numpy as np
import pytest

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.motion.following import follow_motion

RATE = Fraction(25)
Frames = list[np.ndarray]


def cuts(frames: Frames, min_seconds: float = 0.16) -> list[int]:
    settings = build(("test", {"shots": {"min_seconds": min_seconds}}))
    followed = follow_motion(frames, RATE, settings)
    return [moving.number for moving in followed if moving.motion is None][1:]


@pytest.fixture
def pan(scene: np.ndarray) -> Frames:
    return [scene[:90, 2 * i : 160 + 2 * i] for i in range(40)]


@pytest.fixture
def other(scene: np.ndarray) -> Frames:
    turned = np.ascontiguousarray(np.flip(scene, (0, 1)))
    return [turned[90:180, i : 160 + i] for i in range(30)]


def faded(frames: Frames, to: int, back: bool = False) -> Frames:
    """`frames` that fade to the grey level `to`; with `back`, from it."""
    shares = np.linspace(1, 0, len(frames)) if not back else np.linspace(0, 1, len(frames))
    pairs = zip(frames, shares, strict=True)
    return [np.uint8(np.round(to + share * (frame - float(to)))) for frame, share in pairs]


def test_hard_cuts_are_found_at_their_frames(pan: Frames, other: Frames) -> None:
    assert cuts(pan[:7] + other[:9] + pan[20:25]) == [7, 16]


def test_a_cut_right_after_the_beginning_is_found(pan: Frames, other: Frames) -> None:
    assert cuts([pan[0], *other[:14]], min_seconds=0.5) == [1]


def test_motion_is_no_cut(pan: Frames) -> None:
    assert cuts(pan) == []


def test_fast_motion_is_no_cut(scene: np.ndarray) -> None:
    assert cuts([scene[:90, 12 * i : 160 + 12 * i] for i in range(20)]) == []


def test_no_cut_is_found_before_a_shot_has_its_shortest_length(pan: Frames, other: Frames) -> None:
    mixed = pan[:10] + other[:10] + pan[20:30]
    assert cuts(mixed) == [10, 20]
    assert cuts(mixed, min_seconds=0.6) == [10]


@pytest.mark.parametrize("length", [6, 12, 25])
@pytest.mark.parametrize("level", [255, 0])
def test_a_fade_to_black_or_white_and_back_is_a_cut_where_there_is_something_to_see_again(
    pan: Frames, other: Frames, length: int, level: int
) -> None:
    plain = [np.full_like(pan[0], level)] * 3
    for after in (other, pan[length:]):
        back = after[: min(length, len(after))]
        (cut,) = cuts(faded(pan[:length], level) + plain + faded(back, level, back=True))
        assert length + 3 < cut <= length + 3 + max(2, length // 5)


def test_a_scene_ends_that_stays_dark_for_longer_than_a_flash(pan: Frames) -> None:
    assert cuts(pan[:10] + [np.zeros_like(pan[0])] * 9 + pan[10:20]) == [19]


def test_a_film_that_begins_in_the_dark_has_no_cut(pan: Frames) -> None:
    assert cuts([np.zeros_like(pan[0])] * 9 + pan[:10]) == []
    assert cuts(faded(pan[:12], 0, back=True) + pan[12:20]) == []


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("level", [255, 0])
def test_a_flash_is_no_cut(pan: Frames, length: int, level: int) -> None:
    flash = [np.full_like(frame, level) for frame in pan[10 : 10 + length]]
    assert cuts(pan[:10] + flash + pan[10 + length : 25]) == []


def test_motion_is_followed_across_a_flash(pan: Frames) -> None:
    frames = pan[:10] + [np.full_like(pan[0], 255)] * 2 + pan[12:16]
    for moving in list(follow_motion(frames, RATE, build()))[10:13]:
        assert moving.motion is not None
        assert np.median(moving.motion.flow[..., 0]) == pytest.approx(2, abs=0.3)


def test_a_sudden_change_of_light_is_no_cut(pan: Frames) -> None:
    dark = [np.uint8(frame * 0.35) for frame in pan[:12]]
    assert cuts(dark + pan[12:24]) == []


def test_a_cut_between_grey_pictures_is_found(pan: Frames, other: Frames) -> None:
    def grey(frames: Frames) -> Frames:
        return [np.repeat(frame.mean(2, keepdims=True).astype(np.uint8), 3, 2) for frame in frames]

    assert cuts(grey(pan[:10]) + grey(other[:10])) == [10]
