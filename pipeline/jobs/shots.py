"""Shots: where a video is cut, pieces of it that are rendered apart, and the video joined of them.

Shots share nothing. A piece that begins at a cut therefore has the bytes that it has in a render of
the whole video, and so has the video that is joined from such pieces.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import Stopped, UserError
from dreamreel.pipeline.jobs.checks import Checked, expected_frames
from dreamreel.pipeline.jobs.job import Job, Piece, Shots
from dreamreel.pipeline.jobs.making import under_way
from dreamreel.pipeline.jobs.paths import WHOLE, folder_of, remove_work
from dreamreel.pipeline.jobs.pieces import WholePiece, finished_piece
from dreamreel.pipeline.jobs.preparation import with_decoder
from dreamreel.pipeline.jobs.record import Made
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.jobs.segments import Segments
from dreamreel.pipeline.jobs.video import (
    FilmState,
    PreviewState,
    clip_of,
    dream_into,
    finish_video,
    made_of,
    moving_frames,
    ready_video,
    state_of,
)


def find_shots(
    checked: Checked, report: Report, on_cut: Callable[[Shots], None] = lambda shots: None
) -> Shots:
    """The shots of the job's span of its source, as `render_video` finds them. `on_cut` gets those
    so far after each cut.

    Raises UserError if the source cannot be read, Stopped if `report` asks to stop.
    """
    job, clip, state = checked.job, clip_of(checked), PreviewState()
    job = job.model_copy(update={"settings": with_decoder(job.settings, clip), "piece": None})
    total, first = expected_frames(clip, job.span), job.span[0]
    cuts: list[int] = []
    stop = first
    with moving_frames(clip, job, first, state, report) as moving:
        for one in moving:
            if one.motion is None and one.followed is not None and one.number > first:
                so_far = Shots(first=first, stop=one.number, cuts=tuple(cuts), is_whole=False)
                on_cut(so_far.model_copy(update={"exact_from": state.exact_from}))
                cuts.append(one.number)
            stop = one.number + 1
            report.on_progress(Progress(stop - first, total))
            if report.is_stopping():
                raise Stopped("stopped; the same command begins again")
    return Shots(first=first, stop=stop, cuts=tuple(cuts), exact_from=state.exact_from)


def render_piece(checked: Checked, report: Report) -> Path:
    """Dream the piece of the job into its work folder, and return the path of that folder.

    A piece that was stopped is resumed. Raises UserError and Stopped as `run` does.
    """
    piece = piece_of(checked.job)
    if finished_piece(piece) is not None:
        return folder_of(piece.place)
    film = ready_video(checked, report)
    with under_way(
        checked.out, film.job, film.encoding, piece.stop - piece.first, film.network
    ) as work:
        state = state_of(work, film)
        dream_into(work, film, state, report)
        if work.frames != piece.stop - piece.first:
            raise UserError(
                f"{film.clip.path} gave {work.frames} frames from {piece.first}, not those to "
                f"{piece.stop}; was it changed since its shots were found?"
            )
        _write_whole(work, made_of(film.network, work.frames, work.seconds, state), film.job)
    return folder_of(piece.place)


def join_pieces(checked: Checked, shots: Shots, pieces: list[Piece], report: Report) -> Path:
    """Join the finished `pieces` of the job's video, whose `shots` are known, publish it with its
    record, and return its path. The work folders of the pieces are removed.

    Raises UserError if a piece is missing, or was made by another network.
    """
    film = ready_video(checked, report)
    done = [finished_piece(piece) for piece in pieces]
    found = [one for one in done if one is not None]
    if len(found) < len(pieces):
        raise UserError(
            f"{len(pieces) - len(found)} of {len(pieces)} pieces of {checked.out.path} are not "
            "rendered yet; render them first"
        )
    if any(one.whole.weights_sha256 != film.network.digest for one in found):
        raise UserError(
            f"pieces of {checked.out.path} were dreamed by other weights of {film.network.name}; "
            "--restart renders them again"
        )
    if any(one.whole.palette_sha256 != film.job.palette_sha256 for one in found):
        raise UserError(
            f"pieces of {checked.out.path} have another palette; --restart renders them again"
        )
    state = FilmState(exact_from=shots.exact_from)
    state.dream.cuts = list(shots.cuts)
    out = replace(checked.out, restart=True)
    with under_way(out, film.job, film.encoding, 0, None) as work:
        for piece in found:
            for path, frames in piece.segments:
                work.adopt(path, frames)
        seconds = sum(piece.whole.seconds for piece in found)
        made = made_of(film.network, work.frames, seconds, state)
        path = finish_video(work, film, out, report, made)
    for one in pieces:
        remove_work(one.place)
    return path


def piece_of(job: Job) -> Piece:
    """The piece that `job` renders. Raises ValueError if it renders a whole."""
    if job.piece is None:
        raise ValueError("the job renders a whole video")
    return job.piece


def _write_whole(work: Segments, made: Made, job: Job) -> None:
    segments = work.segments()
    whole = WholePiece(
        frames=tuple(frames for _, frames in segments),
        suffix=segments[0][0].suffix,
        piece=piece_of(job).model_copy(update={"place": Path()}),
        seconds=made.seconds,
        made=made,
        weights_sha256=job.weights_sha256,
        palette_sha256=job.palette_sha256,
    )
    table: dict[str, Any] = whole.model_dump(mode="json", exclude_none=True)
    text = json.dumps(table, indent=2) + "\n"
    write_whole(work.folder / WHOLE, lambda file: file.write(text.encode()))
