"""The command line: parse, call, report."""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamreel.pipeline.errors import Stopped, UserError

if TYPE_CHECKING:  # these bring torch, which `dreamreel --help` does without
    from fractions import Fraction

    from dreamreel.pipeline.jobs import Progress, Report
    from dreamreel.pipeline.paths import Target
    from dreamreel.pipeline.settings import Settings

app = typer.Typer(
    name="dreamreel",
    help="The DeepDream studio for moving pictures.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Out = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="OUT", help="The file to write.")
]
Presets = Annotated[
    list[str] | None,
    typer.Option("--preset", metavar="P", help="A look by name, or a TOML file. Repeatable."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting, its value in TOML's syntax, or a schedule. Repeatable.",
    ),
]
NetworkName = Annotated[
    str | None, typer.Option("--network", metavar="N", help="The network that dreams.")
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="F", help="Its weights: a .safetensors or .pth file."),
]
Precision = Annotated[
    str | None, typer.Option("--precision", help="auto, bfloat16 or float32.", metavar="P")
]
Width = Annotated[
    int | None,
    typer.Option("--width", metavar="W", help="Width of the result; the shape is kept."),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="D", help="auto, cpu, cuda, cuda:1 or mps.")
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="S", help="Of all randomness.")]
Audio = Annotated[
    Path | None,
    typer.Option("--audio", metavar="FILE", help="The music that schedules hear."),
]
Seconds = Annotated[float, typer.Option(help="How long it lasts.", metavar="S")]
RATE = "30"
Rate = Annotated[str, typer.Option(help="Frames a second: 30, 23.976 or 30000/1001.", metavar="R")]
Codec = Annotated[
    str | None,
    typer.Option(
        "--codec", metavar="C", help="h264, hevc, av1, prores, ffv1 or vp9: output.codec."
    ),
]
Crf = Annotated[
    int | None,
    typer.Option("--crf", metavar="Q", help="Constant quality, less is better: output.crf."),
]
PixelFormat = Annotated[
    str | None,
    typer.Option("--pixel-format", metavar="F", help="As ffmpeg names it: output.pixel_format."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output if it is there already.")
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Discard what a stopped render has done so far.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but the output's path.")]


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """The DeepDream studio for moving pictures."""
    if version:
        from importlib.metadata import version as installed

        print(f"dreamreel {installed('dreamreel')}")
        raise typer.Exit


@app.command()
def video(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The video to dream.")],
    output: Out = None,
    frames: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Only frames A up to, but without, B; the first is 0."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only from TIME on: 2.5 or 1:02.5 or 1:00:02.5."),
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Only up to TIME.")] = None,
    still: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only the frame at TIME (2.5 or 1:02.5), as a picture."),
    ] = None,
    preview_flow: Annotated[
        bool,
        typer.Option("--preview-flow", help="Dream nothing: show motion, doubts and cuts."),
    ] = False,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="R", help="Make the rate constant: 30, 23.976 or 30000/1001: source.fps."
        ),
    ] = None,
    stream: Annotated[
        int | None,
        typer.Option(metavar="N", help="Which stream of pictures, from 0: source.stream."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a damaged source: source.strict=true.")
    ] = False,
    audio: Audio = None,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Leave the sound out: output.audio=false.")
    ] = False,
    side_by_side: Annotated[
        bool,
        typer.Option(
            "--side-by-side", help="Show the source beside its dream: output.side_by_side=true."
        ),
    ] = False,
    codec: Codec = None,
    crf: Crf = None,
    pixel_format: PixelFormat = None,
    preset: Presets = None,
    set_: Sets = None,
    network: NetworkName = None,
    weights: Weights = None,
    precision: Precision = None,
    width: Width = None,
    device: Device = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Dream a video: the dream flows with what moves; sound, rate and colours stay.

    IN is a video, a GIF, WebP or APNG, a folder of pictures, or a pattern such as
    frames/img_%04d.png. OUT ends in .mp4, .m4v, .mov, .mkv, .webm, .gif, .webp or .apng, or is a
    pattern such as dream/%05d.png (.tif, .exr, .jpg). Without -o the result is IN-dream.mp4,
    beside IN; of --preview-flow, IN-flow.mp4. A render that was stopped, by Ctrl-C or a power cut,
    goes on when the same command is given again.
    """
    settings = _settings(
        preset, set_, network, weights, precision, width, device, seed,
        {
            "--fps": ("source.fps", fps),
            "--stream": ("source.stream", stream),
            "--strict": ("source.strict", strict or None),
            "--no-audio": ("output.audio", False if no_audio else None),
            "--side-by-side": ("output.side_by_side", side_by_side or None),
            **_encoding_flags(codec, crf, pixel_format),
        },
    )  # fmt: skip
    from dreamreel.pipeline.files import usual_output

    if still is not None and (frames or start or end):
        raise UserError(
            "--still is one frame, --frames, --start and --end a span: give one of them"
        )
    span = _span(source, settings, frames, start, end)
    if preview_flow:
        if still is not None:
            raise UserError("--still is one picture and --preview-flow a video: give one of them")
        out = _output(output, usual_output(source, "flow", settings), overwrite, restart, preset)
        from dreamreel.pipeline.render import preview_flow as preview

        with terminal("frames", quiet, stoppable=True) as report:
            path = preview(source, out, settings, span, report)
        print(path)
        return
    if still is not None:
        seconds = parse_time("--still", still)
        out = _output(output, source.parent / f"{source.stem}-dream.png", overwrite, False, preset)
        from dreamreel.pipeline.render import render_still

        with terminal("steps", quiet) as report:
            path = render_still(source, out, settings, seconds, report)
        print(path)
        return
    out = _output(output, usual_output(source, "dream", settings), overwrite, restart, preset)
    from dreamreel.pipeline.render import render_video

    with terminal("frames", quiet, stoppable=True) as report:
        path = render_video(source, out, settings, span, report, audio=audio)
    print(path)


@app.command()
def zoom(
    photo: Annotated[
        Path | None, typer.Argument(metavar="[PHOTO]", help="Where it begins; else noise.")
    ] = None,
    output: Out = None,
    seconds: Seconds = 10,
    fps: Annotated[
        str | None,
        typer.Option(help=f"Frames a second: {RATE} if not said; or 30000/1001.", metavar="R"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="The canvas, to which a photo is cropped."),
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option("--colour", "--color", metavar="C", help="Begin with it: #204060 or teal."),
    ] = None,
    loop: Annotated[
        bool, typer.Option("--loop", help="End where it began: it plays on without a seam.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option(metavar="PHOTO", help="Arrive at this photo in the end.")
    ] = None,
    reverse: Annotated[
        bool, typer.Option("--reverse", help="Show it backwards: it ends with what it began with.")
    ] = False,
    go_on: Annotated[
        Path | None,
        typer.Option("--continue", metavar="ZOOM", help="Go on where this finished zoom ends."),
    ] = None,
    audio: Audio = None,
    motion_only: Annotated[
        bool, typer.Option("--motion-only", help="Dream nothing: show the camera's motion.")
    ] = False,
    codec: Codec = None,
    crf: Crf = None,
    pixel_format: PixelFormat = None,
    preset: Presets = None,
    set_: Sets = None,
    network: NetworkName = None,
    weights: Weights = None,
    precision: Precision = None,
    width: Width = None,
    device: Device = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Zoom and dream without end, into a photo, a colour or out of noise.

    OUT is what it may be of `video`. Without -o the result is PHOTO-zoom.mp4, beside PHOTO, or
    zoom.mp4. What goes on from ZOOM has its settings, where no others are given, and becomes
    ZOOM-longer.mp4, all of it, beside ZOOM.
    """
    _check_seconds(seconds)
    canvas, begins = parse_size(size), parse_colour(colour)
    from dreamreel.pipeline.encoding import usual_suffix
    from dreamreel.pipeline.zooms import Flight, going_on, render_zoom

    if go_on is not None:
        _refuse_for_more(PHOTO=photo, size=size, fps=fps, colour=colour, loop=loop,
                         reverse=reverse, width=width, motion_only=motion_only)  # fmt: skip
        flight = going_on(go_on, seconds, audio, to)
    else:
        rate = parse_rate(RATE if fps is None else fps)
        flight = Flight(seconds, rate, canvas, loop, to, motion_only, audio, reverse, begins)
    settings = _settings(
        preset, set_, network, weights, precision, width, device, seed,
        _encoding_flags(codec, crf, pixel_format), flight.earlier_settings,
    )  # fmt: skip
    if go_on is not None:
        usual = go_on.with_name(f"{go_on.stem}-longer{go_on.suffix}")
    else:
        name = f"{photo.stem}-zoom" if photo else "zoom"
        usual = Path(photo.parent if photo else ".") / (name + usual_suffix(settings.output.codec))
    out = _output(output, usual, overwrite, restart, preset)
    with terminal("frames", quiet, stoppable=True) as report:
        path = render_zoom(photo, out, settings, flight, report)
    print(path)


