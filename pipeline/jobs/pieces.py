"""Pieces: parts of a video that are rendered apart, planned and found again. Without torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.identity import versions
from dreamreel.pipeline.jobs.job import Count, Model, Piece, Shots
from dreamreel.pipeline.jobs.paths import JOB_BYTES, WHOLE, folder_of
from dreamreel.pipeline.jobs.record import Made
from dreamreel.pipeline.opening import read_json

# Frames of a piece, at least: 2 seconds at 24 a second. A piece costs the opening of the film and a
# seek, some 0.2 s, as much as a frame or two. A round number.
LEAST_FRAMES = 48


class WholePiece(Model):
    """What `whole.json` in the work folder of a finished piece says: the frames of each segment,
    the suffix of their files, the piece, without its place, and how it was made."""

    frames: tuple[Count, ...]
    suffix: str = Field(pattern=r"^\.(mp4|mkv|mov)$")
    piece: Piece
    seconds: float = Field(ge=0)
    made: Made
    weights_sha256: str | None = None
    palette_sha256: str | None = None


@dataclass(frozen=True)
class FinishedPiece:
    """A finished piece: the files of its segments, each with its number of frames, and how it was
    made."""

    segments: tuple[tuple[Path, int], ...]
    whole: WholePiece


def pieces_of(
    shots: Shots, folder: Path, least: int = LEAST_FRAMES, preroll: int | None = None
) -> list[Piece]:
    """The pieces into which a video with those `shots` is split, in order, kept in `folder`.

    Short shots go together until they have `least` frames. With a `preroll`, a piece may also begin
    within a shot, twice `least` frames after the one before, and so many frames of dreaming before
    it are thrown away. Of shots that are still looked for, the pieces are the first of those of the
    whole.
    """
    edges: list[tuple[int, bool]] = [(shots.first, False)]
    for begin, end in shots.spans:
        if begin > shots.first and begin - edges[-1][0] >= least:
            edges.append((begin, True))
        while preroll is not None and end - edges[-1][0] >= 3 * least:
            edges.append((edges[-1][0] + 2 * least, False))
    stops = [*(first for first, _ in edges[1:]), shots.stop]
    if not shots.is_whole and stops[-1] - edges[-1][0] < least:  # more shots may join it
        edges, stops = edges[:-1], stops[:-1]
    exact_from = shots.exact_from
    return [
        Piece(
            first=first,
            stop=stop,
            after_cut=after_cut,
            preroll=0 if after_cut else preroll or 0,
            exact_from=None if exact_from is None or exact_from >= stop else exact_from,
            place=folder / f"{number:05}",
        )
        for number, ((first, after_cut), stop) in enumerate(zip(edges, stops, strict=True))
    ]


def finished_piece(piece: Piece) -> FinishedPiece | None:
    """The `piece`, if it is finished; else None."""
    folder = folder_of(piece.place)
    try:
        whole = WholePiece.model_validate_json(json.dumps(read_json(folder / WHOLE, JOB_BYTES)))
    except (UserError, ValueError):
        return None
    if whole.piece != piece.model_copy(update={"place": Path()}):
        return None  # another, of an earlier split
    if whole.made.versions != versions():
        return None
    if sum(whole.frames) != piece.stop - piece.first:
        return None
    files = [folder / f"{number:06}{whole.suffix}" for number in range(len(whole.frames))]
    if not all(file.is_file() for file in files):
        return None
    return FinishedPiece(tuple(zip(files, whole.frames, strict=True)), whole)
