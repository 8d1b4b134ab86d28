"""The commands: each parses its options, makes a job, runs it and reports the result."""

from typing import TYPE_CHECKING, Any

import typer

from dreamreel.pipeline.app import arguments as args
from dreamreel.pipeline.app.entry import run_app
from dreamreel.pipeline.app.help import GroupedCommand, WholeGroup
from dreamreel.pipeline.app.options import (
    CLIMB,
    CROP,
    DREAM,
    ENCODING,
    FILM,
    HARDWARE,
    IMAGINE,
    LIVE,
    NETWORK,
    READING,
    SEED,
    WIDTH,
    Given,
    refuse,
    takes,
)
from dreamreel.pipeline.app.presets import PresetGroup
from dreamreel.pipeline.app.terminal import print_json, print_result, print_table, terminal
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.judging.bench import USUAL_REPEATS, USUAL_SIZES

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
# The common options of commands that render: those of a film can be resumed.
RENDERS = ("output", "preset", "set", "overwrite", "restart", "quiet")
STILLS = ("output", "preset", "set", "overwrite", "quiet")


def _command(name: str | None = None) -> Any:
    return app.command(name, cls=GroupedCommand)


@app.callback(invoke_without_command=True)
def about(
    version: args.Version = False,
) -> None:
    """The DeepDream studio for moving pictures."""
    if version:
        from dreamreel.pipeline import __version__

        print(f"dreamreel {__version__}")
        raise typer.Exit


