"""Dreamreel: dreams that flow with a video, zooms without end, stills.

What a program of one's own calls is here, and is imported when it is asked for:

    load_network  a network by name        dream_image  a picture, dreamed
    Settings      all that may be set      dream_video  frames, dreamed as they flow
    Job, run      one render of files      zoom         the endless zoom

A job is what the command line makes of its options, and a file is what comes of it:

    from pathlib import Path
    from dreamreel.pipeline import Job, Settings, run

    job = Job(kind="video", source={"path": Path("clip.mp4")}, output=Path("dream.mp4"),
              settings=Settings(dream={"strength": 0.7}))
    run(job)

The rooms of this package, from the lowest; a package imports only from those below it:

    errors, durable, opening, states, frames, tensors    conventions that all rooms share
    config      what may be set: fields, grammar, presets, schedules; without torch
    media       files in, files out; without torch
    networks    what dreams
    motion      what moves: optical flow, cuts
    dreaming    one picture, and a film
    zooming     the endless zoom
    jobs        one render, from its job to a verified file
    judging     figures and charts
    app         what the command line and this page are made of
"""

import os
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamreel.pipeline.app.api import dream_image, dream_video, zoom
    from dreamreel.pipeline.config.fields import Settings
    from dreamreel.pipeline.jobs.job import Job
    from dreamreel.pipeline.jobs.run import run
    from dreamreel.pipeline.networks.catalog import load_network

__all__ = ["Job", "Settings", "dream_image", "dream_video", "load_network", "run", "zoom"]
__version__ = "0.1.0"

_MODULES = {
    "Job": "jobs.job",
    "Settings": "config.fields",
    "dream_image": "app.api",
    "dream_video": "app.api",
    "load_network": "networks.catalog",
    "run": "jobs.run",
    "zoom": "app.api",
}

# Decoders answer through exceptions and results; on the terminal only the command line speaks.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
warnings.filterwarnings("ignore", module=r"PIL\.")  # on tags that make no sense
# An idle thread of torch's spins for a while before it sleeps, which decoding, flow and encoding
# pay for. Spinning less costs the network nothing; not spinning at all, a quarter of its speed.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
