"""What is in a zoom's frame: how many things, and how fine the ground between them is."""

import math

from torch import Tensor

from dreamreel.pipeline.tensors import blur, luma, resize

LIVELY_SIGMA = 1.5  # places of blur, where it matters how lively a place's surroundings are
# Places of blur before things are counted. Of 0 to 1.5, this one parts best a zoom in which one
# creature fills half of the frame (0.45 times as many things as at first) from good ones (0.72).
THING_SIGMA = 0.5
WEAVE_SIGMA = 2.0  # pixels of blur: takes the weaves that grow in empty ground, of 3 to 8 pixels
# Mean square, of 1, that is added to the fine energy of ground and frame alike: one level of 255.
# Rounding to 8 bits has a twelfth of it, so less cannot be seen.
UNSEEN_ENERGY = 255.0**-2
LEAST_GROUND = 0.01  # share of a frame, below which it has no ground
TINY = 1e-9  # floor of a divisor: places that are all alike


def things_in(lively: Tensor) -> float:
    """How many things of the size that they have would fill a frame of which the places are so
    `lively`, (1, 1, h, w), at least 0; 0 where all places are alike.

    The size is that of waves whose height and slopes have the same mean squares (Rice, Mathematical
    Analysis of Random Noise, 1945). No threshold decides what is a thing: peaks above one, three in
    a frame, changed by a third whenever one of them came or went.
    """
    height = blur(lively.sqrt(), THING_SIGMA)
    slopes = height.diff(dim=3).square().sum() + height.diff(dim=2).square().sum()
    heights = (height - height.mean()).square().sum()
    count = height.shape[2] * height.shape[3]
    return float(count * slopes / heights.clamp_min(TINY * count) / (2 * math.pi) ** 2)


def ground_in(image: Tensor, lively: Tensor) -> float | None:
    """The fine energy of the ground of `image` (1, 3, H, W) over that of the whole: 1 where the
    ground has as much of it as any place, as in a weave. None where too little is ground.

    Ground is where places, with those around, are less `lively` (1, 1, h, w) than the mean, 1; a
    place counts more, the less it is. Fine energy is the mean square of what a Gaussian blur takes
    from the luma.
    """
    around = blur(lively, LIVELY_SIGMA).to(image.device)
    dull = (1 - resize(around, (image.shape[2], image.shape[3]))).clamp(0, 1)
    if float(dull.mean()) < LEAST_GROUND:
        return None
    light = luma(image)
    fine = (light - blur(light, WEAVE_SIGMA)).square()
    of_ground = (fine * dull).sum() / dull.sum()
    return float((of_ground + UNSEEN_ENERGY) / (fine.mean() + UNSEEN_ENERGY))
