"""Videos and pictures, dreamed from their source to one whole, verified file."""

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.animate import Memory, begin_shot, dream_video, mixed, still_ascent
from dreamreel.pipeline.clips import Clip, damage, prefetch, probe, read_frames, resized, still_at
from dreamreel.pipeline.dream import check_finite, dream, octave_sizes
from dreamreel.pipeline.durable import Tree
from dreamreel.pipeline.encoding import CONTAINERS, Encoding, alike
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.files import check_video_name
from dreamreel.pipeline.images import (
    KEEPS_ALPHA,
    Frame,
    Picture,
    check_picture_name,
    fitted_size,
    load_picture,
    resize,
    save_picture,
    to_frame,
    to_image,
    with_alpha,
)
from dreamreel.pipeline.jobs import (
    QUIET,
    Progress,
    Report,
    audio_of,
    encoding_of,
    files_of,
    finish,
    heard_by,
    job_of,
    make,
    ready_network,
    settings_over_time,
    told_of,
    under_way,
)
from dreamreel.pipeline.motion import Followed, MovingFrame, follow_motion
from dreamreel.pipeline.mux import suffix_that_holds
from dreamreel.pipeline.networks import Network
from dreamreel.pipeline.opening import check_readable
from dreamreel.pipeline.paths import PICTURE, PREVIEW, RENDER, Parts, Target, check_target
from dreamreel.pipeline.preview import draw_motion
from dreamreel.pipeline.settings import Settings
from dreamreel.pipeline.unfinished import Threads


def render_video(
    source: Path,
    out: Target,
    settings: Settings,
    span: tuple[int, int | None] = (0, None),
    report: Report = QUIET,
    threads: Threads | None = None,
    audio: Path | None = None,
) -> Path:
    """Dream the frames `span` (first, one past the last) of the video `source` into `out.path`,
    or into what holds all of it, which is returned.

    Rate, size and sound are the source's. Schedules hear the music of `audio`, or else the clip's
    own. A render that was stopped goes on; its file is, byte for byte, that of one never stopped
    with as many `threads`. Raises UserError before anything is written where something given
    cannot work, and Stopped where the report asks for it, all frames so far saved.
    """
    clip, out = _checked_clip(source, out, settings, report, RENDER, audio)
    encoding, total = encoding_of(clip, out, settings, report), _expected(clip, span)
    heard = heard_by(settings, audio or (source if clip.is_file else None))
    watched = [source] if heard in (None, source) else [source, heard]
    over_time = settings_over_time(settings, total or 1, clip.rate, heard, span[0])
    network = ready_network(settings, fitted_size(clip.height, clip.width, settings.width), report)
    more = {"frames": list(span), **audio_of(audio)}
    job = job_of("video", settings, source, network, more)
    with under_way(out, job, encoding, total, threads) as work:
        memory = Memory.from_tree(work.state, network.device) if work.done else Memory()
        with _moving_frames(clip, settings, span, report, work.done, memory.followed) as moving:
            last, remembered = _remembering(moving)
            images = dream_video(remembered, network, over_time, memory)
            frames = (_shown(last[0].frame, image, encoding, settings, network) for image in images)
            make(frames, work, memory.as_tree, total, settings, report, watched)
        told = told_of(job, settings, source, out, work, network, {"cuts": memory.cuts})
        return finish(work, encoding, out, report, told, clip, span)


def preview_flow(
    source: Path,
    out: Target,
    settings: Settings,
    span: tuple[int, int | None] = (0, None),
    report: Report = QUIET,
) -> Path:
    """Draw the motion, the doubts and the cuts of the frames `span` of the video `source`, which a
    render would follow, into the video `out.path`; nothing is dreamed."""
    if settings.flow.method == "none":
        raise UserError("flow.method = none follows no motion: there is nothing to preview")
    clip, out = _checked_clip(source, out, settings, report, PREVIEW)
    job = job_of("preview", settings, source, None, {"frames": list(span)})
    plain = replace(clip, look=None, series=None, animation=None)  # drawings, of 8 bits
    encoding, total = encoding_of(plain, out, settings, report, abreast=2), _expected(clip, span)
    with under_way(out, job, encoding, total) as work:
        cuts: list[int] = work.state["cuts"] if work.done else []
        since = Followed.from_tree(work.state["followed"]) if work.done else None
        with _moving_frames(clip, settings, span, report, work.done, since) as moving:
            last, remembered = _remembering(moving)

            def state() -> Tree:
                followed = last[0].followed
                assert followed is not None
                return {"cuts": cuts, "followed": followed.as_tree()}

            frames = draw_motion(remembered, cuts.append)
            make(frames, work, state, total, settings, report, [source])
        path = finish(work, encoding, out, report, None, clip, span)
    where = f"cuts at frames {', '.join(map(str, cuts))}" if cuts else "no cuts"
    report.on_notice(f"{where}; red: not carried, yellow: newly seen")
    return path


