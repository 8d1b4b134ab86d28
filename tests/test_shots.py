"""Cuts."""

import numpy as np

from dreamreel.pipeline.shots import CutDetector


def cuts(frames: list[np.ndarray], min_frames: int = 4) -> list[int]:
    detector = CutDetector(27.0, min_frames)
    return [number for number, frame in enumerate(frames) if detector.is_cut(frame)]


def test_hard_cuts_are_found_where_they_are(scene: np.ndarray) -> None:
    other = 255 - scene
    frames = [scene[:90, i : 160 + i] for i in range(7)] + [
        other[:90, i : 160 + i] for i in range(9)
    ]
    frames += [scene[100:190, i : 160 + i] for i in range(5)]
    assert cuts(frames) == [7, 16]


def test_a_cut_right_after_the_beginning_counts(scene: np.ndarray) -> None:
    assert cuts([scene, 255 - scene, 255 - scene], min_frames=15) == [1]


def test_motion_is_no_cut(scene: np.ndarray) -> None:
    assert cuts([scene[:90, 2 * i : 160 + 2 * i] for i in range(20)]) == []


def test_shots_shorter_than_the_shortest_are_not_cut_again(scene: np.ndarray) -> None:
    frames = [scene, 255 - scene] * 4
    assert cuts(frames, min_frames=100) == [1]
