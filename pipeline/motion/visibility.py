"""Which places are visible in the previous frame too, so that their flow can be trusted."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.motion.flow import FlowArray, FlowEstimator, Grey, grey

Share = NDArray[np.float32]  # (H, W), 0 to 1
# Sigma in pixels at the working size: broader light is not texture. Frames of two films correlate
# by up to 0.28, with 16 pixels by up to 0.36. With 4, a hazy landscape has 6.1 levels of texture,
# hardly more than TEXTURED.
BROAD = 8.0
# Levels of 255 by which two textures of one visible place may differ. In five clips, 95 % of the
# places differ by less than 2 to 7, and 99 % by less than 4 to 17.
NOISE = 10.0
# Levels of 255: the noise from which frames are smoothed before they are compared, and that above
# which flow then errs more. Clean clips have 0.1 to 1.3 levels, and film grain 7 to 14.
GRAIN, STEADY = 4.0, 2.5
CALM = 1.5  # sigma of that, in pixels
SMOOTHED = 2.0  # of the noise that is left then, by how much textures of one place may differ
# Pixels at the working size: a smaller place that alone differs is a speck, such as a snowflake or
# a glint, in front of a picture that goes on behind it.
SPECK = 40
MEDIAN_TO_STD = 1.4826  # of normal noise: its standard deviation over its median absolute value
# Levels of 255, RMS. A frame with less texture cannot be recognised. Five clips have 9 to 31.
TEXTURED = 6.0
# The correlation of two frames' textures below which a cut may be. Cuts of a film were measured at
# 0.15 to 0.30, its fastest motion at 0.79.
ALIKE = 0.6


# Times that the contrast of one picture changes, and levels that its mean does, at most, while its
# light does not; and the contrast, in levels, RMS, at which textures are compared otherwise.
LIGHT, FLASH, USUAL = 1.1, 24.0, 24.0


@dataclass(frozen=True)
class Motion:
    """The motion from the previous frame to the current one, at the working size (H, W).

    `flow` (H, W, 2): from the current frame to the previous one, in pixels. `visible` (H, W), 0 to
    1: the places where every test trusts the flow. `carried` (H, W), 0 to 1: the places to which
    detail is carried; those that are visible, and those whose texture is clearly the same.
    `uncovered` (H, W): the places that are certainly occluded. `likeness`: the correlation of the
    textures of the current frame and of the previous one, warped along the flow; about 1 within a
    shot, about 0 across a cut.
    """

    flow: FlowArray
    visible: Share
    carried: Share
    uncovered: NDArray[np.bool_]
    likeness: float = 1.0

    @property
    def hidden(self) -> float:
        """The share of the frame that is occluded, or where the flow is not trusted."""
        return 1 - float(self.visible.mean())

    def part(self, share: float) -> "Motion":
        """This motion with `share` of its flow: one of several even steps."""
        return replace(self, flow=self.flow * np.float32(share))


def motion_between(previous: Frame, current: Frame, estimate: FlowEstimator) -> Motion:
    """The motion from `previous` to `current`, both at the working size, by the flow that
    `estimate` finds in both directions.

    Where noise, such as film grain, is all that differs, the frames are smoothed first: a place is
    not newly seen because its grain is new.
    """
    found = _Match.of(previous, current, estimate)
    if found.noise > GRAIN:
        calm = [np.asarray(cv2.GaussianBlur(one, (0, 0), CALM)) for one in (previous, current)]
        return _Match.of(calm[0], calm[1], estimate).motion(found.noise)
    return found.motion()


@dataclass(frozen=True)
class _Match:
    """The flow between two frames in both directions, and their textures (H, W): that of the
    current frame, and that of the previous one, pulled along the flow."""

    back: FlowArray
    forth: FlowArray
    here: Grey
    pulled: Grey

    @classmethod
    def of(cls, previous: Frame, current: Frame, estimate: FlowEstimator) -> "_Match":
        lit = Lit.of(current)
        pair = in_one_light(lit, Lit.of(previous))
        back = estimate(*pair)
        here, pulled = lit.texture, texture(pull(grey(previous), back))
        return cls(back, estimate(*reversed(pair)), here, in_the_light_of(here, pulled))

    @property
    def noise(self) -> float:
        """How far the textures differ in most places, as a standard deviation, in levels."""
        return MEDIAN_TO_STD * float(np.median(np.abs(self.here - self.pulled)))

    def _floor(self) -> float:
        """How far two textures of smoothed frames may differ: less, as they have less texture."""
        return min(NOISE, max(NOISE / 3, SMOOTHED * self.noise))

    def motion(self, noise: float = 0.0) -> Motion:
        """The motion, found in spite of so much `noise`."""
        differing, contrast = unlike(self.here, self.pulled)
        # For textures of one strength, differing / contrast is 1 - correlation: so these ask for
        # 0.75 and 0.9. Both shares were not measured.
        explained = differing < 0.25 * contrast + (self._floor() if noise else NOISE) ** 2
        clearly_same = (differing < 0.1 * contrast) & (contrast > NOISE**2)
        inside = points_inside(self.back)
        safe = returns(self.back, self.forth, noise) & inside & explained
        safe = without_specks(safe) & inside
        return Motion(
            self.back,
            soft(safe),
            soft(safe | (clearly_same & inside)),
            ~(explained & inside),
            likeness(self.here, self.pulled),
        )


def returns(back: FlowArray, forth: FlowArray, noise: float = 0.0) -> NDArray[np.bool_]:
    """The places (H, W) where the flow `back`, and then `forth`, leads back to the same place, and
    where there is no motion boundary.

    The test is that of Sundaram et al., ECCV 2010, with the constants of Ruder et al., 2016, in
    squared pixels. Flow errs more between noisy frames, as does its slope: the `noise`, in levels
    of 255, raises what is allowed beside the motion itself.
    """
    allowed = max(1.0, (noise / STEADY) ** 2)
    to_x, to_y = _pointed_at(back)
    returned = cv2.remap(forth, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    missed = _squared(returned + back)
    occluded = missed > 0.01 * (_squared(returned) + _squared(back)) + 0.5 * allowed
    across = _squared(cv2.Sobel(back, cv2.CV_32F, 1, 0, scale=1 / 8))
    down = _squared(cv2.Sobel(back, cv2.CV_32F, 0, 1, scale=1 / 8))
    boundary = across + down > 0.01 * _squared(back) + 0.002 * allowed
    return np.asarray(~(occluded | boundary))


def points_inside(flow: FlowArray) -> NDArray[np.bool_]:
    """The places (H, W) whose `flow` (H, W, 2) points inside the frame."""
    height, width = flow.shape[:2]
    to_x, to_y = _pointed_at(flow)
    return np.asarray((to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1))


def unlike(here: Grey, pulled: Grey) -> tuple[Grey, Grey]:
    """The squared difference of two textures, `here` and the previous frame's `pulled` along the
    flow, and the sum of their squares: (H, W) each, in squared levels, averaged over neighbours.

    This is the photometric check. It compares the texture alone, and relative to its own contrast,
    so that a change of light does not count as occlusion.
    """
    differing = cv2.GaussianBlur((here - pulled) ** 2, (0, 0), 1.5)
    return np.asarray(differing), np.asarray(cv2.GaussianBlur(here**2 + pulled**2, (0, 0), 1.5))


def standing(size: tuple[int, int]) -> Motion:
    """The motion between two frames of `size` (height, width) of which nothing moves and all is
    visible."""
    everywhere = np.ones(size, np.float32)
    return Motion(np.zeros((*size, 2), np.float32), everywhere, everywhere, everywhere < 0)


def likeness(here: Grey, pulled: Grey) -> float:
    """The correlation of two textures (H, W): about 1 for one picture in any light, 0 for two.

    It is 1 if both have less texture than `TEXTURED`: a black frame is like any other, and like the
    last faint frames of a fade.
    """
    spread = float(np.sqrt(np.square(here).mean())), float(np.sqrt(np.square(pulled).mean()))
    if max(spread) < TEXTURED:
        return 1.0
    return float((here * pulled).mean()) / max(spread[0] * spread[1], 1e-6)


@dataclass(frozen=True)
class Lit:
    """A frame with its mean light, in levels, and its texture (H, W)."""

    frame: Frame
    light: float
    texture: Grey

    @classmethod
    def of(cls, frame: Frame) -> "Lit":
        """`frame`, which is BGR with 8 bits, measured."""
        luma = grey(frame).astype(np.float32)
        return cls(frame, float(luma.mean()), texture(luma))

    @property
    def spread(self) -> float:
        """The contrast of the texture, in levels, RMS; at least 1."""
        return max(float(np.sqrt(np.square(self.texture).mean())), 1.0)


def in_one_light(one: Lit, other: Lit) -> tuple[Frame, Frame]:
    """Two frames as they are; if the light changes between them, their textures alone, at one
    contrast, since estimators of flow take a place to keep its light."""
    spreads = [lit.spread for lit in (one, other)]
    changes = abs(one.light - other.light) > FLASH
    if not changes and max(spreads) <= LIGHT * min(spreads):
        return one.frame, other.frame
    alike = [
        np.clip(128 + lit.texture * (USUAL / spread), 0, 255).astype(np.uint8)
        for lit, spread in zip((one, other), spreads, strict=True)
    ]
    return np.dstack([alike[0]] * 3), np.dstack([alike[1]] * 3)


def in_the_light_of(here: Grey, pulled: Grey) -> Grey:
    """The texture `pulled` with the contrast of `here`, if the light has changed between the two:
    a fade or a flash hides nothing."""
    spread = float(np.sqrt(np.square(here).mean())), float(np.sqrt(np.square(pulled).mean()))
    gain = spread[0] / max(spread[1], 1e-6)
    changed = max(gain, 1 / max(gain, 1e-6)) > LIGHT
    return pulled * np.float32(gain) if changed and likeness(here, pulled) >= ALIKE else pulled


def texture(luma: Grey) -> Grey:
    """`luma` (H, W) less its Gaussian blur of sigma `BROAD`, float32: what is left is texture."""
    values = luma.astype(np.float32)
    return np.asarray(values - cv2.GaussianBlur(values, (0, 0), BROAD))


def pull(luma: Grey, flow: FlowArray) -> Grey:
    """`luma` (H, W) of the previous frame, warped along `flow` onto the current one; edges
    repeated."""
    to_x, to_y = _pointed_at(flow)
    return np.asarray(
        cv2.remap(luma, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


def without_specks(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`seen` (H, W), and the places of at most `SPECK` pixels that are not seen among others that
    are."""
    _, parts, places, _ = cv2.connectedComponentsWithStats((~seen).astype(np.uint8))
    small = places[:, cv2.CC_STAT_AREA] <= SPECK
    small[0] = False  # what is seen
    return np.asarray(seen | small[parts])


def soft(seen: NDArray[np.bool_]) -> Share:
    """`seen` (H, W) as shares from 0 to 1, eroded by one pixel and then feathered."""
    eroded = cv2.erode(seen.astype(np.float32), np.ones((3, 3), np.uint8), borderValue=1.0)
    return np.asarray(cv2.GaussianBlur(eroded, (5, 5), 0), np.float32)


def _pointed_at(flow: FlowArray) -> tuple[Grey, Grey]:
    """The x and y coordinates, each (H, W), at which `flow` points."""
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    return x + flow[..., 0], y + flow[..., 1]


def _squared(vectors: NDArray[Any]) -> NDArray[Any]:
    """The squared length of each of `vectors` (..., 2)."""
    return np.asarray(vectors[..., 0] ** 2 + vectors[..., 1] ** 2)
