"""The commands: each parses its options, makes a job, runs it and reports the result."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dreamreel.pipeline.app.completion import complete_preset
from dreamreel.pipeline.app.entry import run_app
from dreamreel.pipeline.app.help import GroupedCommand, WholeGroup
from dreamreel.pipeline.app.options import (
    DREAM,
    ENCODING,
    FILM,
    HARDWARE,
    IN,
    LOOK,
    MACHINE,
    NETWORK,
    OUT,
    READING,
    WIDTH,
    Given,
    refuse,
    takes,
)
from dreamreel.pipeline.app.presets import PresetGroup
from dreamreel.pipeline.app.terminal import print_table, terminal
from dreamreel.pipeline.errors import UserError

if TYPE_CHECKING:  # imported late at run time: `dreamreel --help` is to be fast
    from dreamreel.pipeline.jobs.job import Job

app = typer.Typer(
    name="dreamreel",
    cls=WholeGroup,
    help="The DeepDream studio for moving pictures.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
presets_app = typer.Typer(
    cls=PresetGroup, rich_markup_mode=None, subcommand_metavar="[NAME | COMMAND [ARGS]...]"
)
app.add_typer(presets_app, name="presets")
RATE = "30"  # frames per second where none is given; a usual rate, not tuned
# The common options of commands that render: those of a film can be resumed.
RENDERS = ("output", "preset", "set", "overwrite", "restart", "quiet")
STILLS = ("output", "preset", "set", "overwrite", "quiet")
BATCHES = ("output", "preset", "set", "overwrite", "quiet")

Audio = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The music that schedules react to.", rich_help_panel=IN),
]
Seconds = Annotated[
    float, typer.Option(metavar="S", help="The length in seconds.", rich_help_panel=IN)
]
PresetName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A preset by name, or a TOML file.", autocompletion=complete_preset
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Plot the figures over time into this file.")
]


def _command(name: str | None = None) -> Any:
    return app.command(name, cls=GroupedCommand)


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """The DeepDream studio for moving pictures."""
    if version:
        from dreamreel.pipeline import __version__

        print(f"dreamreel {__version__}")
        raise typer.Exit


@_command()
@takes(READING, DREAM, NETWORK, WIDTH, ENCODING, FILM, HARDWARE, common=RENDERS)
def video(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The video to dream.")],
    given: Given,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="A:B",
            rich_help_panel=IN,
            help="Only frames A to B, B excluded; the first frame is 0.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Begin at TIME: 2.5 or 1:02.5.", rich_help_panel=IN),
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="End at TIME.", rich_help_panel=IN)
    ] = None,
    still: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Dream only the frame at TIME, as a picture.", rich_help_panel=OUT
        ),
    ] = None,
    preview_flow: Annotated[
        bool,
        typer.Option(
            "--preview-flow",
            help="Dream nothing; show the flow, occlusion and cuts.",
            rich_help_panel=OUT,
        ),
    ] = False,
    audio: Audio = None,
) -> None:
    """Dream a video: the dream follows the motion; sound, frame rate and colours stay.

    IN is a video, a GIF, WebP or APNG, a folder of pictures, or a pattern such as
    frames/img_%04d.png. OUT ends in .mp4, .m4v, .mov, .mkv, .webm, .gif, .webp or .apng, or is a
    pattern such as dream/%05d.png (.tif, .exr, .jpg). Without -o, OUT is IN-dream.mp4 beside IN,
    or IN-flow.mp4 with --preview-flow. A render that was stopped, by Ctrl-C or a power cut,
    resumes when the same command is given again.
    """
    from dreamreel.pipeline.app.jobs import still_of_video, video_job

    settings = given.settings()
    if still is not None:
        spans = {"--frames": frames, "--start": start, "--end": end}
        refuse({**spans, "--preview-flow": preview_flow}, "--still makes one picture")
        _render(still_of_video(source, given.output, settings, still), given, "steps")
        return
    job = video_job(source, given.output, settings, (frames, start, end), audio, preview_flow)
    _render(job, given, "frames")


@_command()
@takes(DREAM, NETWORK, WIDTH, ENCODING, HARDWARE, common=RENDERS)
def zoom(
    given: Given,
    photo: Annotated[
        Path | None, typer.Argument(metavar="[PHOTO]", help="The first picture; without it, noise.")
    ] = None,
    seconds: Seconds = 10,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="R",
            rich_help_panel=IN,
            help=f"Frames per second, such as 25 or 30000/1001; {RATE} if not given.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="The size of the film; a photo is cropped to it.",
            rich_help_panel=OUT,
        ),
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option(
            "--colour",
            "--color",
            metavar="C",
            rich_help_panel=IN,
            help="Begin with a plain colour: #204060 or teal.",
        ),
    ] = None,
    loop: Annotated[
        bool,
        typer.Option(
            "--loop",
            help="End at the first frame, so that it repeats without a seam.",
            rich_help_panel=LOOK,
        ),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(metavar="PHOTO", help="Arrive at this photo at the end.", rich_help_panel=IN),
    ] = None,
    reverse: Annotated[
        bool,
        typer.Option(
            "--reverse",
            help="Play it backwards, so that it ends with the first picture.",
            rich_help_panel=LOOK,
        ),
    ] = False,
    continue_: Annotated[
        Path | None,
        typer.Option(
            "--continue",
            metavar="ZOOM",
            help="Continue this finished zoom from its end.",
            rich_help_panel=IN,
        ),
    ] = None,
    audio: Audio = None,
    motion_only: Annotated[
        bool,
        typer.Option(
            "--motion-only", help="Dream nothing; show the camera's motion.", rich_help_panel=LOOK
        ),
    ] = False,
) -> None:
    """Zoom endlessly into a dream that begins with a photo, a colour or noise.

    OUT is as for `video`. Without -o, OUT is PHOTO-zoom.mp4 beside PHOTO, or zoom.mp4. With
    --continue, settings that are not given are those of ZOOM; the result holds ZOOM and its
    continuation, and without -o is ZOOM-longer.mp4 beside ZOOM.
    """
    from dreamreel.pipeline.app.jobs import ZoomOptions, continued_zoom_job, zoom_job

    options = ZoomOptions(seconds, fps or RATE, size, colour, loop, to, reverse, motion_only, audio)
    if continue_ is not None:
        begins = {
            "PHOTO": photo,
            "--size": size,
            "--fps": fps,
            "--colour": colour,
            "--loop": loop,
            "--reverse": reverse,
            "--motion-only": motion_only,
            "--width": given.flags.get("--width"),
        }
        refuse(begins, "--continue goes on with the zoom as it is")
        job = continued_zoom_job(continue_, options, given)
    else:
        job = zoom_job(photo, options, given)
    _render(job, given, "frames")


@_command()
@takes(DREAM, NETWORK, WIDTH, HARDWARE, common=STILLS)
def image(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The picture to dream.")],
    given: Given,
) -> None:
    """Dream a picture: EXIF turns it upright, and transparency is kept.

    Without -o, OUT is IN-dream beside IN, in the same format.
    """
    from dreamreel.pipeline.app.jobs import image_job

    _render(image_job(source, given.output, given.settings()), given, "steps")


def _render(job: "Job", given: Given, unit: str) -> None:
    from dreamreel.pipeline.jobs.run import run

    with terminal(unit, given.quiet, stoppable=unit == "frames") as report:
        path = run(
            job, report, overwrite=given.overwrite, restart=given.restart, reads=given.reads()
        )
    print(path)


@_command()
@takes(common=("output", "overwrite", "restart", "quiet"))
def reproduce(
    record: Annotated[
        Path, typer.Argument(metavar="RECORD", help="The record of a render: OUT.mp4.json.")
    ],
    given: Given,
    source: Annotated[
        Path | None,
        typer.Option(metavar="IN", help="The source, if it has moved.", rich_help_panel=IN),
    ] = None,
) -> None:
    """Make a file again from its record: the same settings, source and number of threads."""
    from dreamreel.pipeline.jobs.reproduce import reproduce as make_again

    with terminal("frames", given.quiet, stoppable=True) as report:
        path = make_again(
            record, given.output, source, report, overwrite=given.overwrite, restart=given.restart
        )
    print(path)


@_command()
def networks() -> None:
    """List the networks that can dream."""
    from dreamreel.pipeline.networks.names import network_names

    print_table([(name, about) for name, about in network_names().items()])


@_command()
def layers(network: Annotated[str, typer.Argument(metavar="NETWORK")]) -> None:
    """List a network's layers: channels, and the stride and receptive field in pixels.

    The layer marked * is the default.
    """
    from dreamreel.pipeline.networks.names import check_network_name

    check_network_name(network)
    from dreamreel.pipeline.networks.catalog import favourite_layer, network_layers

    favourite = favourite_layer(network)
    rows = [("layer", "channels", "stride", "receptive field")]
    for layer in network_layers(network):
        name = f"{layer.name} *" if layer.name == favourite else layer.name
        field = layer.field
        sees = ("", "whole picture")
        if field.receptive is not None:
            sees = (str(field.stride), str(field.receptive))
        rows.append((name, str(layer.channels), *sees))
    print_table(rows)


@presets_app.callback(invoke_without_command=True)
def presets(context: typer.Context) -> None:
    """List the presets; `dreamreel presets NAME` prints one in full.

    NAME is a preset by name, or a TOML file. Your own presets stand in a folder of their own, which
    the list names; the environment variable DREAMREEL_PRESETS names another.
    """
    if context.invoked_subcommand is None:
        from dreamreel.pipeline.app.presets import list_presets

        list_presets()


@presets_app.command("show", cls=GroupedCommand, hidden=True)
def show_preset(name: PresetName) -> None:
    """Print a preset in full: each setting with its value and meaning."""
    from dreamreel.pipeline.app.presets import show

    show(name)


@presets_app.command("new", cls=GroupedCommand)
@takes(common=("set", "overwrite"))
def new_preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new preset.")],
    given: Given,
    base: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="P",
            rich_help_panel=LOOK,
            autocompletion=complete_preset,
            help="The preset that it inherits from: a name, or a TOML file.",
        ),
    ] = None,
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="The look, in one line.", rich_help_panel=LOOK)
    ] = "",
) -> None:
    """Write a preset of your own, with the settings that --set gives, and print its path.

    A preset that inherits from one of its own name means the bundled one.
    """
    from dreamreel.pipeline.app.presets import write_preset

    print(write_preset(name, base, given.set, description, given.overwrite))


@presets_app.command("check", cls=GroupedCommand)
def check_preset(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Presets: TOML files, or names.")
    ],
) -> None:
    """Check presets: print what each sets, or its first mistake, with the line."""
    from dreamreel.pipeline.app.presets import check

    if not check(files):
        raise typer.Exit(2)


@presets_app.command("schema", cls=GroupedCommand)
def preset_schema() -> None:
    """Print a JSON schema of preset files, with which editors complete and check them."""
    from dreamreel.pipeline.app.presets import print_schema

    print_schema()


@presets_app.command("diff", cls=GroupedCommand)
def diff_presets(
    one: Annotated[str, typer.Argument(metavar="A", autocompletion=complete_preset)],
    other: Annotated[str, typer.Argument(metavar="B", autocompletion=complete_preset)],
) -> None:
    """Compare two presets: the settings in which they differ."""
    from dreamreel.pipeline.app.presets import compare

    compare(one, other)


@_command()
@takes(common=("set", "overwrite"))
def schedule(
    given: Given,
    name: Annotated[
        str | None, typer.Argument(metavar="[PRESET]", help="A preset by name, or a TOML file.")
    ] = None,
    seconds: Seconds = 10,
    fps: Annotated[
        str,
        typer.Option(metavar="R", help="Frames per second: 30 or 30000/1001.", rich_help_panel=IN),
    ] = RATE,
    audio: Audio = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Plot the curves into this file instead."),
    ] = None,
) -> None:
    """Show how settings change over time: their values at each second and each key."""
    from dataclasses import replace

    from dreamreel.pipeline.app.figures import show_schedule

    chosen = replace(given, preset=[name] if name else [])
    show_schedule(chosen, seconds, fps, audio, plot)


@_command()
@takes(NETWORK, HARDWARE, common=("preset", "set", "overwrite", "quiet"))
def measure(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="The video that was dreamed, or a zoom.")
    ],
    given: Given,
    dream: Annotated[
        Path | None, typer.Argument(metavar="[DREAM]", help="The dream of SOURCE.")
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="A:B",
            help="The frames of SOURCE that were dreamed, B excluded.",
            rich_help_panel=IN,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="L",
            rich_help_panel=LOOK,
            help="The layers that were dreamed: NAME, NAME,NAME or {NAME = WEIGHT}.",
        ),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="NETWORK", help="A second network that measures strength.")
    ] = None,
    judge_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The weights of the judge.")
    ] = None,
    judge_layers: Annotated[
        str | None, typer.Option(metavar="L", help="The layers of the judge, if not its default.")
    ] = None,
    json: Json = False,
    plot: Plot = None,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Write 24 frames of a zoom onto one sheet."),
    ] = None,
) -> None:
    """Measure a dream against its source: steadiness, strength, sharpness and colour.

    Strength is measured on the layers that the preset, the settings or --layers name. A zoom is
    measured without a DREAM, against its own beginning, with the settings in its record.
    """
    from dreamreel.pipeline.app.figures import Judge, measure_dream, measure_zoom

    if dream is None:
        alone = {
            "--frames": frames,
            "--layers": layers,
            "--judge": judge,
            "--judge-weights": judge_weights,
            "--judge-layers": judge_layers,
            "--preset": given.preset,
            "--set": given.set,
            "--network": given.flags.get("--network"),
            "--weights": given.flags.get("--weights"),
        }
        refuse(
            alone, "without a DREAM, a zoom is measured in full, with the settings in its record"
        )
        measure_zoom(source, given, json, plot, sheet)
        return
    refuse({"--sheet": sheet}, "a sheet shows a zoom that is measured without a DREAM")
    judged_by = Judge(judge, judge_weights, judge_layers)
    measure_dream(source, dream, given, frames, layers, judged_by, json, plot)


@_command()
@takes(READING, WIDTH, common=("preset", "set"))
def shots(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The video.")],
    given: Given,
    json: Json = False,
) -> None:
    """List the shots of a video: where it is cut, as a render finds it."""
    from dreamreel.pipeline.app.figures import show_shots

    show_shots(source, given, json)


@_command()
@takes(READING, DREAM, NETWORK, WIDTH, ENCODING, FILM, HARDWARE, common=BATCHES)
def batch(
    source: Annotated[
        Path, typer.Argument(metavar="JOBS.toml|FOLDER", help="A batch file, or a folder.")
    ],
    given: Given,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=MACHINE,
            help="Jobs at a time; 1 if not given, or one for each GPU.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=MACHINE,
            help="Threads of a job; the cores divided by the workers if not given.",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(metavar="E", rich_help_panel=MACHINE, help="What does the jobs: local, ray."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(metavar="A", rich_help_panel=MACHINE, help="The address of a Ray cluster."),
    ] = None,
    retry: Annotated[
        int,
        typer.Option(
            metavar="N",
            rich_help_panel=MACHINE,
            help="Times that a failure is tried again if it may pass, such as a full disk.",
        ),
    ] = 2,
    only: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", rich_help_panel=IN, help="Only jobs named like this."),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", rich_help_panel=IN, help="Jobs named like this first."),
    ] = None,
    stop_after: Annotated[
        str | None,
        typer.Option(metavar="TIME", rich_help_panel=MACHINE, help="Save and stop after 7h30m."),
    ] = None,
    preroll: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=MACHINE,
            help="Split long shots too, each piece begun N frames early: nearly the same film.",
        ),
    ] = None,
    split_above: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=MACHINE,
            help="Split a video of more than N frames at its cuts, for several workers; 240.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the jobs, with estimates; render nothing.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show how far the batch is, from anywhere.")
    ] = False,
    pause: Annotated[
        bool, typer.Option("--pause", help="Have the batch save and stop, from anywhere.")
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json-progress", help="Print one JSON object a line.", rich_help_panel=OUT),
    ] = False,
) -> None:
    """Render many jobs: those of a batch file, or a folder of sources with each preset.

    OUT is a folder: that of the batch file, or FOLDER-dreams beside FOLDER. The same command goes
    on where it was stopped: jobs that are done are left alone, changed ones are done again. Exit
    code 1: a job failed; 130: stopped, and the same command goes on.
    """
    from dreamreel.pipeline.app.batch import BatchOptions, batch_command

    options = BatchOptions(
        workers=workers,
        threads=threads,
        engine=engine,
        address=address,
        retry=retry,
        only=only,
        first=first,
        stop_after=stop_after,
        preroll=preroll,
        split_above=split_above,
    )
    if status + pause + dry_run > 1:
        raise UserError("give one of --status, --pause and --dry-run")
    asks = "status" if status else "pause" if pause else "dry-run" if dry_run else "run"
    raise typer.Exit(batch_command(source, given, options, asks, json))


@_command()
@takes(common=("overwrite", "restart"))
def job(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.json", help="A job, or an entry of a batch.")
    ],
    given: Given,
    find_shots: Annotated[
        bool, typer.Option("--shots", help="Find the shots of its video; print how many pieces.")
    ] = False,
    piece: Annotated[
        int | None, typer.Option(metavar="N", help="Render only piece N of its video, from 0.")
    ] = None,
    join: Annotated[bool, typer.Option("--join", help="Join the pieces of its video.")] = False,
    json: Annotated[bool, typer.Option("--json-progress", help="Print JSON, a line each.")] = False,
) -> None:
    """Render one job file, for a render farm.

    Exit code 0: done; 1: failed, and may be tried again; 2: a mistake of the user's; 130: stopped,
    and the same command goes on. With --shots, --piece and --join, a farm renders a video in pieces
    that give the bytes of the whole.
    """
    from dreamreel.pipeline.app.farm import FarmTask, do_job

    if find_shots + (piece is not None) + join > 1:
        raise UserError("give one of --shots, --piece and --join")
    what = "shots" if find_shots else "join" if join else "render" if piece is None else "piece"
    raise typer.Exit(do_job(file, FarmTask(what, piece), given, json))


@_command()
def bench(
    json: Json = False,
    repeats: Annotated[int, typer.Option(help="The number of repeats.", metavar="N")] = 7,
) -> None:
    """Measure speed and memory on this machine: medians of interleaved repeats."""
    from json import dumps

    from dreamreel.pipeline.judging.bench import bench as measured
    from dreamreel.pipeline.judging.bench import describe

    if repeats < 1:
        raise UserError(f"--repeats {repeats} is too few: at least 1")
    figures = measured(repeats, lambda line: print(line, file=sys.stderr, flush=True))
    print(dumps(figures, indent=2) if json else describe(figures))


def main() -> None:
    """Run the command line. A user's mistake gives one line and exit code 2."""
    run_app(app)


if __name__ == "__main__":
    main()
