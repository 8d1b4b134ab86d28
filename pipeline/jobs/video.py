"""The renders of a video and of a preview of its motion, from the job to a verified file."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import OverTime
from dreamreel.pipeline.config.values import Span
from dreamreel.pipeline.dreaming.ascent import finite_frame
from dreamreel.pipeline.dreaming.carrying import VideoState, dream_video
from dreamreel.pipeline.dreaming.enlarging import scale_of
from dreamreel.pipeline.dreaming.masks import Masking, Painted
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Box, Frame, with_alpha
from dreamreel.pipeline.jobs.assembly import Plan, assemble, publish_film, verify
from dreamreel.pipeline.jobs.checks import Checked, bars_at, encoding_of, expected_frames
from dreamreel.pipeline.jobs.identity import (
    named,
    named_again,
    named_in,
    named_masks,
    palette_digest,
    versions,
)
from dreamreel.pipeline.jobs.job import Job, source_of
from dreamreel.pipeline.jobs.making import Coming, make, under_way
from dreamreel.pipeline.jobs.masking import mask_files, masks_in, masks_of
from dreamreel.pipeline.jobs.memory import told_peak
from dreamreel.pipeline.jobs.pace import pacing
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.preparation import (
    heard_by,
    palette_of,
    ready_network,
    settings_over_time,
    told_bars,
    with_decoder,
    with_encoder,
)
from dreamreel.pipeline.jobs.record import Made
from dreamreel.pipeline.jobs.report import Report, on_first
from dreamreel.pipeline.jobs.segments import Segments, unreadable_state
from dreamreel.pipeline.jobs.soundness import check_cuts, check_followed, check_painted, check_video
from dreamreel.pipeline.media.clips import Clip
from dreamreel.pipeline.media.converting import FITTED
from dreamreel.pipeline.media.cropping import scaled
from dreamreel.pipeline.media.encoding import Encoding, alike
from dreamreel.pipeline.media.reading import depth_for, prefetch, read_frames
from dreamreel.pipeline.motion.following import Followed, MovingFrame, follow_motion, frames_ahead
from dreamreel.pipeline.motion.overlay import draw_motion
from dreamreel.pipeline.networks.devices import flow_threads
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.stages import timed, timed_each
from dreamreel.pipeline.states import decode, encode, on_device
from dreamreel.pipeline.tensors import Leaving


@dataclass(frozen=True)
class Filming:
    """What a render of a video needs ready before its first frame.

    `total` is the number of frames of the whole video, if known. `watched` are the files that may
    not change during the render.
    """

    job: Job
    clip: Clip
    encoding: Encoding
    total: int | None
    over_time: OverTime
    network: Network
    watched: list[Path]


def render_video(checked: Checked, report: Report) -> Path:
    """Dream the job's span of its source into its output, and return the path of the output.

    Rate, size and sound are those of the source, as far as the settings do not change them.
    Schedules hear the job's music, else the sound of the source. An unfinished render is resumed;
    its file equals, byte for byte, that of an uninterrupted one. Raises UserError and Stopped as
    `run` does.
    """
    film, out = ready_video(checked, report), checked.out
    settings, size = film.job.settings, film.clip.raster.size_at(film.job.settings.width)
    paced = pacing(report, film.network, settings, size)
    with under_way(out, film.job, film.encoding, film.total, film.network) as work:
        state = state_of(work, film)
        dream_into(work, film, state, paced)
        made = made_of(film.network, work.frames, work.seconds, state)
        return finish_video(work, film, out, report, made)


def ready_video(checked: Checked, report: Report) -> Filming:
    """All that the render of a `checked` video needs. Raises UserError if it cannot work."""
    job, clip = checked.job, clip_of(checked)
    source, settings = source_of(job), job.settings
    encoding = encoding_of(clip.raster, checked.out, settings, report)
    total = expected_frames(clip, job.span)
    audio = None if job.audio is None else job.audio.path
    heard = heard_by(settings, audio or (source if clip.is_file else None))
    watched = [source] if heard in (None, source) else [source, heard]
    watched += mask_files(settings)
    over_time = settings_over_time(settings, total or 1, clip.rate, heard, job.span[0], report)
    size = clip.raster.size_at(settings.width)
    network = ready_network(settings, size, report, checked.chosen)
    job = as_run(job, clip, network)
    job = job.model_copy(update={"settings": with_encoder(job.settings, encoding)})
    return Filming(job, clip, encoding, total, over_time, network, watched)


def dream_into(work: Segments, film: Filming, state: "FilmState", report: Report) -> None:
    """Dream the frames that `work` lacks of the span, or of the piece, of the video `film`, and add
    them. `state` is that after the frames that `work` has, and is kept up to date.

    Raises UserError and Stopped as `make` does.
    """
    settings, encoding, network = film.job.settings, film.encoding, film.network
    piece = film.job.piece
    span = film.job.span if piece is None else (piece.first, piece.stop)
    begins = span[0] + work.done
    if piece is not None and not work.done:
        begins -= min(piece.preroll, piece.first - film.job.span[0])
        state.exact_from = piece.exact_from
    after_cut = piece is not None and piece.after_cut
    with (
        moving_frames(
            film.clip, film.job, begins, state, report, after_cut, flow_threads(network.device)
        ) as moving,
        masks_of(settings, film.clip, network.device) as masking,
    ):
        size = film.clip.raster.size_at(settings.width)
        report.on_estimate(told_peak(network, settings, size))
        last, remembered = _remembering(itertools.takewhile(_before(span[1]), moving))
        images = dream_video(
            remembered,
            network,
            film.over_time,
            state.dream,
            on_first(report),
            palette_of(settings),
            masking,
        )

        def frames() -> Iterator[Coming]:
            for image in images:
                number, source = last[0].number, last[0].frame
                if number < span[0]:  # of the preroll
                    continue
                leaving = Leaving(image, encoding.depth)
                shown = partial(_shown, source, leaving, encoding, settings, network)
                cuts = state.dream.cuts
                begins_shot = bool(cuts) and cuts[-1] == number
                yield Coming(shown, leaving.is_on_its_way, begins_shot)

        total = film.total if piece is None else piece.stop - piece.first
        seconds = settings.output.save_seconds
        make(frames(), work, lambda: encode(state), total, film.watched, report, seconds, network)


def finish_video(work: Segments, film: Filming, out: Target, report: Report, made: Made) -> Path:
    """Assemble the video from the segments of `work`, verify and publish it with its record, which
    tells how it was `made`. Returns its path."""
    job = film.job.model_copy(update={"output": out.path, "threads": work.threads})
    return _finished(work, film.clip, film.encoding, out, film.job.span, report, (job, made))


def made_of(network: Network, frames: int, seconds: float, state: "FilmState") -> Made:
    """How a video of so many `frames` was made, in so many `seconds`; `state` is that at its
    end."""
    return Made(
        versions=versions(),
        network=network.name,
        device=str(network.device),
        frames=frames,
        seconds=round(seconds, 1),
        cuts=tuple(state.dream.cuts),
        exact_from=state.exact_from,
    )


def render_preview(checked: Checked, report: Report) -> Path:
    """Render a video of the motion, the places not carried and the cuts that `render_video` would
    use, and return its path. Nothing is dreamed. Raises UserError and Stopped as `run` does."""
    job, out, clip = checked.job, checked.out, clip_of(checked)
    source, settings, span = source_of(job), job.settings, job.span
    drawn = replace(clip.raster, depth=8, has_alpha=False)
    encoding = encoding_of(drawn, out, settings, report, abreast=2)
    total = expected_frames(clip, span)
    job = as_run(job, clip, None)
    with under_way(out, job, encoding, total, None) as work:
        state = _preview_of(work, clip, job)
        with (
            moving_frames(clip, job, span[0] + work.done, state, report) as moving,
            masks_of(settings, clip, torch.device("cpu")) as masking,
        ):
            last, remembered = _remembering(moving)

            def saved() -> object:
                state.followed = last[0].followed
                return encode(state)

            def outside(frame: MovingFrame) -> NDArray[np.float32] | None:
                return _outside(masking, frame, settings, state)

            frames = draw_motion(remembered, state.cuts.append, outside)
            coming = (Coming(partial(_itself, frame)) for frame in frames)
            make(coming, work, saved, total, [source], report, settings.output.save_seconds)
        path = _finished(work, clip, encoding, out, span, report, None)
    where = f"cuts at frames {', '.join(map(str, state.cuts))}" if state.cuts else "no cuts"
    report.on_notice(f"{where}; red: not carried, yellow: newly visible")
    return path


def _outside(
    masking: Masking | None, frame: MovingFrame, settings: Settings, state: "PreviewState"
) -> NDArray[np.float32] | None:
    """How far each place (H, W) of the picture of `frame` is outside all masks; None without."""
    if masking is None:
        return None
    state.painted = masking.follow(state.painted, frame, settings)
    masks = masking.of(frame, settings, state.painted)
    return np.asarray(1 - masks.whole[0, 0].numpy())


def _itself(frame: Frame) -> Frame:
    return frame


@dataclass
class FilmState:
    """The state of a video's render: all that the next frame needs of those before it.

    `exact_from` is the number of the frame from which PyAV decodes instead of OpenCV; None as long
    as it does not.
    """

    dream: VideoState = field(default_factory=VideoState)
    exact_from: int | None = None

    @property
    def followed(self) -> Followed | None:
        """The state of following the motion; None before the first frame."""
        return self.dream.followed


@dataclass
class PreviewState:
    """The state of a preview's render; see `FilmState`."""

    cuts: list[int] = field(default_factory=list)
    followed: Followed | None = None
    exact_from: int | None = None
    painted: list[Painted | None] = field(default_factory=list)  # masks that follow the flow


