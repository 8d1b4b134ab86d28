"""The frames and the state of an unfinished render, kept on disk so that it can be resumed.

The work folder holds `job.json` (the job and its thread counts), `lock`, the state after the last
saved frame (`STATE`) and the frames: encoded segments, and the raw frames of segments that are not
encoded yet. A segment ends after a fixed number of frames, or with its shot, so that shots that
were rendered apart make the same segments. A frame is done once the state after it is on disk.
`paths` owns the folder and the names in it.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from dreamreel.pipeline.config.values import LARGEST_SIDE, SMALLEST_SIDE
from dreamreel.pipeline.durable import (
    UNREADABLE,
    Tree,
    check_finite,
    check_own,
    flush,
    link_or_copy,
    load_tree,
    open_own,
    publish,
    save_tree,
)
from dreamreel.pipeline.errors import OtherRenderError, PassingError, UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.differences import differ_in_version_only, differences
from dreamreel.pipeline.jobs.job import Count, FrameNumber, Model, Threads
from dreamreel.pipeline.jobs.paths import (
    STATE,
    WorkFolder,
    folder_of,
    work_folder,
)
from dreamreel.pipeline.media.encoding import Encoding, count_frames, prepared, start_encoding
from dreamreel.pipeline.media.ffmpeg import Running, failure_of
from dreamreel.pipeline.stages import timed

Identity = dict[str, Any]  # the table that identifies a render: see `identity_of`

# Bytes of raw frames in a segment, at most, if that is at least `SHORTEST` frames: 256 MiB, a round
# number. It bounds the disk space that raw frames take until they are encoded.
SEGMENT_BYTES = 1 << 28
# Frames in a segment: 2 to 10 seconds at 24 or 25 frames a second. Each segment begins with a key
# frame, so shorter ones take more bytes. Round numbers, not tuned.
SHORTEST, LONGEST = 48, 250
# Least size of an encoded frame, as a share of the raw one, by codec; low, so that a render with
# enough room is not refused. Videos were seen at 0.02 to 0.04 in H.264. A zoom of 24 frames of
# 320x192 took 0.009 in H.264, 0.38 in FFV1 and 0.13 in ProRes.
CODED = {"ffv1": 0.3, "prores": 0.1}
CODED_ELSE = 0.004
# Bytes of a state, at most: so many frames', and `STATE_BYTES` for all that does not grow with the
# frame. A video's state has 9 times its frame's bytes in 8 bits; a zoom's canvas and goal, with the
# widest margins, were seen at 40. Round numbers, far above those, against a huge file by that name.
STATE_FRAMES, STATE_BYTES = 1 << 8, 1 << 30
MOST_DIFFERENCES = 4  # named in a message of one line; a round number


class Saved(Model):
    """The content of the state file, without the state itself: the number of `frames` that are
    saved, the number of the first of each segment, the time that they took, in seconds, and the
    tile size in pixels that memory has forced on the network, if any."""

    format: Literal[2] = 2
    frames: Count
    starts: list[FrameNumber]
    seconds: float = Field(ge=0)
    tile: int | None = Field(None, ge=SMALLEST_SIDE, le=LARGEST_SIDE)

    @model_validator(mode="after")
    def _is_in_order(self) -> "Saved":
        edges = [*self.starts, self.frames]
        if edges[0] != 0 or edges != sorted(set(edges)):
            raise ValueError(f"{self.frames} frames in segments from {self.starts}")
        return self


class Segments:
    """The frames and the state of an unfinished render; made by `open_segments`."""

    def __init__(self, work: WorkFolder, encoding: Encoding, threads: Threads) -> None:
        """Resume from the frames that the folder `work` holds, if any.

        Raises UserError if its state cannot be read or frames are missing.
        """
        self.threads = threads
        self.folder = work.path
        self.pieces = work.pieces  # folder for files that are still being written
        self.done = 0  # frames that are saved, with the state after them
        self.state: Tree = None  # after the last saved frame
        self.tile: int | None = None  # pixels a side, if memory had forced tiles by then
        self.frames = 0  # frames added so far, saved or not
        self.seconds = 0.0  # time that the saved frames took
        self._encoding = encoding
        self._frame_bytes = encoding.frame_bytes
        self._length = min(max(SEGMENT_BYTES // self._frame_bytes, SHORTEST), LONGEST)
        self._open: IO[bytes] | None = None
        self._starts: list[int] = []  # the first frame of each segment
        self._ended: list[int] = []  # whole segments with frames that are not saved yet
        self._waiting: list[int] = []  # whole, saved segments that ffmpeg has not begun to encode
        self._process: tuple[int, Running] | None = None
        self._saved = time.monotonic()
        self._resume()

    @property
    def encoder(self) -> Running | None:
        """The ffmpeg process that is encoding a segment; None if there is none."""
        return None if self._process is None else self._process[1]

    def check_room(self, frames: int | None) -> None:
        """Raise UserError if the disk has no room for the rest of `frames` frames in all. If their
        number is not known (None), for one more segment."""
        left = self._length if frames is None else max(0, frames - self.done)
        raw = min(left, 2 * self._length) * self._frame_bytes
        share = CODED.get(self._encoding.codec, CODED_ELSE)
        # The segments of the frames left, and the film joined from all segments.
        coded = (2 * left + self.done) * share * self._frame_bytes
        free = shutil.disk_usage(self.folder).free
        if free < raw + coded:
            raise PassingError(
                f"{self.folder.parent} has {free / 1e6:.1f} MB of room, and this render needs at "
                f"least {(raw + coded) / 1e6:.1f} MB; free some, or give another folder with -o"
            )

    def cut(self) -> None:
        """End the segment: the next frame begins a shot."""
        if self._open is not None:
            self._end_segment()

    @timed("encode")
    def add(self, frame: Frame) -> None:
        """Write the next `frame` (H, W, 3 or 4) to disk. It is done only after `save`.

        Raises ValueError if its size is not the encoding's, UserError if ffmpeg fails.
        """
        if frame.shape[:2] != self._encoding.size:
            raise ValueError(f"a frame of {frame.shape[:2]} in a video of {self._encoding.size}")
        if self._open is None:
            self._starts.append(self.frames)
            self._open = open_own(self._raw(len(self._starts) - 1), "ab")
        self._open.write(np.ascontiguousarray(prepared(frame, self._encoding)).data)
        self.frames += 1
        self._encode_on()

    def is_due(self, seconds: float) -> bool:
        """Whether to save after the next frame: a segment is whole by then, or the last save was
        `seconds` ago."""
        begun = 0 if self._open is None else self.frames - self._starts[-1]
        whole = bool(self._ended) or begun + 1 == self._length
        return whole or time.monotonic() - self._saved >= seconds

    def adopt(self, path: Path, frames: int) -> None:
        """Add the encoded segment in the file `path`, with so many frames, as the next one."""
        self._starts.append(self.frames)
        link_or_copy(path, self._segment(len(self._starts) - 1))
        self.frames += frames
        self.done = self.frames

    def save(self, state: Tree, tile: int | None = None) -> None:
        """Save the frames added so far, with the `state` that the next frame needs. `tile` is the
        tile size in pixels that memory has forced on the network, if any."""
        if self._open is not None:
            flush(self._open)
        now = time.monotonic()
        self.seconds += now - self._saved
        saved = Saved(frames=self.frames, starts=self._starts, seconds=self.seconds, tile=tile)
        save_tree(self.folder / STATE, {**saved.model_dump(), "state": state})
        self.done, self._saved = self.frames, now
        if self._open is not None and self.frames - self._starts[-1] == self._length:
            self._end_segment()
        self._encode_ended()

    @timed("encode")
    def segments(self) -> list[tuple[Path, int]]:
        """Encode what is left, and return the files of the segments in order, each with its number
        of frames. All frames must be saved. Raises UserError if ffmpeg fails."""
        if self._open is not None:
            self._end_segment()
            self._encode_ended()
        while self._process is not None or self._waiting:
            self._encode_on(wait=True)
        return [
            (self._segment(number), self._frames_of(number)) for number in range(len(self._starts))
        ]

    def close(self) -> None:
        """Close the open file and kill ffmpeg. Files on disk are kept."""
        if self._open is not None:
            self._open.close()
        if self._process is not None:
            _, (process, errors) = self._process
            process.kill()
            process.wait()
            errors.close()

    def _resume(self) -> None:
        if os.path.lexists(self.folder / STATE):
            self._load()
        self.frames = self.done
        last = len(self._starts) - 1
        for path in self.folder.glob("*.raw"):
            number = int(path.stem) if path.stem.isdecimal() else -1
            if path == self._raw(number) and number > last:
                path.unlink()
        for number in range(len(self._starts)):
            frames = self._frames_of(number)
            if self._segment(number).exists():
                self._check_segment(number, frames)
                continue
            self._check_raw(number, frames)
            if number < last or frames == self._length:
                self._waiting.append(number)
            else:
                self._open = open_own(self._raw(number), "r+b")
                self._open.truncate(frames * self._frame_bytes)
                self._open.seek(0, 2)

    def _load(self) -> None:
        try:
            saved = load_tree(self.folder / STATE, largest_state(self._frame_bytes))
            check_finite(saved)
            state = saved.pop("state")
            found = Saved.model_validate(saved)
        except UNREADABLE as error:
            raise UserError(unreadable_state(self.folder)) from error
        self.done, self.seconds, self.tile = found.frames, found.seconds, found.tile
        self._starts, self.state = found.starts, state

    def _check_segment(self, number: int, frames: int) -> None:
        try:
            whole = count_frames(self._segment(number)) == frames
        except (UserError, OSError, LookupError, ValueError):  # among them those of ffmpeg
            whole = False
        if not whole:
            raise UserError(f"{self.folder} has lost frames; --restart begins anew")

    def _check_raw(self, number: int, frames: int) -> None:
        path = self._raw(number)
        try:
            found = path.lstat()
            check_own(found, path, shared=False)
            whole = found.st_size >= frames * self._frame_bytes
        except OSError:
            whole = False
        if not whole:
            raise UserError(f"{self.folder} has lost frames; --restart begins anew")

    def _frames_of(self, number: int) -> int:
        """The number of frames of the segment with that number."""
        end = [*self._starts, self.frames][number + 1]
        return end - self._starts[number]

    def _end_segment(self) -> None:
        assert self._open is not None
        flush(self._open)
        self._open.close()
        self._open = None
        self._ended.append(len(self._starts) - 1)

    def _encode_ended(self) -> None:
        """Give whole segments to ffmpeg. Their frames must be saved."""
        self._waiting += self._ended
        self._ended = []
        while len(self._waiting) > 1:  # rendering is faster than encoding
            self._encode_on(wait=True)
        self._encode_on()

    def _encode_on(self, wait: bool = False) -> None:
        """Take the segment that ffmpeg has finished, if any, and start ffmpeg on the next one."""
        if self._process is not None:
            number, (process, errors) = self._process
            if process.poll() is None and not wait:
                return
            failure = failure_of(process, errors)
            self._process = None
            if failure is not None:
                self._waiting.insert(0, number)
                raise PassingError(f"ffmpeg could not write {self.folder}: {failure}")
            self._take(number)
        if self._waiting:
            number = self._waiting.pop(0)
            partial, threads = self._partial(number), self.threads.encoder
            started = start_encoding(self._raw(number), partial, self._encoding, threads)
            self._process = (number, started)

    def _take(self, number: int) -> None:
        partial, raw = self._partial(number), self._raw(number)
        went_in, came_out = raw.stat().st_size // self._frame_bytes, count_frames(partial)
        if went_in != came_out:
            raise RuntimeError(f"{went_in} frames went in, {came_out} came out")
        with partial.open("rb+") as file:
            flush(file)
        publish(partial, self._segment(number))
        raw.unlink()

    def _segment(self, number: int) -> Path:
        return self.folder / f"{number:06}{self._encoding.segment_suffix}"

    def _partial(self, number: int) -> Path:
        return self.pieces / f"{number:06}.partial{self._encoding.segment_suffix}"

    def _raw(self, number: int) -> Path:
        return self.folder / f"{number:06}.raw"


def largest_state(frame_bytes: int) -> int:
    """The bytes of a state, at most, for frames of so many bytes."""
    return STATE_BYTES + STATE_FRAMES * frame_bytes


def unreadable_state(folder: Path) -> str:
    """The message for a state in the work `folder` that cannot be read."""
    return (
        f"{folder / STATE}, the state of the stopped render, cannot be read; --restart begins anew"
    )


@contextmanager
def open_segments(
    out: Path,
    identity: Identity,
    encoding: Encoding,
    threads: Threads,
    restart: bool = False,
    frames: int | None = None,
    keep: bool = False,
) -> Iterator[Segments]:
    """The render into `out` that `identity` describes: resumed if it was begun before, else new.

    A resumed render keeps the `threads` that it began with. `frames` is the number of its frames in
    all, if known. Leaving the context normally removes the work folder, unless it is to `keep`.
    Leaving it by an error keeps the folder if any frames are done. `restart` discards an unfinished
    render.

    Raises UserError if another process renders into `out`, if the disk fails or has no room, or if
    the unfinished render is another one.
    """
    folder = folder_of(out)
    identity = json.loads(json.dumps(identity))
    job_file = {"job": identity, "threads": threads.model_dump()}
    with _disk_errors_named(folder), work_folder(out, job_file) as work:
        if restart or not work.is_begun():
            work.clear(job_file)
        finished = False
        segments: Segments | None = None
        try:
            segments = Segments(work, encoding, _threads_of(work, out, identity))
            segments.check_room(frames)
            yield segments
            finished = True
        except (UserError, OSError) as error:
            if segments is None or not work.is_begun():
                raise
            kept = "the frames so far are kept, and the same command goes on with them"
            kind = PassingError if isinstance(error, OSError | PassingError) else UserError
            raise kind(f"{_message_of(error, folder)}; {kept}") from error
        finally:
            if segments is not None:
                segments.close()
            work.remove_pieces()
            if not (work.is_begun() and (keep or not finished)):
                work.remove()


@contextmanager
def _disk_errors_named(folder: Path) -> Iterator[None]:
    """Turn an OSError inside the `with` into a UserError that names `folder`."""
    try:
        yield
    except OSError as error:
        raise PassingError(_message_of(error, folder)) from error


def _message_of(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError):
        return f"{folder} could not be written ({error.strerror or error})"
    return str(error)


def _threads_of(work: WorkFolder, out: Path, identity: Identity) -> Threads:
    """The thread counts with which the render in the folder `work` was begun. Raises UserError if
    its job file is not valid, or if its identity is not `identity`."""
    try:
        before = work.job_file["job"]
        threads = Threads.model_validate(work.job_file["threads"])
    except (KeyError, ValidationError) as error:
        raise UserError(
            f"{work.path}: its job file lacks the job or the threads; --restart begins anew"
        ) from error
    if found := differences(before, identity):
        named = "; ".join(found[:MOST_DIFFERENCES])
        if len(found) > MOST_DIFFERENCES:
            named += f"; and {len(found) - MOST_DIFFERENCES} more"
        raise OtherRenderError(
            f"an unfinished render of {out} is another one: {named}. Give the old command to "
            "finish it, --restart to discard it, or another name with -o",
            differ_in_version_only(before, identity),
        )
    return threads
