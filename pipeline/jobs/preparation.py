"""What a render needs before its first frame, made ready early so that mistakes show at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import torch

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.timeline import (
    OverTime,
    constant,
    moment_of,
    settings_at,
    without_beat,
)
from dreamreel.pipeline.dreaming.ascent import coarsest_side, octaves_of
from dreamreel.pipeline.dreaming.colour import Colours
from dreamreel.pipeline.dreaming.enlarging import scale_of, shrunk
from dreamreel.pipeline.dreaming.terms import Term
from dreamreel.pipeline.dreaming.vocabulary import layers_of, weighted
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Box, Frame
from dreamreel.pipeline.jobs.identity import stamp
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.media.clips import Clip
from dreamreel.pipeline.media.encoding import Encoding
from dreamreel.pipeline.media.sound import hear
from dreamreel.pipeline.media.stills import load_picture
from dreamreel.pipeline.memory import check_fits
from dreamreel.pipeline.networks.catalog import load_network
from dreamreel.pipeline.networks.files import file_of
from dreamreel.pipeline.networks.network import PICTURE_BYTES, Network

# Bytes per pixel of a picture that is imagined: its waves, their gradient and Adam's two averages,
# 12 each, the spectrum, and copies of the image; and those of the gradient in each view.
IMAGINED_BYTES, SEEN_BYTES = 160.0, 12.0


def heard_by(settings: Settings, audio: Path | None) -> Path | None:
    """The path of the music that the schedules in `settings` hear: `audio`; None if they hear none.
    Raises UserError if they hear music and `audio` is None."""
    if not settings.needs_music:
        return None
    if audio is None:
        names = ", ".join(settings.schedules)
        raise UserError(f"a schedule of {names} hears music, and there is none; give --audio FILE")
    return audio


def settings_over_time(
    settings: Settings,
    frames: int,
    rate: Fraction,
    heard: Path | None,
    first: int = 0,
    report: Report = QUIET,
) -> OverTime:
    """The settings of each of `frames` frames, by number; the first has the number `first`.

    Schedules run over the time of these frames at `rate` a second. `heard` is the music that they
    hear, if any; a notice goes to `report` if they follow its beat and it has none. Raises
    UserError if a schedule gives a value that its setting cannot have, and if the music cannot be
    read.
    """
    if not settings.schedules:
        return constant(settings)
    sound = None if heard is None else hear(heard, rate, frames, first / rate)
    if without_beat(settings, sound):
        report.on_notice(f"no beat found in {heard}: beat is 0 throughout")

    @lru_cache(maxsize=4)
    def at(number: int) -> Settings:
        return settings_at(settings, moment_of(number - first, frames, rate, sound))

    for number in range(first, first + frames):
        at(number)
    return at


def palette_of(settings: Settings) -> Colours | None:
    """The colours of the picture `dream.palette`; None if there is none. Transparent parts do not
    count. Raises UserError if it cannot be read."""
    if settings.dream.palette is None:
        return None
    picture = load_picture(settings.dream.palette, torch.device("cpu"))
    image = picture.image
    if picture.alpha is not None and bool((seen := picture.alpha > 0.5).any()):
        image = image[:, :, seen][..., None]
    return Colours.of(image)


def told_bars(number: int, frame: Frame, box: Box) -> str:
    """A line that tells of the bars of `frame`, the frame `number`, whose picture is in `box`."""
    return (
        f"{bars_around(frame, box)} (left, top, right, bottom) at frame {number} are kept as they "
        "are; --set source.bars=keep has them dreamed as well"
    )


def bars_around(frame: Frame, box: Box) -> str:
    """The bars of `frame` around the picture in `box`, in words."""
    return f"bars of {':'.join(map(str, box.around(frame)))} pixels"


def ready_network(
    settings: Settings,
    size: tuple[int, int],
    report: Report,
    chosen: frozenset[str] = frozenset(),
) -> Network:
    """The network of `settings`, checked for a picture of `size` (height, width) in pixels, for
    which there must be memory now. It gives a notice to `report` if memory runs out later.

    `chosen` is as for `fitting_network`. Raises UserError as that does, and if a picture of that
    size does not fit.
    """
    network = fitting_network(settings, size, report, chosen)
    if network.device.type == "cpu":
        check_fits("a frame", size, PICTURE_BYTES, "a smaller --width would work")
    return network


def imagining_network(settings: Settings, size: tuple[int, int], report: Report) -> Network:
    """The network of `settings`, checked for imagining a picture of `size` (height, width).

    Raises UserError if it lacks a layer, if it needs larger views, or if the picture does not fit
    into memory.
    """
    network = loaded_network(settings)
    if network.notice is not None:
        report.on_notice(network.notice)
    layers = list(dict.fromkeys(layers_of(settings.dream, network).values()))
    side = settings.imagine.side
    if not network.runs_at((side, side), layers):
        raise UserError(
            f"imagine.side = {side} is too small for {network.name} at {', '.join(layers)}: "
            f"{network.smallest_side(layers)} works"
        )
    if network.device.type == "cpu":
        bytes_ = IMAGINED_BYTES + SEEN_BYTES * settings.imagine.views
        check_fits("a picture", size, bytes_, "a smaller --size would work")
    return network


def fitting_network(
    settings: Settings,
    size: tuple[int, int],
    report: Report,
    chosen: frozenset[str] = frozenset(),
) -> Network:
    """The network of `settings`, which may be used elsewhere or later, for a picture of `size`. If
    the octaves are `chosen`, as for `run`, and some are too small for it, `report` gets a notice.

    Raises UserError if it lacks a layer, or if the tiles or the picture are too small for it.
    """
    network = loaded_network(settings)
    network.sight.on_notice = report.on_notice
    if network.notice is not None:
        report.on_notice(network.notice)
    changing = {name.removeprefix("dream.terms.") for name in settings.schedules}
    seen, layers = [], []
    for dream in settings.dreams:
        weights = weighted(dream, network)
        for text, layer in layers_of(dream, network).items():
            layers.append(layer)
            if weights[text] or text in changing:
                seen.append(layer)
    network.sight.check(settings.dream.tile, seen)
    terms = [Term(layer) for layer in layers]
    scale = scale_of(settings.dream, size[1])
    size = shrunk(Box(0, 0, size[1], size[0]), scale).size
    octaves_of(size, network, terms, settings.dream)
    side, smallest = coarsest_side(settings.dream), network.smallest_side(seen)
    if side < smallest and chosen & {"dream.octaves", "dream.coarsest"}:
        report.on_notice(
            f"the coarsest octave would be {side:.0f} pixels high, and {network.name} needs "
            f"{smallest} at these layers: smaller octaves are left out"
        )
    return network


def loaded_network(settings: Settings) -> Network:
    """The network of `settings`, loaded. Raises UserError if it cannot be loaded, if it lacks what
    a term of `dream.terms` names, or if all of these have weight 0."""
    terms = settings.dream.terms
    if terms and not any(terms.values()) and "dream.terms" not in settings.changes:
        raise UserError("dream.terms gives every term weight 0; give one another weight")
    network = _network_of(settings)
    for region in settings.region:
        if region.terms and not any(region.terms.values()):
            raise UserError("a region gives every term weight 0; give one another weight")
    for dream in settings.dreams:
        layers_of(dream, network)
    return network


@contextmanager
def kept_network() -> Iterator[None]:
    """Keep the network that is loaded last, for all renders inside the context."""
    before = dict(_kept)
    keep_network()
    try:
        yield
    finally:
        _kept.clear()
        _kept.update(before)


def keep_network() -> None:
    """Keep the network that is loaded last, for the next render of this process."""
    _kept.setdefault((), None)


# The network that is kept, by all that it was loaded from; () is there if networks are kept.
_kept: dict[tuple[object, ...], Network | None] = {}


def _network_of(settings: Settings) -> Network:
    """The network of `settings`: loaded, or kept from the render before, with nothing learned."""
    names = (settings.network, settings.weights, settings.device, settings.precision)
    if () not in _kept:
        return load_network(*names)
    files = [path for path in (file_of(settings.network), settings.weights) if path is not None]
    key = (*names, *(tuple(stamp(path)) for path in files))
    network = _kept.get(key)
    if network is None:
        _kept.clear()
        keep_network()
        network = _kept[key] = load_network(*names)
    network.forget()
    return network


def with_encoder(settings: Settings, encoding: Encoding) -> Settings:
    """`settings` with the encoder that `encoding` has in `output.encoder`."""
    output = settings.output.model_copy(update={"encoder": encoding.hardware or "software"})
    return settings.model_copy(update={"output": output})


def with_decoder(settings: Settings, clip: Clip) -> Settings:
    """`settings` with the decoder of `clip` in `source.decoder`, if it is a video file."""
    if not clip.is_file:
        return settings
    source = settings.source.model_copy(update={"decoder": clip.decoder})
    return settings.model_copy(update={"source": source})
