"""Renders under way: a work folder beside the file to be, from which any stop can be gone on.

It holds `job.json` (what is rendered, and with how many threads), `lock`, `state.pt` (what the
frames to come need of those before), and the frames themselves: segments of a fixed number of
frames, encoded, and the open segment's frames as they are. A frame counts as done once the state
after it is on the disk. `paths` owns the folder and the names in it.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from dreamreel.pipeline.durable import (
    UNREADABLE,
    Tree,
    check_finite,
    check_own,
    flush,
    load_tree,
    open_own,
    publish,
    save_tree,
)
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.jobs.job import Threads
from dreamreel.pipeline.jobs.paths import (
    STATE,
    STATE_FORMAT,
    WorkFolder,
    folder_of,
    work_folder,
)
from dreamreel.pipeline.media.encoding import Encoding, count_frames, prepared, start_encoding
from dreamreel.pipeline.media.ffmpeg import Running, failure_of

Identity = dict[str, Any]  # what tells one render from another, as JSON holds it

SEGMENT_BYTES = 1 << 28  # of raw frames in a segment, at most, unless that is fewer than SHORTEST
SHORTEST, LONGEST = 48, 250  # frames in a segment
# Least size of an encoded frame, in shares of the raw one. Dreams were seen at 0.02 to 0.04.
CODED = {"ffv1": 0.3, "prores": 0.1}
CODED_ELSE = 0.007
TOLD = 4  # differences between two renders that are told


class Segments:
    """The frames of a render under way, as `open_segments` gives them."""

    def __init__(self, work: WorkFolder, encoding: Encoding, threads: Threads) -> None:
        """The folder `work` may hold some frames, encoded as `encoding` says."""
        self.threads = threads
        self.folder = work.path
        self.pieces = work.pieces  # the folder of what is not whole yet
        self.done = 0  # frames that need not be made again
        self.state: Tree = None  # after the last of them
        self.tile: int | None = None  # pixels: the tile that memory had forced by then
        self.frames = 0  # that are made
        self.seconds = 0.0  # that it took to make those that are done
        self._encoding = encoding
        self._frame_bytes = encoding.frame_bytes
        self._length = min(max(SEGMENT_BYTES // self._frame_bytes, SHORTEST), LONGEST)
        self._open: IO[bytes] | None = None
        self._waiting: list[int] = []  # segments to be encoded
        self._process: tuple[int, Running] | None = None
        self._saved = time.monotonic()
        self._go_on()

    @property
    def encoder(self) -> Running | None:
        """The ffmpeg that encodes a segment now, if one does."""
        return None if self._process is None else self._process[1]

    def check_room(self, frames: int | None) -> None:
        """Raise UserError where the disk cannot hold the rest of so many `frames`."""
        left = self._length if frames is None else max(0, frames - self.done)
        raw = min(left, 2 * self._length) * self._frame_bytes
        share = CODED.get(self._encoding.codec, CODED_ELSE)
        coded = (2 * left + self.done) * share * self._frame_bytes  # segments, and all of them
        free = shutil.disk_usage(self.folder).free
        if free < raw + coded:
            raise UserError(
                f"{self.folder.parent} has {free >> 20} MB of room; this render takes at least "
                f"{int(raw + coded) >> 20} MB"
            )

    def add(self, frame: Frame) -> None:
        """Keep the next `frame` (H, W, 3 or 4)."""
        if frame.shape[:2] != self._encoding.size:
            raise ValueError(f"a frame of {frame.shape[:2]} in a video of {self._encoding.size}")
        if self._open is None:
            self._open = open_own(self._raw(self.frames // self._length), "ab")
        self._open.write(prepared(frame, self._encoding).tobytes())
        self.frames += 1
        self._encode_on()

    def is_due(self, seconds: float) -> bool:
        """Whether to save: the segment is full, or the last time was `seconds` ago."""
        full = self.frames % self._length == 0
        return full or time.monotonic() - self._saved >= seconds

    def save(self, state: Tree, tile: int | None = None) -> None:
        """The frames so far are done; the ones to come need `state`, and the `tile` that memory has
        forced on the network."""
        if self._open is not None:
            flush(self._open)
        now = time.monotonic()
        self.seconds += now - self._saved
        tree = {
            "format": STATE_FORMAT,
            "frames": self.frames,
            "seconds": self.seconds,
            "tile": tile,
            "state": state,
        }
        save_tree(self.folder / STATE, tree)
        self.done, self._saved = self.frames, now
        if self._open is not None and self.frames % self._length == 0:
            self._close_segment()

    def segments(self) -> list[tuple[Path, int]]:
        """All frames, which are done, encoded: the files, in order, and how many each holds.
        Raises UserError where ffmpeg fails."""
        if self._open is not None:
            self._close_segment()
        while self._process is not None or self._waiting:
            self._encode_on(wait=True)
        starts = range(0, self.frames, self._length)
        return [
            (self._segment(number), min(self._length, self.frames - start))
            for number, start in enumerate(starts)
        ]

    def close(self) -> None:
        """Let go of everything; what is on the disk stays."""
        if self._open is not None:
            self._open.close()
        if self._process is not None:
            _, (process, errors) = self._process
            process.kill()
            process.wait()
            errors.close()

    def _go_on(self) -> None:
        if (self.folder / STATE).exists():
            self._load()
        self.frames = self.done
        whole, more = divmod(self.done, self._length)
        for number in range(whole):
            if not self._segment(number).exists():
                self._check_raw(number, self._length)
                self._waiting.append(number)
        for path in self.folder.glob("*.raw"):
            number = int(path.stem) if path.stem.isdecimal() else -1
            if path == self._raw(number) and (number > whole or (number == whole and not more)):
                path.unlink()
        if more and not self._segment(whole).exists():
            self._check_raw(whole, more)
            self._open = open_own(self._raw(whole), "r+b")
            self._open.truncate(more * self._frame_bytes)
            self._open.seek(0, 2)

    def _load(self) -> None:
        try:
            saved = load_tree(self.folder / STATE)
            check_finite(saved)
            if saved["format"] != STATE_FORMAT:
                raise ValueError(f"format {saved['format']}")
            self.done, self.seconds = int(saved["frames"]), float(saved["seconds"])
            self.tile = None if saved["tile"] is None else int(saved["tile"])
            self.state = saved["state"]
            if self.done < 0:
                raise ValueError(f"{self.done} frames")
        except UNREADABLE as error:
            raise UserError(unreadable_state(self.folder)) from error

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

    def _close_segment(self) -> None:
        assert self._open is not None
        self._open.close()
        self._open = None
        self._waiting.append((self.frames - 1) // self._length)
        while len(self._waiting) > 1:  # frames come faster than they are encoded
            self._encode_on(wait=True)
        self._encode_on()

    def _encode_on(self, wait: bool = False) -> None:
        """Take up what ffmpeg has finished, and give it the next segment."""
        if self._process is not None:
            number, (process, errors) = self._process
            if process.poll() is None and not wait:
                return
            failure = failure_of(process, errors)
            self._process = None
            if failure is not None:
                self._waiting.insert(0, number)
                raise UserError(f"ffmpeg could not write {self.folder}: {failure}")
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


def unreadable_state(folder: Path) -> str:
    """The message where the state in a work `folder` cannot be read."""
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
) -> Iterator[Segments]:
    """The render of that `identity`, of so many `frames`, into `out`: begun, or gone on with.

    Going on takes the `threads` of the beginning. Leaving normally removes the folder; by an
    error, keeps it if frames in it are done. Raises UserError where another process renders into
    `out`, where the disk fails or has no room, or where another render was begun, unless `restart`
    discards it.
    """
    folder = folder_of(out)
    identity = json.loads(json.dumps(identity))
    told = {"job": identity, "threads": threads.model_dump()}
    with _errors_told(folder), work_folder(out, told) as work:
        if restart or not work.is_begun():
            work.clear(told)
        finished = False
        segments: Segments | None = None
        try:
            segments = Segments(work, encoding, _begun(work, out, identity))
            segments.check_room(frames)
            yield segments
            finished = True
        except (UserError, OSError) as error:
            if segments is None or not work.is_begun():
                raise
            kept = "the frames so far are kept, and the same command goes on with them"
            raise UserError(f"{_said(error, folder)}; {kept}") from error
        finally:
            if segments is not None:
                segments.close()
            work.remove_pieces()
            if finished or not work.is_begun():
                work.remove()


@contextmanager
def _errors_told(folder: Path) -> Iterator[None]:
    """Raise UserError where the disk fails, or is full."""
    try:
        yield
    except OSError as error:
        raise UserError(_said(error, folder)) from error


def _said(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError):
        return f"{folder} could not be written ({error.strerror or error})"
    return str(error)


def _begun(work: WorkFolder, out: Path, identity: Identity) -> Threads:
    """The threads with which the render in the folder `work` was begun. Raises UserError where it
    is another render than that of `identity`, or its job file cannot be read."""
    try:
        before = work.told["job"]
        threads = Threads.model_validate(work.told["threads"])
    except (KeyError, ValidationError) as error:
        raise UserError(f"{work.path} has a job file with something missing; --restart") from error
    if differences := list(_differences(before, identity)):
        told = "; ".join(differences[:TOLD])
        if len(differences) > TOLD:
            told += f"; and {len(differences) - TOLD} more"
        raise UserError(
            f"an unfinished render of {out} differs from this one: {told}. Give the command that "
            "began it to finish it, --restart to discard it, or another name with -o"
        )
    return threads


def _differences(then: Identity, now: Identity, name: str = "") -> Iterator[str]:
    for key in sorted({*then, *now}):
        before, after = then.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{name}{key}.")
        elif before != after:
            yield f"{name}{key} was {_shown(before)}, now {_shown(after)}"


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)