def as_run(job: Job, clip: Clip, network: Network | None) -> Job:
    """`job` with the digests of its files and weights, and the decoder of its film."""
    changes = {
        "source": named(source_of(job)),
        "audio": named_again(job.audio),
        "files": named_in(job.settings),
        "masks": named_masks(job.settings),
        "weights_sha256": None if network is None else network.digest,
        "palette_sha256": None if network is None else palette_digest(job.settings),
        "settings": with_decoder(job.settings, clip),
    }
    return job.model_copy(update=changes)


def state_of(work: Segments, film: Filming) -> FilmState:
    """The state after the saved frames of `work` of the video `film`, on the device of its network.
    Raises UserError if it is damaged."""
    if not work.done:
        return FilmState()
    settings = film.job.settings
    size = film.clip.raster.size_at(settings.width)
    try:
        state = decode(FilmState, work.state)
        scale = scale_of(settings.dream, size[1])
        check_video(state.dream, size, _side(settings), masks_in(settings), scale)
        check_cuts(state.dream.cuts, *_saved_span(work, film.job))
    except ValueError as error:
        raise UserError(unreadable_state(work.folder)) from error
    return on_device(state, film.network.device)


def _preview_of(work: Segments, clip: Clip, job: Job) -> PreviewState:
    """The state after the saved frames of `work` of a preview. Raises UserError if it is
    damaged."""
    settings = job.settings
    if not work.done:
        return PreviewState()
    size = clip.raster.size_at(settings.width)
    try:
        state = decode(PreviewState, work.state)
        check_followed(state.followed, size, _side(settings))
        assert state.followed is not None  # a preview follows motion
        check_painted(state.painted, masks_in(settings), state.followed.box.size)
        check_cuts(state.cuts, *_saved_span(work, job))
    except ValueError as error:
        raise UserError(unreadable_state(work.folder)) from error
    return state


