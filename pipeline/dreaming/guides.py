"""Guides: the pictures and films whose features a dream is drawn to."""

from collections.abc import Generator
from pathlib import Path

import torch
from torch import Tensor

from dreamreel.pipeline.dreaming.objectives.guides import features_of
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.media.clips import guiding_clip
from dreamreel.pipeline.media.reading import read_frames
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize, to_image

# Pixels of a guide, at most; a larger one is shrunk. At a layer of stride 16 it has then about as
# many places as are kept of it.
MOST_PIXELS = 640 * 360


class Guide:
    """A guide picture, or a film that guides frame by frame, as `network` sees it."""

    def __init__(self, path: Path, network: Network) -> None:
        """Raises UserError where the file at `path` is neither a picture nor a film."""
        self._path, self._network = path, network
        self._clip = guiding_clip(path)
        self._frames: Generator[Frame, None, None] | None = None
        self._next = 0  # the number of the frame that `_frames` gives next
        self._shown: tuple[int, Tensor] | None = None  # the picture of a number
        self._features: dict[str, Tensor] = {}  # of that picture, by layer

    def features(self, layer: str, number: int) -> Tensor:
        """The features (C, K) at `layer` for the frame `number`: of the picture, or of the film's
        frame of that number; a film that is over begins anew."""
        if self._shown is None or (self._clip is not None and self._shown[0] != number):
            self._shown = number, self._picture(number)
            self._features = {}
        if layer not in self._features:
            picture = self._fitted(self._shown[1], layer)
            with torch.no_grad():
                activation = self._network.activations(picture, [layer])[layer]
            self._features[layer] = features_of(activation)
        return self._features[layer]

    def _picture(self, number: int) -> Tensor:
        if self._clip is None:
            return load_picture(self._path, self._network.device).image
        if self._clip.frames:
            number %= self._clip.frames
        frame = self._frame(number)
        return to_image(frame, self._network.device)

    def _frame(self, number: int) -> Frame:
        assert self._clip is not None
        if self._frames is None or number != self._next:
            self._frames = read_frames(self._clip, number)
        frame = next(self._frames, None)
        if frame is None:
            raise UserError(f"the guide {self._path} has no frame {number}")
        self._next = number + 1
        return frame

    def _fitted(self, picture: Tensor, layer: str) -> Tensor:
        """`picture` (1, 3, H, W), shrunk to `MOST_PIXELS`, and no smaller than `layer` needs."""
        height, width = picture.shape[2:]
        least = self._network.smallest_side([layer])
        scale = min(1.0, (MOST_PIXELS / (height * width)) ** 0.5)
        scale = max(scale, least / min(height, width))
        return resize(picture, (round(height * scale), round(width * scale)))


def guide_at(path: Path, network: Network) -> Guide:
    """The guide at `path`, as `network` sees it; the same one for each frame. Raises UserError as
    `Guide` does."""
    return network.remembered(("guide", path), lambda: Guide(path, network))
