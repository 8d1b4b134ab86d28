"""The class of thing that each place of a frame shows, by torchvision's LRASPP."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.networks.weights import check_numbers, fetch_weights, read_weights
from dreamreel.pipeline.tensors import resize, to_image

NETWORK = "lraspp_mobilenet_v3_large"
SIDE = 520  # pixels of the shorter side of pictures in its training
# The probability up to which a place is outside, and from which on it is wholly inside.
OUTSIDE, INSIDE = 0.25, 0.75


def load_segmenter(
    file: Path | None, device: torch.device
) -> Callable[[Frame], NDArray[np.float32]]:
    """A function from a frame (H, W, 3 or 4) to how far each place shows each class, (21, H, W),
    from 0 to 1, the background first. Its weights are in `file`, or downloaded.

    Raises UserError where the weights cannot be loaded.
    """
    from torchvision.models.segmentation import (
        LRASPP_MobileNet_V3_Large_Weights,
        lraspp_mobilenet_v3_large,
    )

    about = LRASPP_MobileNet_V3_Large_Weights.DEFAULT
    given = f"the weights of {NETWORK}" if file is None else str(file)
    weights = fetch_weights(about.url, NETWORK, "mask.weights") if file is None else None
    weights = read_weights(file) if file is not None else weights
    assert weights is not None
    check_numbers(weights, given)
    network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise UserError(f"{given} does not hold the weights of {NETWORK}") from error
    network.eval().to(device)
    expected = about.transforms()
    mean, std = (
        torch.tensor(values, device=device)[None, :, None, None]
        for values in (expected.mean, expected.std)
    )

    @torch.no_grad()
    def segment(frame: Frame) -> NDArray[np.float32]:
        image = to_image(frame, device)
        height, width = image.shape[2:]
        scale = SIDE / min(height, width)
        seen = resize(image, (round(height * scale), round(width * scale)))
        share = network((seen - mean) / std)["out"].softmax(1)
        share = ((share - OUTSIDE) / (INSIDE - OUTSIDE)).clamp(0, 1)
        return np.asarray(resize(share, (height, width))[0].cpu().numpy(), np.float32)

    return segment