def _saved_span(work: Segments, job: Job) -> tuple[int, int]:
    """The frames of the source whose dreams `work` has: the first, less those that only lead to it,
    and one past the last."""
    first = job.span[0] if job.piece is None else job.piece.first - job.piece.preroll - 1
    begins = job.span[0] if job.piece is None else job.piece.first
    return first, begins + work.done


def _side(settings: Settings) -> int | None:
    """The `flow.height` at which motion is followed; None if it is not."""
    return None if settings.flow.method == "none" else settings.flow.height


def _finished(
    work: Segments,
    clip: Clip,
    encoding: Encoding,
    out: Target,
    span: Span,
    report: Report,
    record: tuple[Job, Made] | None,
) -> Path:
    _tell_missing(clip, span, work.frames, report)
    first, times = span[0], _times(clip, span[0], work.frames)
    cut = _seconds(clip, span, work.frames)
    plan = Plan(encoding, first, times, clip.tracks, cut)
    made = assemble(work, plan, out, report)
    verify(made, work, plan, out)
    return publish_film(made, out, report, record)


def clip_of(checked: Checked) -> Clip:
    """The clip of a `checked` job that has one."""
    assert checked.clip is not None
    return checked.clip


def _remembering(
    moving: Iterator[MovingFrame],
) -> tuple[list[MovingFrame], Iterator[MovingFrame]]:
    """A list that holds the frame of `moving` that was taken last, and `moving` itself, which keeps
    that list up to date."""
    last: list[MovingFrame] = []

    def remembered() -> Iterator[MovingFrame]:
        for one in moving:
            last[:] = [one]
            yield one

    return last, remembered()


