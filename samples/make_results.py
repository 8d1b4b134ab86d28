"""Make the pictures of the pages again, from the samples, with dreamnet.

    python samples/make_results.py [video] [zoom] [image] [pulse] [layers] [settings]

Writes beside this file: `video.gif` (part of the clip and its dream, side by side),
`zoom.gif`, `image.jpg`, `pulse.png` (the curves of the preset that reacts to music) and
`layers.jpg` (a dream of each layer of dreamnet); and the table of settings in `presets/README.md`.
The gallery of looks is made by `dreamreel batch`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import cv2
import imageio_ffmpeg
import numpy as np
from pydantic.fields import FieldInfo

from dreamreel.pipeline import dream_image, load_network
from dreamreel.pipeline.config.fields import Dream, Settings, all_fields
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.media.cropping import scaled
from dreamreel.pipeline.media.reading import read_frames, resized
from dreamreel.pipeline.networks.dreamnet_layers import dreamnet_layers
from dreamreel.pipeline.tensors import to_frame, to_image

HERE = Path(__file__).resolve().parent
GIF_WIDTH = 280  # pixels; two frames side by side are 560 wide
# The picture of layers: (width, height) in pixels of a dream, (height, width) as it is shown, and
# dreams in a row. Small enough for a page, large enough to tell eyes from fur.
LAYER_SIZE, CELL, COLUMNS = (384, 216), (99, 176), 5


def dreamreel(*arguments: object) -> None:
    """Run the command line as a user does."""
    command = [sys.executable, "-m", "dreamreel.cli", *map(str, arguments), "--overwrite"]
    subprocess.run(command, check=True)


def write_gif(path: Path, frames: list[Frame], rate: float) -> None:
    """Write `frames`, BGR, as a GIF with its own palette; it stores only what changes."""
    height, width = frames[0].shape[:2]
    filters = (
        "split[a][b];[a]palettegen=max_colors=80:stats_mode=diff[p];"
        "[b][p]paletteuse=dither=bayer:bayer_scale=4:diff_mode=rectangle"
    )
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-f", "rawvideo",
        "-pixel_format", "bgr24", "-video_size", f"{width}x{height}", "-framerate", str(rate),
        "-i", "pipe:0", "-filter_complex", filters, "-loop", "0", str(path),
    ]  # fmt: skip
    data = b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames)
    subprocess.run(command, input=data, check=True)


def label(frame: Frame, text: str) -> Frame:
    """A copy of `frame` with `text` in its corner."""
    frame = frame.copy()
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(frame, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width, cv2.LINE_AA)
    return frame


def captioned(frame: Frame, text: str) -> Frame:
    """`frame` with `text` below it, black on white."""
    strip = np.full((16, *frame.shape[1:]), 255, np.uint8)
    cv2.putText(strip, text, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([frame, strip])


def small(path: Path, start: int = 0, stop: int | None = None) -> list[Frame]:
    """Frames `start` to `stop` of the video at `path`, GIF_WIDTH wide."""
    return list(resized(read_frames(path, start, stop), GIF_WIDTH))


def video(folder: Path) -> None:
    """Write `video.gif`: the frames about the cut in the clip, beside their dream."""
    dreamreel("video", HERE / "clouds.mp4", "-o", folder / "v.mp4", "--frames", "72:144")
    pairs = zip(small(HERE / "clouds.mp4", 72, 144), small(folder / "v.mp4"), strict=True)
    write_gif(HERE / "video.gif", [np.hstack(pair) for pair in pairs][::3], 10)


def zoom(folder: Path) -> None:
    """Write `zoom.gif`: four seconds of a zoom into the clouds."""
    out = folder / "z.mp4"
    dreamreel("zoom", HERE / "clouds.jpg", "-o", out, "--size", "640x360", "--seconds", 4)
    write_gif(HERE / "zoom.gif", small(out)[::3], 10)


def image(folder: Path) -> None:
    """Write `image.jpg`: the picture beside its dream."""
    dreamreel("image", HERE / "clouds.jpg", "-o", folder / "i.png", "--width", 640)
    source = cv2.resize(cv2.imread(str(HERE / "clouds.jpg")), (640, 360),
                        interpolation=cv2.INTER_AREA)  # fmt: skip
    both = np.hstack([source, cv2.imread(str(folder / "i.png"))])
    cv2.imwrite(str(HERE / "image.jpg"), both, [cv2.IMWRITE_JPEG_QUALITY, 88])


def pulse(folder: Path) -> None:
    """Write `pulse.png`: the curves of the preset that reacts to music, over the beat."""
    dreamreel(
        "schedule", "pulse", "--audio", HERE / "beat.m4a", "--seconds", 4,
        "--plot", HERE / "pulse.png",
    )  # fmt: skip


def layers(folder: Path) -> None:
    """Write `layers.jpg`: what each layer of dreamnet makes of the same picture."""
    network = load_network("dreamnet")
    picture = cv2.imread(str(HERE / "clouds.jpg"))
    image = to_image(cv2.resize(picture, LAYER_SIZE, interpolation=cv2.INTER_AREA), network.device)
    cells = [scaled(to_frame(image), CELL)]
    for row in dreamnet_layers():
        dreamed = dream_image(image, network, Settings(dream=Dream(terms={row.name: 1.0})))
        cells.append(scaled(to_frame(dreamed), CELL))
    names = ["the picture", *(row.name for row in dreamnet_layers())]
    cells = [captioned(cell, name) for cell, name in zip(cells, names, strict=True)]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[n : n + COLUMNS]) for n in range(0, len(cells), COLUMNS)]
    cv2.imwrite(str(HERE / "layers.jpg"), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 50])


def put_into(path: Path, figures: str, mark: str = "figures") -> None:
    """Replace the text between the marks `mark` in the file at `path` by `figures`.

    Exits with a message if the file has no such marks.
    """
    begin, end = f"<!-- {mark} -->", f"<!-- {mark} end -->"
    before, _, rest = path.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no marks {begin} and {end}")
    path.write_text(f"{before}{begin}\n{figures}{end}{after}")


def settings(folder: Path) -> None:
    """The table of every setting, from its field."""
    put_into(HERE.parent / "presets" / "README.md", settings_table(), "settings")


def settings_table() -> str:
    """Every setting with its default, its bounds and its meaning, as Markdown."""
    rows = ["| setting | default | bounds | meaning |", "|---|---|---|---|"]
    for name, field in all_fields().items():
        told = field.description or ""
        rows.append(f"| `{name}` | {_default(field)} | {_bounds(field)} | {told} |")
    return "\n".join(rows).replace("|g|", "\\|g\\|") + "\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value in ({}, ()):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _bounds(field: FieldInfo) -> str:
    limits = {type(one).__name__: one for one in field.metadata}
    low = [f"{limits[kind].ge:g}" for kind in ("Ge",) if kind in limits]
    low += [f"over {limits[kind].gt:g}" for kind in ("Gt",) if kind in limits]
    high = [f"{limits[kind].le:g}" for kind in ("Le",) if kind in limits]
    if low or high:
        return " to ".join([*low, *high])
    choices = get_args(field.annotation)
    names = [one for one in choices if isinstance(one, str)]
    return ", ".join(names) if names and len(names) == len(choices) else ""


RESULTS = {
    "video": video,
    "zoom": zoom,
    "image": image,
    "pulse": pulse,
    "layers": layers,
    "settings": settings,
}


def main() -> None:
    """Make the named results, or all."""
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or RESULTS:
            RESULTS[name](Path(folder))


if __name__ == "__main__":
    main()
