"""Dreamreel: dreams that follow a video's motion, endless zooms, and stills.

These names are for use from Python; each is imported when it is first used:

    load_network  a network by name        dream_image    dreams a picture
    Settings      every setting            imagine_image  imagines a picture from noise
    Job, run      one render of files      dream_video    dreams frames along their motion
                                           zoom           the frames of an endless zoom

The command line makes a job from its options, and `run` renders the job to a file:

    from pathlib import Path
    from dreamreel.pipeline import Job, Settings, run

    job = Job(kind="video", source={"path": Path("clip.mp4")}, output=Path("dream.mp4"),
              settings=Settings(dream={"strength": 0.7}))
    run(job)

The rooms of this package; each imports only from those above it in this list:

    errors, durable, opening, states, frames, tensors    conventions that all rooms share
    config      settings: fields, grammar, presets, schedules; without torch
    media       reading and writing files; without torch
    networks    architectures, weights, layers, tiles, devices
    motion      optical flow, occlusion, cuts
    dreaming    gradient ascent on a picture and on a film
    zooming     the endless zoom
    jobs        one render, from its job to a verified file
    judging     figures and charts
    app         the parts of the command line, and the functions named above
"""

import os
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamreel.pipeline.app.api import dream_image, dream_video, imagine_image, zoom
    from dreamreel.pipeline.config.fields import Settings
    from dreamreel.pipeline.jobs.job import Job
    from dreamreel.pipeline.jobs.run import run
    from dreamreel.pipeline.networks.catalog import load_network

__all__ = [
    "Job",
    "Settings",
    "dream_image",
    "dream_video",
    "imagine_image",
    "load_network",
    "run",
    "zoom",
]
__version__ = "0.1.0"

_MODULES = {
    "Job": "jobs.job",
    "Settings": "config.fields",
    "dream_image": "app.api",
    "dream_video": "app.api",
    "imagine_image": "app.api",
    "load_network": "networks.catalog",
    "run": "jobs.run",
    "zoom": "app.api",
}

# Only the command line writes to the terminal. Decoders report by exceptions and results, so
# OpenCV and the ffmpeg in it are silenced.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
warnings.filterwarnings("ignore", module=r"PIL\.")  # about invalid tags
# How often an idle thread of torch spins before it sleeps. Spinning takes time from decoding, flow
# and encoding. At 10,000 the network is as fast as by default; without spinning it loses a quarter
# of its speed.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