@app.command()
def image(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The picture to dream.")],
    output: Out = None,
    preset: Presets = None,
    set_: Sets = None,
    network: NetworkName = None,
    weights: Weights = None,
    precision: Precision = None,
    width: Width = None,
    device: Device = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Dream a picture, upright as its EXIF says, its transparency kept.

    Without -o the result is IN-dream, beside IN, in the same format.
    """
    settings = _settings(preset, set_, network, weights, precision, width, device, seed)
    usual = source.parent / f"{source.stem}-dream{source.suffix}"
    out = _output(output, usual, overwrite, presets=preset)
    from dreamreel.pipeline.render import render_image

    with terminal("steps", quiet) as report:
        path = render_image(source, out, settings, report)
    print(path)


@app.command()
def reproduce(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="OUT.mp4.json, beside OUT.mp4.")],
    output: Out = None,
    source: Annotated[
        Path | None, typer.Option(metavar="IN", help="The source, if it has moved since.")
    ] = None,
    overwrite: Overwrite = False,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Make a file again from its record: the same settings, source and number of threads."""
    from dreamreel.pipeline.record import result_path
    from dreamreel.pipeline.reproduce import reproduce as make_again

    usual = output or result_path(record)
    out = _output(output, usual, overwrite, restart)

    with terminal("frames", quiet, stoppable=True) as report:
        path = make_again(record, out, source, report)
    print(path)


@app.command()
def networks() -> None:
    """List the networks that can dream."""
    from dreamreel.pipeline.networks import network_names

    _print_table([(name, about) for name, about in network_names().items()])


@app.command()
def layers(network: Annotated[str, typer.Argument(metavar="NETWORK")]) -> None:
    """List a network's layers: channels, and the stride and receptive field in pixels.

    The one marked * is dreamed where no other is asked for.
    """
    from dreamreel.pipeline.networks import favourite_layer, network_layers

    favourite = favourite_layer(network)
    rows = [("layer", "channels", "stride", "receptive field")]
    for layer in network_layers(network):
        name = f"{layer.name} *" if layer.name == favourite else layer.name
        whole = layer.field.receptive is None
        stride, sees = (
            ("", "whole picture")
            if whole
            else (str(layer.field.stride), str(layer.field.receptive))
        )
        rows.append((name, str(layer.channels), stride, sees))
    _print_table(rows)


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One, whole.")] = None,
) -> None:
    """List the presets, or print one whole: every setting with its value and meaning."""
    from dreamreel.pipeline.presets import load_preset, preset_names
    from dreamreel.pipeline.settings import to_toml

    if name is None:
        _print_table([(one, load_preset(one).description) for one in preset_names()])
        return
    preset = load_preset(name)
    print(f"# {preset.name}: {preset.description}\n{to_toml(preset.settings())}", end="")