@timed("encode")
def _shown(
    source: Frame, leaving: Leaving, encoding: Encoding, settings: Settings, network: Network
) -> Frame:
    """`leaving`, the dream of the frame `source`, as the frame that is encoded: with the source's
    alpha, or beside the source, if the encoding or the settings ask for it."""
    frame = finite_frame(leaving, network)
    if encoding.has_alpha:
        frame = with_alpha(frame, source)
    if settings.output.side_by_side:
        frame = np.hstack([alike(source, encoding), alike(frame, encoding)])
    return frame


@contextmanager
def moving_frames(
    clip: Clip,
    job: Job,
    start: int,
    state: "FilmState | PreviewState",
    report: Report,
    after_cut: bool = False,
    threads: int = 1,
) -> Iterator[Iterator[MovingFrame]]:
    """The frames of `clip` from `start` to the end of the job's span with their motion; of a piece,
    a few more, that tell a flash at its end from a cut. `state` was saved before the first.
    Threads read frames and follow their motion ahead of the dreaming: so many `threads` find it."""
    settings, stop = job.settings, job.span[1]
    if job.piece is not None:
        more = job.piece.stop + frames_ahead(settings, clip.rate)
        stop = more if stop is None else min(stop, more)

    def go_on_exactly(number: int) -> None:
        state.exact_from = number

    told: list[str] = []

    def on_lost(line: str) -> None:
        told.append(line)
        report.on_notice(line)

    clip = replace(clip, exact_from=state.exact_from)
    read = read_frames(clip, start, stop, on_lost, go_on_exactly)
    size = clip.raster.size_at(settings.width)
    frames = timed_each("decode", (scaled(frame, size) for frame in read))
    first = list(itertools.islice(frames, 1))
    if not first and state.followed is None and start == job.span[0]:
        raise UserError(f"{clip.path} ends before frame {start}; give an earlier start")
    depth = depth_for(size)
    sources = prefetch(itertools.chain(first, frames), depth)
    bars = bars_at(settings, clip.size, size)
    following = follow_motion(
        sources, clip.rate, settings, start, state.followed, after_cut, bars, threads
    )
    moving = prefetch(following, depth)
    with closing(sources), closing(moving):
        yield _telling_bars(moving, report, told)


def _telling_bars(
    moving: Iterator[MovingFrame], report: Report, told: list[str]
) -> Iterator[MovingFrame]:
    """The frames of `moving`; the first with bars is told of, unless the lines `told` do."""
    is_told = False
    for one in moving:
        if not is_told and one.box != Box.whole(one.frame):
            is_told = True
            if not any(FITTED in line for line in told):
                report.on_notice(told_bars(one.number, one.frame, one.box))
        yield one


def _before(stop: int | None) -> Callable[[MovingFrame], bool]:
    """Whether a frame comes before the frame `stop`, if there is one."""
    return lambda moving: stop is None or moving.number < stop


def _times(clip: Clip, start: int, frames: int) -> tuple[Fraction, ...]:
    """The times, in seconds since the first, at which `frames` frames of `clip` from `start` on are
    shown, and the end of the last. Empty if the rate is constant."""
    if not clip.times:
        return ()
    begins = clip.shown_at(start)
    return tuple(clip.shown_at(start + number) - begins for number in range(frames + 1))


def _seconds(clip: Clip, span: Span, frames: int) -> tuple[Fraction, Fraction] | None:
    """The begin and end of the dreamed frames in the source, in seconds; None for all of it."""
    start, stop = span
    if start == 0 and (stop is None or frames < stop or frames == clip.frames):
        return None
    return clip.shown_at(start), clip.shown_at(start + frames)


def _tell_missing(clip: Clip, span: Span, frames: int, report: Report) -> None:
    start, stop = span
    if stop is not None and frames < stop - start:
        report.on_notice(
            f"{clip.path} has {start + frames} frames: dreamed {start}:{start + frames} only"
        )
        return
    promised = clip.stated or clip.frames
    if stop is None and promised is not None and start + frames < promised:
        report.on_notice(
            f"{clip.path} promises {promised} frames; only {start + frames} could be read"
        )
