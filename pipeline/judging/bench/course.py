"""What a benchmark is asked to measure, and what the machine lets it."""

import importlib
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.values import Size, parse_size
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.judging.bench import USUAL_REPEATS
from dreamreel.pipeline.networks.devices import find_device, find_precision

NETWORK = "googlenet"  # torchvision's; its default layer is that of Google's DeepDream notebook
SIZES = {  # (height, width) in pixels
    "360p": (360, 640),
    "720p": (720, 1280),
    "1080p": (1080, 1920),
    "4k": (2160, 3840),
}
EVALUATED = (360, 640)  # the size of the image of one evaluation
MATRIX = 4096  # side of the matrices whose product stands for this machine's best FLOP rate
# Frames of a film that is timed: so many pixels in all, within these bounds.
PIXELS, LEAST_FRAMES, MOST_FRAMES = 8_000_000, 4, 16
ON_GPU = 6  # times as many frames
OVERHEAD_FRAMES = 60  # of the longer clip that is passed on undreamed; the shorter has a quarter
ZOOM_SIZE, ZOOM_FRAMES = (270, 480), 60  # (height, width) in pixels; frames after the first
STEPS, OCTAVES = 10, 4  # of the dream of each frame


@dataclass(frozen=True)
class Course:
    """All that a benchmark measures with: the `network`, the file of its `weights` (None: its own,
    or random ones, which take the same time, for torchvision's), `device` and `precision` as in
    settings; the `sizes` of films; how often each measurement is repeated. The others are as the
    constants of the same names."""

    sizes: tuple[Size, ...]
    network: str = NETWORK
    weights: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    repeats: int = USUAL_REPEATS
    evaluated: Size = EVALUATED
    matrix: int = MATRIX
    pixels: int = PIXELS
    overhead_frames: int = OVERHEAD_FRAMES
    zoom_size: Size = ZOOM_SIZE
    zoom_frames: int = ZOOM_FRAMES
    steps: int = STEPS
    octaves: int = OCTAVES

    @property
    def fewer(self) -> int:
        """How often a long measurement is repeated."""
        return max(1, self.repeats // 2)

    @property
    def on(self) -> torch.device:
        """The device. Raises UserError if it is not there."""
        return find_device(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which the network computes."""
        return find_precision(self.precision, self.on)

    def frames(self, size: Size) -> int:
        """How many frames of that `size` a film has that is timed."""
        frames = min(max(self.pixels // (size[0] * size[1]), LEAST_FRAMES), MOST_FRAMES)
        return frames * ON_GPU if self.on.type == "cuda" else frames

    def settings(self, **sections: object) -> Settings:
        """The settings of a film that is dreamed: the default look, in `octaves` of `steps` steps,
        changed by `sections`."""
        given: dict[str, object] = {
            "network": self.network,
            "device": self.device,
            "precision": self.precision,
            "dream": {"octaves": self.octaves, "steps": self.steps},
        }
        if self.weights is not None:
            given["weights"] = str(self.weights)
        return build(("bench", given), ("bench", sections))


def parse_sizes(text: str) -> tuple[Size, ...]:
    """The sizes, (height, width) each, that `text` names: `360p,4k`, `640x384` or `all`. Raises
    UserError for anything else."""
    names = list(SIZES) if text.strip().lower() == "all" else text.split(",")
    return tuple(dict.fromkeys(_size(name.strip().lower()) for name in names))


def name_of(size: Size) -> str:
    """`size` (height, width) as a figure's name has it, such as 640x360."""
    return f"{size[1]}x{size[0]}"


def lacking() -> str | None:
    """What films cannot be read, written or commanded without and is not installed; None where all
    is."""
    modules = {"av": "PyAV", "imageio_ffmpeg": "ffmpeg", "typer": "typer", "rich": "rich"}
    gone = [told for module, told in modules.items() if not _is_there(module)]
    if "ffmpeg" not in gone:
        from dreamreel.pipeline.media.ffmpeg import ffmpeg

        try:
            ffmpeg()
        except UserError:
            gone.append("ffmpeg")
    return ", ".join(gone) or None


def machine_of(course: Course) -> dict[str, str | int]:
    """What figures depend on: the device and its name, precision, threads, network, versions."""
    from dreamreel.pipeline import __version__

    device = course.on
    return {
        "device": str(device),
        "processor": _processor() if device.type != "cuda" else torch.cuda.get_device_name(device),
        "precision": str(course.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "network": course.network,
        "torch": torch.__version__,
        "dreamreel": __version__,
    }


def _is_there(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _size(name: str) -> Size:
    if name in SIZES:
        return SIZES[name]
    try:
        return parse_size("--sizes", name)
    except UserError as error:
        raise UserError(f"{error}; so are {', '.join(SIZES)} and all") from error


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
