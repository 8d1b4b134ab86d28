"""The latest frame of a render that is not finished yet, as a picture."""

import os
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import folder_of
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.studio.folder import Studio, key_of
from dreamreel.pipeline.studio.renders import Render

WIDTH = 480  # pixels of the picture, at most


def latest_frame(studio: Studio, render: Render) -> Path | None:
    """The path of a picture of the last whole frame of `render`, made anew if there is a later
    one. None if there is none: only the raw frames of films of 8 bits are looked at."""
    raws = sorted(folder_of(studio.renders / render.output).glob("[0-9]*.raw"))
    if render.size is None or not raws or not _is_plain(render.job):
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


def _is_plain(job: Job) -> bool:
    """Whether the raw frames of `job` have three channels of 8 bits, and even sides."""
    output = job.settings.output
    if output.side_by_side or output.codec not in ("auto", "h264") or output.pixel_format != "auto":
        return False
    return job.kind != "video" or job.source is None or _has_8_bits(job.source.path)


@lru_cache(maxsize=64)
def _has_8_bits(film: Path) -> bool:
    try:
        clip = probe(film)
    except UserError:
        return False
    return clip.depth == 8 and not clip.has_alpha


def _last_of(raw: Path, size: tuple[int, int]) -> Frame | None:
    """The last whole frame, (H, W, 3), in the file `raw` of frames of `size` (height, width), BGR
    with 8 bits; None if there is none. The file may be deleted or grow meanwhile."""
    coded = size[0] + size[0] % 2, size[1] + size[1] % 2  # encoders take even sides
    try:
        with raw.open("rb") as file:
            length, left = divmod(file.seek(0, os.SEEK_END), 3 * coded[0] * coded[1])
            if left:  # frames of another kind, or one that is being written
                return None
            file.seek(max(0, length - 1) * 3 * coded[0] * coded[1])
            data = np.frombuffer(file.read(3 * coded[0] * coded[1]), np.uint8)
    except OSError:
        return None
    return data.reshape(*coded, 3)[: size[0], : size[1]] if data.size else None