def render_image(source: Path, out: Target, settings: Settings, report: Report = QUIET) -> Path:
    """Dream the picture `source` into `out.path`, upright, its alpha kept."""
    check_readable(source)
    check_picture_name(out.path)
    check_target(out, [source], files_of(settings), PICTURE)
    picture = load_picture(source, torch.device("cpu"))
    height, width = fitted_size(picture.image.shape[2], picture.image.shape[3], settings.width)
    network = ready_network(settings, (height, width), report)
    image = resize(picture.image, (height, width)).to(network.device)
    alpha = picture.alpha
    if alpha is not None:
        alpha = resize(alpha[None, None], (height, width))[0, 0]
        if out.path.suffix.lower() not in KEEPS_ALPHA:
            report.on_notice(f"{out.path.suffix} keeps no transparency: written without")
    ascent = still_ascent(settings)
    total = ascent.steps * len(octave_sizes((height, width), network, settings.dream))
    done = itertools.count(1)
    dreamed = dream(
        image,
        network,
        settings.dream,
        ascent,
        seed=settings.seed,
        on_step=lambda: report.on_progress(Progress(next(done), total)),
    )
    check_finite(dreamed, network)
    save_picture(out.path, Picture(mixed(image, dreamed, settings), alpha), out.overwrite)
    return out.path


def render_still(
    source: Path, out: Target, settings: Settings, seconds: float, report: Report = QUIET
) -> Path:
    """Dream the frame of the video `source` shown at `seconds`, as a shot that began with it would
    be, into the picture `out.path`."""
    clip = probe(source, settings.source.stream, settings.source.fps)
    check_picture_name(out.path)
    check_target(out, [source, *clip.files], files_of(settings), PICTURE)
    for notice in clip.notices:
        report.on_notice(notice)
    network = ready_network(settings, fitted_size(clip.height, clip.width, settings.width), report)
    number, frame = still_at(clip, seconds)
    image = to_image(next(resized([frame], settings.width)), network.device)
    done = itertools.count(1)
    total = settings.dream.steps * len(octave_sizes(image.shape[2:], network, settings.dream))
    shot = begin_shot(
        image,
        network,
        settings,
        number,
        on_step=lambda: report.on_progress(Progress(next(done), total)),
    )
    dreamed = mixed(image, image + shot.detail, settings)
    check_finite(dreamed, network)
    save_picture(out.path, Picture(dreamed), out.overwrite)
    return out.path


def _checked_clip(
    source: Path,
    out: Target,
    settings: Settings,
    report: Report,
    parts: Parts,
    audio: Path | None = None,
) -> tuple[Clip, Target]:
    """What the video `source` holds that is wanted, and where its dream goes: into another kind of
    file where the one given would not hold all. Raises UserError where it cannot become that."""
    with usable(source):
        if source.is_file():
            check_readable(source)
    check_video_name(out.path)
    clip = probe(source, settings.source.stream, settings.source.fps)
    clip = replace(
        clip,
        has_audio=clip.has_audio and settings.output.audio,
        subtitles=clip.subtitles if settings.output.subtitles else (),
    )
    if out.path.suffix.lower() in CONTAINERS:
        suffix = suffix_that_holds(clip, out.path.suffix)
        if suffix != out.path.suffix:
            report.on_notice(
                f"{out.path.suffix} does not hold the source's subtitles, which are pictures: it "
                f"becomes {suffix}; output.subtitles=false leaves them out"
            )
            out = replace(out, path=out.path.with_suffix(suffix))
    check_target(out, [source, *clip.files], [audio, *files_of(settings)], parts)
    if settings.source.strict and (fault := damage(clip)) is not None:
        raise UserError(
            f"{source} is damaged ({fault}); what can be read is dreamed without --strict"
        )
    for notice in clip.notices:
        report.on_notice(notice)
    return clip, out


def _remembering(
    moving: Iterator[MovingFrame],
) -> tuple[list[MovingFrame], Iterator[MovingFrame]]:
    """`moving`, and a list that holds the one of them that was given out last."""
    last: list[MovingFrame] = []

    def remembered() -> Iterator[MovingFrame]:
        for one in moving:
            last[:] = [one]
            yield one

    return last, remembered()


def _shown(
    source: Frame, image: Tensor, encoding: Encoding, settings: Settings, network: Network
) -> Frame:
    """`image`, the dream of the frame `source`, as it is encoded."""
    check_finite(image, network)
    frame = to_frame(image, encoding.depth)
    if encoding.has_alpha:
        frame = with_alpha(frame, source)
    if settings.output.side_by_side:
        frame = np.hstack([alike(source, encoding), alike(frame, encoding)])
    return frame


@contextmanager
def _moving_frames(
    clip: Clip,
    settings: Settings,
    span: tuple[int, int | None],
    report: Report,
    done: int = 0,
    since: Followed | None = None,
) -> Iterator[Iterator[MovingFrame]]:
    """The frames `span` of `clip` with their motion, but the first `done`, up to which all was
    followed `since`; read and followed ahead by threads."""
    start, stop = span[0] + done, span[1]
    frames = resized(read_frames(clip, start, stop, report.on_notice), settings.width)
    first = list(itertools.islice(frames, 1))
    if not first and not done:
        raise UserError(f"{clip.path} ends before frame {start}")
    sources = prefetch(itertools.chain(first, frames))
    moving = prefetch(follow_motion(sources, clip.rate, settings, start, since))
    with closing(sources), closing(moving):
        yield moving


def _expected(clip: Clip, span: tuple[int, int | None]) -> int | None:
    """How many frames `span` of `clip` should have, if anyone knows."""
    start, stop = span
    ends = [end for end in (stop, clip.frames) if end is not None]
    return max(1, min(ends) - start) if ends else None