@app.command()
def schedule(
    name: Annotated[
        str | None, typer.Argument(metavar="[PRESET]", help="A look by name, or a TOML file.")
    ] = None,
    set_: Sets = None,
    seconds: Seconds = 10,
    fps: Rate = RATE,
    audio: Audio = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the curves instead.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show how settings change over time: their values at each second and each key."""
    settings = _settings([name] if name else [], set_, None, None, None, None, None, None)
    rate = parse_rate(fps)
    _check_seconds(seconds)
    from dreamreel.pipeline import curves
    from dreamreel.pipeline.music import hear

    _check_pictures(overwrite, [audio, *_preset_files([name] if name else [])], plot)
    frames = max(1, round(seconds * rate))
    sound = None if audio is None else hear(audio, rate, frames)
    found = curves.curves(settings, frames, rate, sound)
    if plot is not None:
        curves.plot(found, rate, plot, sound.beats if sound else (), overwrite)
        print(plot)
        return
    _print_table(curves.table(found, settings, rate, sound))


@app.command()
def measure(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="The video that was dreamed; or a zoom, alone.")
    ],
    dream: Annotated[Path | None, typer.Argument(metavar="[DREAM]", help="Its dream.")] = None,
    frames: Annotated[
        str | None, typer.Option(metavar="A:B", help="The frames of SOURCE that were dreamed.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(metavar="L", help="The layers dreamed: NAME, NAME,NAME or {NAME = WEIGHT}."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="NETWORK", help="Another network, to tell the strength as well."),
    ] = None,
    judge_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The judge's weights.")
    ] = None,
    judge_layers: Annotated[
        str | None, typer.Option(metavar="L", help="The judge's layers; else its own choice.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the figures over time.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Show 24 frames of a zoom on one sheet.")
    ] = None,
    preset: Presets = None,
    set_: Sets = None,
    network: NetworkName = None,
    weights: Weights = None,
    precision: Precision = None,
    device: Device = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure a dream against its source: how still, how strong, how crisp, how true in colour.

    Strength is that of the layers of the preset, the settings or --layers. A zoom of ours is
    measured alone, against its own beginning, by the settings in the record beside it.
    """
    from json import dumps

    if dream is None:
        _refuse_for_one_file(
            {
                "--frames": frames, "--layers": layers, "--judge": judge,
                "--judge-weights": judge_weights, "--judge-layers": judge_layers,
                "--preset": preset, "--set": set_, "--network": network, "--weights": weights,
            }
        )  # fmt: skip
        _measure_zoom(source, json, plot, sheet, precision, device, overwrite, quiet)
        return
    if sheet is not None:
        raise UserError("--sheet shows a zoom measured alone: leave it out, or DREAM")
    sets = [*(set_ or []), *([f"dream.layers={_layers(layers)}"] if layers else [])]
    settings = _settings(preset, sets, network, weights, precision, None, device, None)
    span = parse_span(frames)
    from dreamreel.pipeline import measure as measuring
    from dreamreel.pipeline.jobs import Progress, loaded_network

    read = [source, dream, settings.weights, settings.flow.weights, judge_weights]
    _check_pictures(overwrite, [*read, *_preset_files(preset)], plot)
    own = loaded_network(settings)
    other = None
    if judge is not None:
        judged_by = [f"dream.layers={_layers(judge_layers)}"] if judge_layers else []
        judging = _settings(None, judged_by, judge, judge_weights, precision, None, device, None)
        other = loaded_network(judging)
    elif judge_weights is not None or judge_layers is not None:
        raise UserError("--judge-weights and --judge-layers belong to a --judge NETWORK")
    with terminal("frames", quiet) as report:
        found = measuring.measure(
            source, dream, own, settings, span, other,
            lambda done, total: report.on_progress(Progress(done, total)),
        )  # fmt: skip
    if plot is not None:
        measuring.plot(found, plot, overwrite)
    print(dumps(measuring.as_table(found), indent=2) if json else measuring.describe(found))


def _measure_zoom(
    path: Path,
    json: bool,
    plot: Path | None,
    sheet: Path | None,
    precision: str | None,
    device: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    from json import dumps

    from dreamreel.pipeline import zoom_figures as figures
    from dreamreel.pipeline.jobs import Progress, loaded_network
    from dreamreel.pipeline.paths import record_path

    _check_pictures(overwrite, [path, record_path(path)], plot, sheet)
    given = {"precision": precision, "device": device}
    more = [(f"--{name}", {name: value}) for name, value in given.items() if value is not None]
    told = figures.find_zoom(path, *more)
    network, _ = loaded_network(told.settings)
    with terminal("frames", quiet) as report:
        found = figures.measure_zoom(
            told, network, lambda done, total: report.on_progress(Progress(done, total))
        )
    if plot is not None:
        figures.plot(found, plot, overwrite)
    if sheet is not None:
        figures.sheet(told, sheet, overwrite)
    print(dumps(figures.as_table(found), indent=2) if json else figures.describe(found))


def _refuse_for_one_file(options: Mapping[str, object]) -> None:
    """Raise UserError where one of the `options` of a source and its dream is given for a zoom."""
    given = [name for name, value in options.items() if value]
    if given:
        raise UserError(
            f"{', '.join(given)}: for a SOURCE and its DREAM; a zoom measured alone is measured "
            "whole, by the settings in its record"
        )


def _check_pictures(overwrite: bool, reads: Sequence[Path | None], *paths: Path | None) -> None:
    """Raise UserError where one of `paths`, if given, cannot be written as a picture, or is one of
    the files that the command `reads`."""
    from dreamreel.pipeline.images import check_picture_name
    from dreamreel.pipeline.paths import PICTURE, Target, check_target

    wanted = [path for path in paths if path is not None]
    if len({*wanted}) < len(wanted):
        raise UserError(f"{wanted[0]} is to be two pictures: give each a name of its own")
    for path in wanted:
        check_picture_name(path)
        check_target(Target(path, overwrite), (), reads, PICTURE)


@app.command()
def bench(
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    repeats: Annotated[int, typer.Option(help="Interleaved repeats.", metavar="N")] = 7,
) -> None:
    """Measure speed and memory on this machine: medians of interleaved repeats."""
    from json import dumps

    from dreamreel.pipeline.bench import bench as measure
    from dreamreel.pipeline.bench import describe

    if repeats < 1:
        raise UserError(f"--repeats {repeats}: at least 1")
    figures = measure(repeats, lambda line: print(line, file=sys.stderr, flush=True))
    print(dumps(figures, indent=2) if json else describe(figures))


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    usage_error: Any = typer.BadParameter.__base__  # typer names it nowhere
    signal.signal(signal.SIGTERM, _end_like_an_interrupt)
    try:
        result = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except usage_error as error:
        _fail(" ".join(error.format_message().split()))
    except ImportError as error:
        if "libGL" not in str(error) and "libgthread" not in str(error):
            raise
        _fail(
            f"OpenCV cannot be loaded ({error}); install the library (Debian, Ubuntu: "
            "apt install libgl1 libglib2.0-0), or pip install opencv-python-headless instead"
        )
    except typer.Abort as error:
        if isinstance(error.__cause__, EOFError):  # typer takes it for the end of a prompt
            raise error.__cause__ from None
        result = 130
    except KeyboardInterrupt:
        result = 130
    sys.exit(result if isinstance(result, int) else 0)


def parse_span(text: str | None) -> tuple[int, int | None]:
    """`A:B`, `A:` or `:B` as (first, one past the last)."""
    if text is None:
        return 0, None
    first, colon, last = text.partition(":")
    try:
        start, stop = int(first or 0), int(last) if last else None
    except ValueError:
        colon = ""
        start, stop = 0, None
    if not colon or not 0 <= start < 2**40 or (stop is not None and not start < stop < 2**40):
        raise UserError(f"--frames {text!r} is no span; 0:48 is the first 48 frames")
    return start, stop


def _span(
    source: Path,
    settings: "Settings",
    frames: str | None,
    start: str | None,
    end: str | None,
) -> tuple[int, int | None]:
    """The span that --frames names, or --start and --end."""
    if start is None and end is None:
        return parse_span(frames)
    if frames is not None:
        raise UserError("--frames counts frames, --start and --end seconds: give one or the other")
    begins = None if start is None else parse_time("--start", start)
    ends = None if end is None else parse_time("--end", end)
    from dreamreel.pipeline.clips import frames_between, probe

    clip = probe(source, settings.source.stream, settings.source.fps)
    return frames_between(clip, begins, ends)


def parse_time(option: str, text: str) -> float:
    """`2.5`, `2.5s`, `1:02.5` or `1:00:02.5` in seconds."""
    try:
        parts = [float(part) for part in text.removesuffix("s").split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(0 <= part < 1e9 for part in parts):
        raise UserError(f"{option} {text!r} is no time; 2.5 and 1:02.5 are")
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds <= 86_400:
        raise UserError(f"--seconds {seconds:g} is no length; more than 0, at most 86400")


def parse_rate(text: str) -> "Fraction":
    """`30`, `23.976` or `30000/1001` as an exact rate."""
    from dreamreel.pipeline.settings import parse_rate as parse

    try:
        return parse(text)
    except ValueError as error:
        raise UserError(f"--fps {text!r} {error}") from error


def parse_colour(text: str | None) -> tuple[int, int, int] | None:
    """`#204060` or a name that CSS knows, as (red, green, blue), from 0 to 255."""
    if text is None:
        return None
    from PIL import ImageColor

    channels: tuple[int, ...] = ()
    with suppress(ValueError):
        channels = ImageColor.getrgb(text)
    if len(channels) != 3 or not all(0 <= channel <= 255 for channel in channels):
        raise UserError(f"--colour {text!r:.40} is no opaque colour; '#204060' and teal are")
    red, green, blue = channels
    return red, green, blue


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`640x360` as (height, width)."""
    from dreamreel.pipeline.settings import LARGEST_SIDE, SMALLEST_SIDE

    if text is None:
        return None
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise UserError(f"--size {text!r} is no size; 640x360 is")
    if not all(SMALLEST_SIDE <= int(side[:9]) <= LARGEST_SIDE for side in (width, height)):
        raise UserError(f"--size {text!r}: each side is {SMALLEST_SIDE} to {LARGEST_SIDE} pixels")
    return int(height), int(width)


@contextmanager
def terminal(unit: str, quiet: bool, stoppable: bool = False) -> Iterator["Report"]:
    """Progress on the terminal: a bar, or now and then a line where that is no terminal.

    A `stoppable` job answers the first Ctrl-C itself.
    """
    from rich.console import Console

    from dreamreel.pipeline.jobs import Report

    console = Console(stderr=True, quiet=quiet)

    def tell(line: str) -> None:
        console.print(
            f"note: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )

    show = _bar(console, unit) if console.is_terminal and not quiet else _lines(console, unit)
    stop = _stop_signals() if stoppable else nullcontext(lambda: False)
    with show as on_progress, stop as is_stopping:
        yield Report(on_progress, tell, is_stopping)


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or a termination has come, of which the first is only noted; after it, the
    job's own end is the signal's."""
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) > 1:
            raise SystemExit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, note) for number in numbers]
    try:
        yield lambda: bool(came)
    except Stopped as error:
        print(f"dreamreel: {error}", file=sys.stderr)
        raise SystemExit(128 + came[0]) from None
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _bar(console: Any, unit: str) -> Iterator[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + "  {task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bars(*columns, console=console) as bars:
        task = bars.add_task("", total=None, rate="")
        began = time.monotonic()

        def on_progress(progress: "Progress") -> None:
            made = progress.done - progress.before
            if made == 1:  # what was done before tells nothing of the time left
                bars.reset(task, total=progress.total, completed=progress.before, rate="")
            rate = made / max(1e-9, time.monotonic() - began)
            bars.update(task, completed=progress.done, total=progress.total, rate=f"{rate:.1f}/s")

        yield on_progress


@contextmanager
def _lines(console: Any, unit: str, every: float = 5.0) -> Iterator[Any]:
    began = last = time.monotonic()
    told: Progress | None = None
    newest: Progress | None = None

    def on_progress(progress: "Progress") -> None:
        nonlocal last, newest
        newest = progress
        now = time.monotonic()
        if now - last >= every or progress.done == progress.total:
            last = now
            tell(progress)

    def tell(progress: "Progress") -> None:
        nonlocal told
        told, now = progress, time.monotonic()
        rate = (progress.done - progress.before) / max(1e-9, now - began)
        left = ""
        if progress.total is not None and progress.done < progress.total:
            minutes, seconds = divmod(round((progress.total - progress.done) / rate), 60)
            left = f", {minutes}:{seconds:02} left"
        total = "" if progress.total is None else f"/{progress.total}"
        console.print(f"{progress.done}{total} {unit}, {rate:.1f}/s{left}", highlight=False)

    yield on_progress
    if newest is not None and newest != told:
        tell(newest)


def _settings(
    presets: list[str] | None,
    assignments: list[str] | None,
    network: str | None,
    weights: Path | None,
    precision: str | None,
    width: int | None,
    device: str | None,
    seed: int | None,
    more: Mapping[str, tuple[str, Any]] = MappingProxyType({}),
    base: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> "Settings":
    """Defaults, then the `base`, presets, files, `--set`, and the flags of their own."""
    from dreamreel.pipeline.presets import merge_presets
    from dreamreel.pipeline.settings import build, parse_assignment, put

    named = {
        "network": network,
        "weights": weights,
        "precision": precision,
        "width": width,
        "device": device,
        "seed": seed,
    }
    flags: list[tuple[str, dict[str, Any]]]
    flags = [(f"--{name}", {name: value}) for name, value in named.items() if value is not None]
    for option, (name, value) in more.items():
        if value is not None:
            table: dict[str, Any] = {}
            put(table, name, value)
            flags.append((option, table))
    sets = [("--set", parse_assignment(text)) for text in assignments or []]
    return build(*base, *merge_presets(presets or []), *sets, *flags)


def _refuse_for_more(**options: object) -> None:
    """Raise UserError where one of the `options` of a beginning is given for what goes on."""
    names = [name for name, value in options.items() if value not in (None, False)]
    if names:
        told = (name if name.isupper() else f"--{name.replace('_', '-')}" for name in names)
        raise UserError(f"--continue goes on with a zoom as it is: leave out {', '.join(told)}")


def _encoding_flags(
    codec: str | None, crf: int | None, pixel_format: str | None
) -> dict[str, tuple[str, Any]]:
    return {
        "--codec": ("output.codec", codec),
        "--crf": ("output.crf", crf),
        "--pixel-format": ("output.pixel_format", pixel_format),
    }


def _layers(text: str) -> str:
    """`a,b` as the TOML list that settings know; what is TOML already stays."""
    if text.lstrip().startswith(("{", "[", '"', "'")):
        return text
    return "[" + ", ".join(f'"{name.strip()}"' for name in text.split(",")) + "]"


def _output(
    given: Path | None,
    usual: Path,
    overwrite: bool,
    restart: bool = False,
    presets: list[str] | None = None,
) -> "Target":
    from dreamreel.pipeline.paths import Target

    out = given if given is not None else usual
    return Target(out, overwrite, restart, _preset_files(presets))


def _preset_files(names: list[str] | None) -> tuple[Path, ...]:
    from dreamreel.pipeline.presets import preset_files

    return preset_files(names or [])


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _end_like_an_interrupt(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _fail(message: str) -> None:
    print(f"dreamreel: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
