"""The latest frame of a render that is not finished yet, as a picture."""

import os
from pathlib import Path

import cv2
import numpy as np

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.paths import folder_of
from dreamreel.pipeline.studio.folder import Studio, key_of
from dreamreel.pipeline.studio.renders import Render

WIDTH = 480  # pixels of the picture, at most


def latest_frame(studio: Studio, render: Render) -> Path | None:
    """The path of a picture of the last whole frame of `render`, made anew if there is a later
    one. None if there is none: only the raw frames of films of 8 bits are looked at."""
    raws = sorted(folder_of(studio.renders / render.output).glob("[0-9]*.raw"))
    if render.size is None or not raws:
        return None
    path = studio.stills / f"{key_of('latest', render.output)}.jpg"
    frame = _last_of(raws[-1], render.size)
    if frame is None:
        return path if path.exists() else None
    height, width = render.size
    small = (min(WIDTH, width), max(1, round(height * min(WIDTH, width) / width)))
    encoded, data = cv2.imencode(".jpg", cv2.resize(frame, small, interpolation=cv2.INTER_AREA))
    if encoded:
        write_whole(path, lambda file: file.write(data.tobytes()))
    return path


def _last_of(raw: Path, size: tuple[int, int]) -> Frame | None:
    """The last whole frame, (H, W, 3), in the file `raw` of frames of `size` (height, width), BGR
    with 8 bits; None if there is none. The file may be deleted or grow meanwhile."""
    length = 3 * size[0] * size[1]
    try:
        with raw.open("rb") as file:
            count = file.seek(0, os.SEEK_END) // length
            file.seek(max(0, count - 1) * length)
            data = file.read(length)
    except OSError:
        return None
    if len(data) < length:
        return None
    return np.frombuffer(data, np.uint8).reshape(*size, 3)