@_command()
@takes(READING, DREAM, NETWORK, WIDTH, CROP, ENCODING, FILM, HARDWARE, common=RENDERS)
def video(
    source: args.Source,
    given: Given,
    frames: args.Frames = None,
    start: args.Start = None,
    end: args.End = None,
    still: args.Still = None,
    preview_flow: args.PreviewFlow = False,
    audio: args.Audio = None,
    json: args.JsonProgress = False,
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
        job = still_of_video(source, given.output, settings, still, audio)
        _render(job, given, "steps", json)
        return
    job = video_job(source, given.output, settings, (frames, start, end), audio, preview_flow)
    _render(job, given, "frames", json)


@_command()
@takes(DREAM, NETWORK, WIDTH, ENCODING, HARDWARE, common=RENDERS)
def zoom(
    given: Given,
    photo: args.Photo = None,
    seconds: args.Seconds = args.SECONDS,
    fps: args.Fps = None,
    size: args.Size = None,
    colour: args.Colour = None,
    loop: args.Loop = False,
    to: args.To = None,
    reverse: args.Reverse = False,
    continue_: args.Continue = None,
    audio: args.Audio = None,
    motion_only: args.MotionOnly = False,
    json: args.JsonProgress = False,
) -> None:
    """Zoom endlessly into a dream that begins with a photo, a colour or noise.

    OUT is as for `video`. Without -o, OUT is PHOTO-zoom.mp4 beside PHOTO, or zoom.mp4. With
    --continue, settings that are not given are those of ZOOM; the result holds ZOOM and its
    continuation, and without -o is ZOOM-longer.mp4 beside ZOOM.
    """
    from dreamreel.pipeline.app.jobs import ZoomOptions, continued_zoom_job, zoom_job

    options = ZoomOptions(
        seconds, fps or args.RATE, size, colour, loop, to, reverse, motion_only, audio
    )
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
    _render(job, given, "frames", json)


@_command()
@takes(DREAM, NETWORK, WIDTH, CROP, HARDWARE, common=STILLS)
def image(
    source: args.ImageSource,
    given: Given,
    json: args.JsonProgress = False,
) -> None:
    """Dream a picture: EXIF turns it upright, and transparency is kept.

    With the word noise as IN, a picture is imagined: --class banana gives a banana. --size is its
    size. Without -o, OUT is IN-dream beside IN, in the same format.
    """
    from dreamreel.pipeline.app.jobs import image_job

    _render(image_job(source, given.output, given.settings()), given, "steps", json)


def _render(job: "Job", given: Given, unit: str, json: bool) -> None:
    from dreamreel.pipeline.app.unused import unused_line
    from dreamreel.pipeline.jobs.run import run

    with terminal(unit, given.quiet, stoppable=True, as_json=json) as report:
        for line in given.notices():
            report.on_notice(line)
        path = run(
            job,
            report,
            overwrite=given.overwrite,
            restart=given.restart,
            reads=given.reads(),
            notice=unused_line(given, job),
            chosen=given.own_names(),
        )
    if json:
        print_json({"event": "done", "output": str(path)})
    else:
        print_result(path)


@_command()
@takes(CLIMB, NETWORK, WIDTH, CROP, ENCODING, HARDWARE, common=RENDERS)
def tour(
    source: args.ExploredSource,
    given: Given,
    layers: args.Stops = None,
    still: args.Moment = None,
    seconds: args.TourSeconds = None,
    fps: args.TourFps = args.TOUR_RATE,
) -> None:
    """Travel through the layers of a network: a picture as each of them amplifies it.

    OUT is a picture with all layers side by side (.png, .jpg), a folder for a picture of each, or a
    film (.mp4, .gif) in which one layer's dream melts into the next. Without -o, OUT is IN-tour.png
    beside IN.
    """
    from dreamreel.pipeline.app.exploring import tour_command

    tour_command(source, given, layers, still, (seconds, fps))


@_command()
@takes(READING, DREAM, NETWORK, WIDTH, CROP, HARDWARE, common=RENDERS)
def sweep(
    source: args.ExploredSource,
    given: Given,
    over: args.Over = None,
    still: args.Moment = None,
    zoom: args.ZoomedFor = None,
    detail: args.Detail = None,
) -> None:
    """Sweep over settings: one picture with every combination of their values, on a labelled grid.

    The first --over runs across, the second down, others over further pages: OUT-2.png and so on.
    A picture that cannot be made says why in its place. Without -o, OUT is IN-sweep.png beside IN.
    A sweep that was stopped goes on when the same command is given again.
    """
    from dreamreel.pipeline.app.exploring import sweep_command

    sweep_command(source, given, over or [], (still, zoom), detail)


@_command()
@takes(IMAGINE, HARDWARE, common=RENDERS)
def visualize(
    network: args.Network,
    given: Given,
    layer: args.Look = None,
    classes: args.Classes = None,
    photos: args.Photos = None,
) -> None:
    """Visualize what channels, neurons or classes look for, each imagined from noise, on a sheet.

    With --photos, the places that excite each most stand beside it, and strongest(8) may choose the
    channels. Without -o, OUT is NETWORK-LAYER.png. A sheet that was stopped goes on when the same
    command is given again.
    """
    from dreamreel.pipeline.app.exploring import visualize_command

    visualize_command(network, layer, classes, photos, given)


@_command()
@takes(READING, NETWORK, WIDTH, CROP, ENCODING, HARDWARE, common=STILLS)
def activations(
    source: args.SeenSource,
    layer: args.SeenLayer,
    given: Given,
    frames: args.Frames = None,
    start: args.Start = None,
    end: args.End = None,
    still: args.Moment = None,
) -> None:
    """Show what a picture or a video excites: maps of a layer's channels, the strongest first.

    Of a picture, or of a video's moment with --still, OUT is a sheet (.png, .jpg); of a video it is
    a film (.mp4, .gif) with the maps and the most likely classes beside it. Without -o, OUT is
    IN-LAYER.png or IN-LAYER.mp4 beside IN.
    """
    from dreamreel.pipeline.app.exploring import activations_command

    activations_command(source, layer, given, (frames, start, end), still)


@_command()
@takes(common=("output", "overwrite", "restart", "quiet"))
def reproduce(
    record: args.Record,
    given: Given,
    source: args.ReproduceSource = None,
) -> None:
    """Make a file again from its record: the same settings, source and number of threads."""
    from dreamreel.pipeline.jobs.record import read_record
    from dreamreel.pipeline.jobs.reproduce import reproduce as make_again

    unit = "steps" if read_record(record, given.output).job.kind == "still" else "frames"
    with terminal(unit, given.quiet, stoppable=True) as report:
        path = make_again(
            record, given.output, source, report, overwrite=given.overwrite, restart=given.restart
        )
    print_result(path)


@_command()
def networks() -> None:
    """List the networks that can dream."""
    from dreamreel.pipeline.networks.names import network_names

    print_table([(name, about) for name, about in network_names().items()])


@_command()
def layers(network: args.Network) -> None:
    """List a network's layers: channels, and the stride and receptive field in pixels.

    The layer marked * is the default.
    """
    from dreamreel.pipeline.app.layers import show_layers

    show_layers(network)


@_command()
def classes(
    query: args.ClassQuery = None,
    network: args.NetworkOption = None,
    weights: args.Weights = None,
) -> None:
    """List the classes of a network, number and name, or those that have QUERY in their name.

    Weights bring names of their own in the metadata of a safetensors file ("classes", a list as
    JSON), or in a text file beside them that is called like them, with one name a line.
    """
    from dreamreel.pipeline.app.classes import show_classes

    show_classes(query, network, weights)


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
def show_preset(name: args.PresetName) -> None:
    """Print a preset in full: each setting with its value and meaning."""
    from dreamreel.pipeline.app.presets import show

    show(name)


@presets_app.command("new", cls=GroupedCommand)
@takes(common=("set", "overwrite"))
def new_preset(
    name: args.Name,
    given: Given,
    base: args.Base = None,
    description: args.Description = "",
) -> None:
    """Write a preset of your own, with the settings that --set gives, and print its path.

    A preset that inherits from one of its own name means the bundled one.
    """
    from dreamreel.pipeline.app.presets import write_preset

    print_result(write_preset(name, base, given.set, description, given.overwrite))


@presets_app.command("check", cls=GroupedCommand)
def check_preset(
    files: args.Files,
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
    one: args.One,
    other: args.Other,
) -> None:
    """Compare two presets: the settings in which they differ."""
    from dreamreel.pipeline.app.presets import compare

    compare(one, other)


@_command()
@takes(common=("set", "overwrite"))
def schedule(
    given: Given,
    name: args.ScheduleName = None,
    seconds: args.Seconds = args.SECONDS,
    fps: args.ScheduleFps = args.RATE,
    audio: args.Audio = None,
    plot: args.SchedulePlot = None,
) -> None:
    """Show how settings change over time: the least and the most in each second, and each key."""
    from dataclasses import replace

    from dreamreel.pipeline.app.figures import show_schedule

    chosen = replace(given, preset=[name] if name else [])
    show_schedule(chosen, seconds, fps, audio, plot)


@_command()
@takes(NETWORK, HARDWARE, common=("preset", "set", "overwrite", "quiet"))
def measure(
    source: args.MeasureSource,
    given: Given,
    dream: args.Dream = None,
    frames: args.MeasureFrames = None,
    layers: args.Layers = None,
    judge: args.Judge = None,
    judge_weights: args.JudgeWeights = None,
    judge_layers: args.JudgeLayers = None,
    json: args.Json = False,
    plot: args.Plot = None,
    sheet: args.Sheet = None,
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
@takes(READING, WIDTH, CROP, common=("preset", "set"))
def shots(
    source: args.ShotsSource,
    given: Given,
    json: args.Json = False,
) -> None:
    """List the shots of a video: where it is cut, as a render finds it."""
    from dreamreel.pipeline.app.figures import show_shots

    show_shots(source, given, json)


@_command()
@takes(READING, DREAM, NETWORK, WIDTH, CROP, ENCODING, FILM, HARDWARE, common=STILLS)
def batch(
    source: args.BatchSource,
    given: Given,
    workers: args.Workers = None,
    threads: args.Threads = None,
    engine: args.Engine = args.ENGINE,
    address: args.Address = None,
    retry: args.Retry = args.RETRY,
    only: args.Only = None,
    first: args.First = None,
    stop_after: args.StopAfter = None,
    preroll: args.Preroll = None,
    split_above: args.SplitAbove = None,
    dry_run: args.DryRun = False,
    plan: args.Plan = False,
    status: args.Status = False,
    pause: args.Pause = False,
    json: args.JsonProgress = False,
) -> None:
    """Render many jobs: those of a batch file, or a folder of sources with each preset.

    OUT is a folder: that of the batch file, or FOLDER-dreams beside FOLDER. A folder of results,
    such as the studio's renders, goes on with its own jobs. The same command goes on where it was
    stopped: jobs that are done are left alone, changed ones are done again. Exit code 1: a job
    failed; 130: stopped, and the same command goes on.
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
    asked = {"status": status, "pause": pause, "dry-run": dry_run, "plan": plan}
    chosen = [name for name, is_asked in asked.items() if is_asked]
    if len(chosen) > 1:
        raise UserError("give one of --status, --pause, --dry-run and --plan")
    asks = chosen[0] if chosen else "run"
    raise typer.Exit(batch_command(source, given, options, asks, json))


@_command()
@takes(common=("overwrite", "restart"))
def job(
    file: args.File,
    given: Given,
    find_shots: args.FindShots = False,
    piece: args.Piece = None,
    join: args.Join = False,
    json: args.JsonProgress = False,
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
@takes(NETWORK, SEED, HARDWARE, common=("output", "overwrite", "restart", "quiet"))
def train(
    folder: args.ClassFolders,
    given: Given,
    distill_from: args.DistillFrom = None,
    layers: args.TeacherLayers = None,
    from_scratch: args.FromScratch = False,
    epochs: args.Epochs = None,
    minutes: args.Minutes = None,
    batch: args.Batch = None,
    size: args.CropSize = None,
    rate: args.LearningRate = None,
    epoch_steps: args.EpochSteps = None,
    json: args.JsonProgress = False,
) -> None:
    """Train a network with your own pictures, so that it dreams of them.

    FOLDER has a folder of pictures for each class, named like it. OUT is a file such as
    mine.safetensors: --network mine.safetensors dreams with it, --class NAME of a class. A folder
    beside it, mine, gets a picture of its dreams after each epoch and the curve of the losses.
    Training that was stopped goes on when the same command is given again.

    With --distill-from NETWORK, any pictures will do, in folders or not: dreamnet, which is small,
    learns to feel layer by layer what that network feels, in them and in its own dreams. Its heads
    textures, parts, creatures and objects then answer as layers of that network, and its classes,
    if it has any, as its classes. It begins with its bundled weights; or --from-scratch, in its
    newest version, without a grid in its dreams, which takes longer.
    """
    from dreamreel.pipeline.app.training import TrainOptions, course_of
    from dreamreel.pipeline.training.fit import train as train_network

    options = TrainOptions(
        distill_from, layers, from_scratch, epochs, minutes, batch, size, rate, epoch_steps
    )
    course = course_of(folder, given, options)
    with terminal("steps", given.quiet, stoppable=True, as_json=json) as report:
        path = train_network(course, report, overwrite=given.overwrite, restart=given.restart)
    if json:
        print_json({"event": "done", "output": str(path)})
    else:
        print_result(path)


@_command()
@takes(common=())
def studio(
    given: Given,
    folder: args.StudioFolder = args.STUDIO,
    host: args.Host = args.HOST,
    port: args.StudioPort = args.STUDIO_PORT,
    open_: args.Open = False,
    password_file: args.PasswordFile = None,
) -> None:
    """Open the studio: a page on this machine, to drop films and pictures on, choose and render.

    All that it shows lies in FOLDER: a reload, a second page or a server that was killed loses
    nothing, and renders go on meanwhile. It needs the extra: pip install 'dreamreel[studio]'.
    """
    from dreamreel.pipeline.studio.command import studio_command

    studio_command(folder, host, port, open_, password_file)


@_command()
@takes(LIVE, NETWORK, WIDTH, HARDWARE, common=("preset", "set", "overwrite", "quiet"))
def live(
    given: Given,
    source: args.LiveSource = "0",
    output: args.LiveOut = None,
    port: args.LivePort = None,
    seconds: args.LiveSeconds = None,
    fps: args.LiveFps = args.LIVE_RATE,
    when_still: args.WhenStill = False,
    json: args.JsonProgress = False,
) -> None:
    """Dream what a camera sees just now, or a clip as it plays, on a page of this machine.

    The dream is carried along the motion. As many frames are dreamed as the machine can, always of
    the newest picture, 320 pixels wide where --width gives nothing else. Ctrl-C ends it. The page
    is for this machine alone; /stream there is the stream for other programs.
    """
    from dreamreel.pipeline.app.live import LiveOptions, live_command

    options = LiveOptions(source, output, port, fps, seconds, when_still, json)
    live_command(options, given)


@_command()
@takes(NETWORK, HARDWARE, common=("overwrite",))
def bench(
    given: Given,
    sizes: args.BenchSizes = USUAL_SIZES,
    repeats: args.Repeats = USUAL_REPEATS,
    json: args.Json = False,
    plot: args.BenchPlot = None,
    against: args.Against = None,
) -> None:
    """Measure speed and memory on this machine: medians of repeats, in which rivals take turns.

    An evaluation and a frame are measured against the plain way to write them; films of each size
    stage by stage, with their memory. The default takes a few minutes on two cores.
    """
    from dreamreel.pipeline.app.figures import run_bench

    run_bench(given, sizes, repeats, json, plot, against)


def main() -> None:
    """Run the command line. A user's mistake gives one line and exit code 2."""
    run_app(app)


if __name__ == "__main__":
    main()
