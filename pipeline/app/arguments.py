"""The arguments and options of single commands: their types, names and help."""

from pathlib import Path
from typing import Annotated

import typer

from dreamreel.pipeline.app.completion import complete_network, complete_preset
from dreamreel.pipeline.app.options import IN, LOOK, MACHINE, OUT
from dreamreel.pipeline.config.values import parse_number
from dreamreel.pipeline.training import course

# Values where none is given: usual ones, not tuned. RATE is in frames per second.
RATE = "30"
TOUR_RATE = "24"
SECONDS = 10.0
RETRY = 2
ENGINE = "local"
LIVE_RATE, LIVE_PORT = "25", 7861
STUDIO, HOST, STUDIO_PORT = Path("dreamreel-studio"), "127.0.0.1", 7860

Audio = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The music that schedules react to.", rich_help_panel=IN),
]
Seconds = Annotated[
    float,
    typer.Option(
        metavar="S", help="The length in seconds.", rich_help_panel=IN, parser=parse_number
    ),
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
Version = Annotated[bool, typer.Option("--version", help="Print the version.")]
Source = Annotated[Path, typer.Argument(metavar="IN", help="The video to dream.")]
Frames = Annotated[
    str | None,
    typer.Option(
        metavar="A:B",
        rich_help_panel=IN,
        help="Only frames A to B, B excluded; the first frame is 0.",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Begin at TIME: 2.5 or 1:02.5.", rich_help_panel=IN),
]
End = Annotated[str | None, typer.Option(metavar="TIME", help="End at TIME.", rich_help_panel=IN)]
Still = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Dream only the frame at TIME, as a picture.", rich_help_panel=OUT
    ),
]
PreviewFlow = Annotated[
    bool,
    typer.Option(
        "--preview-flow",
        help="Dream nothing; show the flow, occlusion, cuts and masks.",
        rich_help_panel=OUT,
    ),
]
Photo = Annotated[
    Path | None, typer.Argument(metavar="[PHOTO]", help="The first picture; without it, noise.")
]
Fps = Annotated[
    str | None,
    typer.Option(
        metavar="R",
        rich_help_panel=IN,
        help=f"Frames per second, such as 25 or 30000/1001; {RATE} if not given.",
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="WxH", help="The size of the film; a photo is cropped to it.", rich_help_panel=OUT
    ),
]
Colour = Annotated[
    str | None,
    typer.Option(
        "--colour",
        "--color",
        metavar="C",
        rich_help_panel=IN,
        help="Begin with a plain colour: #204060 or teal.",
    ),
]
Loop = Annotated[
    bool,
    typer.Option(
        "--loop",
        help="End at the first frame, so that it repeats without a seam.",
        rich_help_panel=LOOK,
    ),
]
To = Annotated[
    Path | None,
    typer.Option(metavar="PHOTO", help="Arrive at this photo at the end.", rich_help_panel=IN),
]
Reverse = Annotated[
    bool,
    typer.Option(
        "--reverse",
        help="Play it backwards, so that it ends with the first picture.",
        rich_help_panel=LOOK,
    ),
]
Continue = Annotated[
    Path | None,
    typer.Option(
        "--continue",
        metavar="ZOOM",
        help="Continue this finished zoom from its end.",
        rich_help_panel=IN,
    ),
]
StudioFolder = Annotated[
    Path,
    typer.Argument(metavar="[FOLDER]", help="Where sources, renders and their records are kept."),
]
Host = Annotated[
    str,
    typer.Option(
        metavar="H",
        rich_help_panel=MACHINE,
        help="The address to serve at; another than this machine's needs a password.",
    ),
]
StudioPort = Annotated[
    int, typer.Option("--port", metavar="N", rich_help_panel=MACHINE, help="The port.")
]
Open = Annotated[
    bool, typer.Option("--open", rich_help_panel=MACHINE, help="Open the page in a browser.")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", rich_help_panel=MACHINE, help="A file with the password in its first line."
    ),
]
LiveSource = Annotated[
    str,
    typer.Argument(
        metavar="[SOURCE]", help="A camera, 0 the first, or a clip, which plays in a loop."
    ),
]
LiveOut = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        "--out",
        metavar="OUT",
        rich_help_panel=OUT,
        help="A file: a film, or a stream of JPEG pictures (.mjpg); - for that on standard output.",
    ),
]
LivePort = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="N",
        rich_help_panel=OUT,
        help=f"The port of the page; 0 for any. Without OUT there is one at {LIVE_PORT}.",
    ),
]
LiveSeconds = Annotated[
    float | None,
    typer.Option(
        "--seconds",
        metavar="S",
        rich_help_panel=OUT,
        help="End after so many seconds.",
        parser=parse_number,
    ),
]
LiveFps = Annotated[
    str,
    typer.Option(
        "--fps",
        metavar="R",
        rich_help_panel=OUT,
        help="Frames per second of a film that is written.",
    ),
]
WhenStill = Annotated[
    bool,
    typer.Option(
        "--when-still",
        rich_help_panel=LOOK,
        help="Dream only while the picture stands still; show it as it is while it moves.",
    ),
]
MotionOnly = Annotated[
    bool,
    typer.Option(
        "--motion-only", help="Dream nothing; show the camera's motion.", rich_help_panel=LOOK
    ),
]
ImageSource = Annotated[Path, typer.Argument(metavar="IN", help="The picture to dream, or noise.")]
Record = Annotated[
    Path, typer.Argument(metavar="RECORD", help="The record of a render: OUT.mp4.json.")
]
ReproduceSource = Annotated[
    Path | None, typer.Option(metavar="IN", help="The source, if it has moved.", rich_help_panel=IN)
]
Network = Annotated[str, typer.Argument(metavar="NETWORK")]
ClassQuery = Annotated[
    str | None, typer.Argument(metavar="[QUERY]", help="A part of the names that are wanted.")
]
NetworkOption = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help="The network that tells the classes, if not the usual one.",
        autocompletion=complete_network,
    ),
]
Weights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Its weights, with names of their own.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the new preset.")]
Base = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="P",
        rich_help_panel=LOOK,
        autocompletion=complete_preset,
        help="The preset that it inherits from: a name, or a TOML file.",
    ),
]
Description = Annotated[
    str, typer.Option(metavar="TEXT", help="The look, in one line.", rich_help_panel=LOOK)
]
Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Presets: TOML files, or names.")
]
One = Annotated[str, typer.Argument(metavar="A", autocompletion=complete_preset)]
Other = Annotated[str, typer.Argument(metavar="B", autocompletion=complete_preset)]
ScheduleName = Annotated[
    str | None, typer.Argument(metavar="[PRESET]", help="A preset by name, or a TOML file.")
]
ScheduleFps = Annotated[
    str, typer.Option(metavar="R", help="Frames per second: 30 or 30000/1001.", rich_help_panel=IN)
]
SchedulePlot = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Plot the curves into this file instead.")
]
MeasureSource = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="The video that was dreamed, or a zoom.")
]
Dream = Annotated[Path | None, typer.Argument(metavar="[DREAM]", help="The dream of SOURCE.")]
MeasureFrames = Annotated[
    str | None,
    typer.Option(
        metavar="A:B",
        help="The frames of SOURCE that were dreamed, B excluded.",
        rich_help_panel=IN,
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        metavar="L",
        rich_help_panel=LOOK,
        help="The layers that were dreamed: NAME, NAME,NAME or {NAME = WEIGHT}.",
    ),
]
Judge = Annotated[
    str | None, typer.Option(metavar="NETWORK", help="A second network that measures strength.")
]
JudgeWeights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The weights of the judge.")
]
JudgeLayers = Annotated[
    str | None, typer.Option(metavar="L", help="The layers of the judge, if not its default.")
]
Sheet = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Write 24 frames of a zoom onto one sheet.")
]
ShotsSource = Annotated[Path, typer.Argument(metavar="IN", help="The video.")]
BatchSource = Annotated[
    Path, typer.Argument(metavar="JOBS.toml|FOLDER", help="A batch file, or a folder.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=MACHINE,
        help="Jobs at a time; 1 if not given, or one for each GPU.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=MACHINE,
        help="Threads of a job; the cores divided by the workers if not given.",
    ),
]
Engine = Annotated[
    str, typer.Option(metavar="E", rich_help_panel=MACHINE, help="What does the jobs: local, ray.")
]
Address = Annotated[
    str | None,
    typer.Option(metavar="A", rich_help_panel=MACHINE, help="The address of a Ray cluster."),
]
Retry = Annotated[
    int,
    typer.Option(
        metavar="N",
        rich_help_panel=MACHINE,
        help="Times that a failure is tried again if it may pass, such as a full disk.",
    ),
]
Only = Annotated[
    str | None,
    typer.Option(metavar="PATTERN", rich_help_panel=IN, help="Only jobs named like this."),
]
First = Annotated[
    str | None,
    typer.Option(metavar="PATTERN", rich_help_panel=IN, help="Jobs named like this first."),
]
StopAfter = Annotated[
    str | None,
    typer.Option(metavar="TIME", rich_help_panel=MACHINE, help="Save and stop after 7h30m."),
]
Preroll = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=MACHINE,
        help="Split long shots too, each piece begun N frames early: nearly the same film.",
    ),
]
SplitAbove = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=MACHINE,
        help="Split a video of more than N frames at its cuts, for several workers; 240.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the jobs, with estimates; render nothing.")
]
Plan = Annotated[
    bool, typer.Option("--plan", help="Write the job files, for a farm; render nothing.")
]
Status = Annotated[bool, typer.Option("--status", help="Show how far the batch is, from anywhere.")]
Pause = Annotated[
    bool, typer.Option("--pause", help="Have the batch save and stop, from anywhere.")
]
JsonProgress = Annotated[
    bool,
    typer.Option(
        "--json-progress", help="Print progress as JSON, one object a line.", rich_help_panel=OUT
    ),
]
File = Annotated[
    Path, typer.Argument(metavar="FILE.json", help="A job, one of a batch, or a record.")
]
FindShots = Annotated[
    bool, typer.Option("--shots", help="Find the shots of its video; print how many pieces.")
]
Piece = Annotated[
    int | None, typer.Option(metavar="N", help="Render only piece N of its video, from 0.")
]
Join = Annotated[bool, typer.Option("--join", help="Join the pieces of its video.")]
Repeats = Annotated[int, typer.Option(help="How often each measurement is repeated.", metavar="N")]
BenchSizes = Annotated[
    str,
    typer.Option(
        "--sizes", metavar="S,S", help="Sizes of films: 360p, 720p, 1080p, 4k, WxH or all."
    ),
]
BenchPlot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the figures into this file.")
]
Against = Annotated[
    Path | None,
    typer.Option(metavar="FILE.json", help="Compare with the figures that --json wrote there."),
]
ExploredSource = Annotated[
    Path, typer.Argument(metavar="IN", help="A picture; a video with --still; or noise.")
]
Moment = Annotated[
    str | None,
    typer.Option("--still", metavar="TIME", help="The moment of a video.", rich_help_panel=IN),
]
SeenSource = Annotated[Path, typer.Argument(metavar="IN", help="The picture or video.")]
SeenLayer = Annotated[
    str,
    typer.Argument(
        metavar="LAYER[:CHANNELS]", help="A layer; some channels: 3+7+20-25 or weakest(16)."
    ),
]
Look = Annotated[
    str | None,
    typer.Argument(
        metavar="[LAYER[:CHANNELS]]",
        help="A layer; some of its channels: 3+7+20-25; one neuron: 3@0.5:0.5.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME", rich_help_panel=LOOK, help="Classes in place of a layer's channels."
    ),
]
Photos = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        rich_help_panel=IN,
        help="Photos whose most exciting places are shown beside each.",
    ),
]
Over = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=A,B,C",
        rich_help_panel=LOOK,
        help="An axis: a setting, or preset, class, guide or layers, with its values. Repeatable.",
    ),
]
ZoomedFor = Annotated[
    float | None,
    typer.Option(
        "--zoom",
        metavar="S",
        rich_help_panel=IN,
        parser=parse_number,
        help="The frame of an endless zoom after S seconds.",
    ),
]
Detail = Annotated[
    str | None,
    typer.Option(
        metavar="X:Y",
        rich_help_panel=OUT,
        help="Show this place below each picture at full size: 0.5:0.3, in widths and heights.",
    ),
]
Stops = Annotated[
    str | None,
    typer.Option(
        "--layers",
        metavar="L",
        rich_help_panel=LOOK,
        help="The layers, or other terms, in order: stem,parts,objects; a dozen if not given.",
    ),
]
TourSeconds = Annotated[
    float | None,
    typer.Option(
        "--seconds",
        metavar="S",
        help="The length of a film; 1.5 a layer if not given.",
        rich_help_panel=OUT,
        parser=parse_number,
    ),
]
TourFps = Annotated[
    str,
    typer.Option("--fps", metavar="R", help="Frames per second of a film.", rich_help_panel=OUT),
]
ClassFolders = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help="A folder with a folder of pictures a class; of any pictures for --distill-from.",
    ),
]
FromScratch = Annotated[
    bool,
    typer.Option(
        "--from-scratch",
        rich_help_panel=LOOK,
        help="Begin with random weights, and dreamnet in its newest version; without, what the "
        "network knows is kept and added to.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=MACHINE,
        help="Passes through all pictures, each of several where they are few; "
        f"{course.EPOCHS} if no --minutes are given either.",
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(metavar="M", rich_help_panel=MACHINE, help="End after so many minutes."),
]
Batch = Annotated[
    int | None,
    typer.Option(metavar="N", rich_help_panel=MACHINE, help=f"Pictures of a step; {course.BATCH}."),
]
CropSize = Annotated[
    int | None,
    typer.Option(
        "--size",
        metavar="N",
        rich_help_panel=LOOK,
        help=f"The side of the crops that it learns from, in pixels; {course.SIZE}, distilled "
        f"{course.FELT_SIZE} where most pictures are as large.",
    ),
]
EpochSteps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=MACHINE,
        help="Steps of an epoch at least: few pictures are seen several times in one; "
        f"{course.EPOCH_STEPS}.",
    ),
]
DistillFrom = Annotated[
    str | None,
    typer.Option(
        "--distill-from",
        metavar="NETWORK",
        rich_help_panel=LOOK,
        help="A network that teaches, in place of class folders; --weights are then its weights.",
        autocompletion=complete_network,
    ),
]
TeacherLayers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        metavar="L,L,L,L",
        rich_help_panel=LOOK,
        help="The teacher's layers that textures, parts, creatures and objects are to feel like; "
        "those at strides 8, 16, 16 and 32 if not given.",
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="R",
        rich_help_panel=LOOK,
        help=f"How fast it learns; {course.RATE:g}, from scratch {course.SCRATCH_RATE:g}.",
    ),
]
