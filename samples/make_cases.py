"""Try what people's real files boil down to, and say whether each comes out right.

    python samples/make_cases.py [--only WORDS] [--into FILE]

Makes every input itself, runs Dreamreel on it, measures the result with other readers, and prints a
Markdown table: what happened before, what happens now, and what is right. A row that is not right
is marked **wrong**. `--only` takes the cases whose names contain WORDS; `--into` also writes the
table into a file, between its marks.
"""

import argparse
import contextlib
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from make_coherence import Both
from make_results import put_into
from make_samples import CUT, frame_at
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from dreamreel import cli
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.schedule import Moment, parse
from dreamreel.pipeline.config.timeline import settings_at
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.catalog import load_network

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # has the makers
import profiles

import footage
from making import Run, read_clip
from reading import pictures, seen

Frames = list[NDArray[np.uint8]]
WIDTH, HEIGHT, COUNT, RATE = 192, 108, 24, 24
UNDREAMED = ("--set", "dream.steps=0", "--set", "video.frame_steps=0", "--octaves", 1)
QUICK = ("--octaves", 3, "--steps", 6)
LOSSLESS = ("--codec", "ffv1", "--pixel-format", "bgr0")
EXACT = ("--set", "source.decoder=pyav")  # OpenCV's colours of a test pattern are 5 levels off
WAIT = 300  # seconds, after which a command hangs
FORKED = multiprocessing.get_context("forkserver")  # the server imports this file and torch, once


@dataclass(frozen=True)
class Found:
    """The finding in a case, in words, and whether that is right."""

    now: str
    right: bool


Check = Callable[[Path], Found]


@dataclass(frozen=True)
class Case:
    """What happened `before`, what is `right`, and a check that makes the input in a folder, runs
    Dreamreel there and measures."""

    before: str
    right: str
    check: Check


def dreamreel(folder: Path, *arguments: object) -> Run:
    """Run the command line in `folder`, in a process of its own that has torch from the start."""
    with tempfile.TemporaryDirectory() as aside:
        streams = Path(aside, "out"), Path(aside, "err")
        process = FORKED.Process(target=_command, args=(folder, [*map(str, arguments)], *streams))
        process.start()
        process.join(WAIT)
        if process.exitcode is None:
            process.kill()
        code = -1 if process.exitcode is None else process.exitcode
        return Run(code, *(one.read_text() for one in streams))


def _command(folder: Path, arguments: list[str], out: Path, err: Path) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), number)
    os.chdir(folder)
    os.environ["COLUMNS"] = "1000"  # no line is broken
    sys.argv = ["dreamreel", *arguments]
    cli.main()


def told(run: Run) -> str:
    """The notices and the error of a command."""
    lines = [line for line in run.err.splitlines() if line.startswith(("note: ", "dreamreel: "))]
    return "; ".join(line.partition(": ")[2] for line in lines)


def quoted(run: Run, most: int = 240) -> str:
    """The exit code of a command if it failed, and its words in short."""
    text = told(run) or "nothing told"
    text = text if len(text) <= most else f"{text[:most]}…"
    return text if run.code == 0 else f"exit {run.code}: {text}"


# Films and their dreams, as the changes from frame to frame.


@cache
def scene(of: int = 0) -> Frames:
    """Frames of a scene of the sample clip: 0, clouds over a ridge, or 1, a lake."""
    times = [(CUT + 0.2 if of else 0) + number / RATE for number in range(COUNT)]
    return [frame_at(WIDTH, HEIGHT, time) for time in times]


def lossless(path: Path, frames: Frames) -> Path:
    """The film of `frames`, without loss."""
    raw = b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames)
    size = f"{frames[0].shape[1]}x{frames[0].shape[0]}"
    footage.run_ffmpeg(
        *("-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", size, "-framerate", str(RATE)),
        *("-i", "-", "-c:v", "ffv1", "-pix_fmt", "bgr0", str(path)), stdin=raw,
    )  # fmt: skip
    return path


def dreams(folder: Path, frames: Frames) -> Frames:
    """The dream of a film of `frames`, by the default look and few steps."""
    lossless(folder / "in.mkv", frames)
    run = dreamreel(folder, "video", "in.mkv", "-o", "out.mkv", *LOSSLESS, *QUICK)
    if run.code:
        raise UserError(told(run))
    return read_clip(folder / "out.mkv")


def changes(before: Frames, after: Frames) -> NDArray[np.float64]:
    """The mean change of each frame, in levels of 255."""
    pairs = zip(before, after, strict=True)
    return np.array([np.abs(one.astype(int) - other).mean() for one, other in pairs])


@cache
def plain() -> NDArray[np.float64]:
    """The changes of the first scene as it is: what others are compared with."""
    with tempfile.TemporaryDirectory() as folder:
        return changes(scene(), dreams(Path(folder), scene()))


def in_short(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def dimmed(frame: NDArray[np.uint8], share: float, to: int = 0) -> NDArray[np.uint8]:
    """The frame at that `share` of its contrast with the level `to`."""
    return np.uint8(np.round(to + share * (frame - float(to))))


def within_bars(frames: Frames, outside: Sequence[NDArray[np.bool_]], folder: Path) -> Found:
    """The changes `outside` the picture of `frames`, and inside."""
    pairs = list(zip(frames, dreams(folder, frames), outside, strict=True))
    off = [np.abs(one.astype(int) - other) for one, other, _ in pairs]
    bars = max(int(one[mask].max(initial=0)) for one, (*_, mask) in zip(off, pairs, strict=True))
    picture = np.mean([one[~mask].mean() for one, (*_, mask) in zip(off, pairs, strict=True)])
    return Found(f"bars off by {bars}, picture dreamed by {picture:.1f}", bars == 0 and picture > 3)


def barred(folder: Path, across: int, down: int, colour: Any = 0, words: str = "") -> Found:
    """A film with bars of so many pixels at its sides, and above and below."""
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[down : HEIGHT - down, across : WIDTH - across] = False
    frames = [frame.copy() for frame in scene()[:12]]
    for frame in frames:
        frame[outside] = colour
        place = (across + 4, HEIGHT - down // 3)
        cv2.putText(frame, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255,) * 3)
    return within_bars(frames, [outside] * 12, folder)


def barred_later(folder: Path) -> Found:
    """A film in whose middle bars appear above and below."""
    frames = [frame.copy() for frame in scene()[:12]]
    outside = [np.zeros((HEIGHT, WIDTH), bool) for _ in frames]
    for frame, mask in zip(frames[6:], outside[6:], strict=True):
        mask[:16] = mask[-16:] = True
        frame[mask] = 0
    return within_bars(frames, outside, folder)


def flat(folder: Path, picture: NDArray[np.uint8]) -> Found:
    """A film of one `picture` in which there is nothing to see."""
    frames = [picture] * 6
    result = dreams(folder, frames)
    off = changes(frames, result).max()
    most = max(
        int(np.abs(one.astype(int) - other).max())
        for one, other in zip(frames, result, strict=True)
    )
    return Found(f"mean {off:.1f}, at most {most}", off < 2 and most < 12)


def sky() -> NDArray[np.uint8]:
    """A clear sky, lighter towards the horizon."""
    light = np.linspace(150, 230, HEIGHT)[:, None, None] * np.array([1, 0.8, 0.6])
    return np.broadcast_to(light, (HEIGHT, WIDTH, 3)).round().astype(np.uint8)


def faded_in(folder: Path, level: int) -> Found:
    """A film that fades in from `level` within 11 frames."""
    shares = np.clip(np.arange(COUNT) / 11, 0, 1)
    frames = [dimmed(one, share, level) for one, share in zip(scene(), shares, strict=True)]
    off = changes(frames, dreams(folder, frames))
    share = off[21] / plain()[21]
    now = f"frame 0: {off[0]:.1f}; ten frames after the fade {off[21]:.1f}, {share:.0%} of unfaded"
    return Found(now, off[0] < 2 and abs(share - 1) <= 0.2)


def faded_through(folder: Path, level: int) -> Found:
    """A scene that fades to `level`, and another that fades in from there."""
    first, second, flat = scene(0), scene(1), np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    shares = np.linspace(0, 1, 6)
    back = [dimmed(one, share, level) for one, share in zip(second, shares, strict=False)]
    back += second[6:15]
    out = [dimmed(one, share, level) for one, share in zip(first, shares[::-1], strict=False)]
    begun = first[:6] + out + [flat] * 3
    alone = [flat] * 3 + back
    (folder / "alone").mkdir()
    whole, own = dreams(folder, begun + back), dreams(folder / "alone", alone)
    details = [(one[-1].astype(float) - second[14]).ravel() for one in (whole, own)]
    alike, dark = np.corrcoef(*details)[0, 1], changes([flat] * 3, whole[12:15]).max()
    now = f"between the scenes {dark:.1f}; the next one's dream resembles its own by {alike:.2f}"
    return Found(now, bool(dark < 2 and alike > 0.4))


def interrupted(folder: Path, share: float, level: int) -> Found:
    """A film of which frames 8 to 10 have that `share` of their contrast with `level`."""
    frames = scene()[:14]
    frames[8:11] = [dimmed(frame, share, level) for frame in frames[8:11]]
    off = changes(frames, dreams(folder, frames))
    kept = off[12] / plain()[12]
    now = f"{off[7]:.1f} → {in_short(off[11:])}: {kept:.0%} two frames after"
    return Found(now, abs(kept - 1) <= 0.15)


def strobed(folder: Path, level: int, every: int) -> Found:
    """A film with a frame of that `level` at every so many frames."""
    frames = [
        np.full_like(one, level) if number % every == 0 else one
        for number, one in enumerate(scene()[:18])
    ]
    off = changes(frames, dreams(folder, frames))
    lit = [number for number in range(every, len(frames)) if number % every]
    kept = (off[lit] / plain()[lit]).min()
    now = f"{off[lit].min():.1f} to {off[lit].max():.1f} between them, at least {kept:.0%}"
    return Found(now, bool(kept >= 0.85))


def noisy(folder: Path, add: Callable[[NDArray[np.uint8], Any], NDArray[np.uint8]]) -> Found:
    """A scene to each frame of which `add` adds something by random numbers."""
    random = np.random.default_rng(1)
    frames = [add(frame, random) for frame in scene()[:8]]
    off = changes(frames, dreams(folder, frames))
    kept = off[1:].min() / off[0]
    return Found(f"{in_short(off[:4])} …: at least {kept:.0%} of the first", bool(kept >= 0.85))


def grain(frame: NDArray[np.uint8], random: Any, sigma: float, blur: float) -> NDArray[np.uint8]:
    noise = random.normal(0, sigma, (HEIGHT, WIDTH)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), blur) if blur else noise
    return np.uint8(np.clip(frame + noise[..., None], 0, 255))


def night(frame: NDArray[np.uint8], random: Any) -> NDArray[np.uint8]:
    return grain(dimmed(frame, 0.3), random, 10, 0)


def snow(frame: NDArray[np.uint8], random: Any) -> NDArray[np.uint8]:
    frame = frame.copy()
    for x, y in random.integers((2, 2), (WIDTH - 4, HEIGHT - 4), (60, 2)):
        frame[y : y + 2, x : x + 2] = 250
    return frame


# Pictures and their colours.


def srgb_picture() -> NDArray[np.uint8]:
    """A picture as it is meant, RGB."""
    return np.ascontiguousarray(scene()[0][..., ::-1])


def read_as_meant(folder: Path, make: Callable[[Path], tuple[Path, Any]], most: float) -> Found:
    """The error with which the picture that `make` writes is read; `make` returns it as meant."""
    source, meant = make(folder)
    run = dreamreel(folder, "image", source.name, "-o", "out.png", "--steps", 0)
    if run.code:
        return Found(quoted(run), False)
    off = float(np.abs(np.asarray(Image.open(folder / "out.png").convert("RGB")) - meant).mean())
    return Found(f"{off:.1f} levels off", off < most)


P3_CURVE = 2.2


def in_p3(srgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The same colours in Display P3, in [0, 1]."""
    return profiles.linear_in(profiles.P3, srgb / 255) ** (1 / P3_CURVE)


def p3(folder: Path, ending: str) -> tuple[Path, Any]:
    path, meant = folder / f"a{ending}", srgb_picture()
    icc = profiles.rgb_profile(profiles.P3, profiles.gamma(P3_CURVE))
    wide = Image.fromarray(np.uint8(np.round(in_p3(meant) * 255)))
    options = {"quality": 100, "subsampling": 0} if ending == ".jpg" else {}
    wide.save(path, icc_profile=icc, **options)
    return path, meant.astype(float)


def deep_p3(folder: Path) -> tuple[Path, Any]:
    icc = profiles.rgb_profile(profiles.P3, profiles.gamma(P3_CURVE))
    meant = srgb_picture()
    return profiles.write_deep(folder / "a.png", in_p3(meant), icc), meant.astype(float)


def inks(folder: Path) -> tuple[Path, Any]:
    """A JPEG of CMYK whose profile is darker than the plain formula."""

    def printed(values: Any) -> Any:
        return ((1 - values[:, :3]) * (1 - values[:, 3:])) ** 2

    values = np.zeros((32, 32, 4), np.uint8)
    values[..., 0], values[..., 1] = np.arange(32) * 6, np.arange(32)[:, None] * 6
    icc = profiles.lut_profile(b"CMYK", 9, printed)
    Image.fromarray(values, "CMYK").save(folder / "a.jpg", icc_profile=icc, quality=100)
    return folder / "a.jpg", 255 * printed(values.reshape(-1, 4) / 255).reshape(32, 32, 3)


def adobe(folder: Path) -> tuple[Path, Any]:
    """A JPEG whose EXIF says that it is Adobe RGB, as cameras write it."""
    meant, exif = srgb_picture(), Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    wide = profiles.linear_in(profiles.ADOBE, meant / 255) ** (1 / 2.2)
    picture = Image.fromarray(np.uint8(np.round(wide * 255)))
    picture.save(folder / "a.jpg", exif=exif, quality=100, subsampling=0)
    return folder / "a.jpg", meant.astype(float)


def avif(folder: Path) -> tuple[Path, Any]:
    Image.fromarray(srgb_picture()).save(folder / "a.avif", quality=95)
    return folder / "a.avif", srgb_picture().astype(float)


# Films as players show them.


def shown(folder: Path, *options: str) -> Found:
    """A film with the display matrix that the `options` of ffmpeg set."""
    source = footage.displayed(folder, options)
    run = dreamreel(folder, "video", source.name, "-o", "out.mkv", *LOSSLESS, *UNDREAMED)
    if run.code:
        return Found(quoted(run), False)
    wanted, found = read_clip(source), read_clip(folder / "out.mkv")
    if wanted[0].shape != found[0].shape:
        return Found("another size", False)
    off = changes(wanted, found).max()
    return Found(f"{off:.1f} levels off", off < 2)


def resized(folder: Path, ending: str) -> Found:
    """A film whose second part is upright."""
    source = footage.two_sizes(folder, "160x96", "96x160")
    if ending != source.suffix:
        footage.run_ffmpeg("-framerate", "25", "-i", "both.h264", "-c", "copy",
                           f"both{ending}", folder=folder)  # fmt: skip
    run = dreamreel(folder, "video", f"both{ending}", "-o", "out.mkv", *LOSSLESS, *UNDREAMED)
    if run.code:
        return Found(quoted(run), False)
    frames = read_clip(folder / "out.mkv")
    lit = int((frames[-1][48, :, 1] > 127).sum())
    now = f"{len(frames)} frames; the picture is {lit} of 160 wide; {quoted(run)}"
    whole = len(frames) == 20 and frames[0].min() > 250
    return Found(now, whole and abs(lit - 58) <= 2 and "size" in told(run))


def combing(frame: NDArray[Any]) -> float:
    """How much the rows of one field differ from those of the other."""
    rows = frame[..., 1].astype(float)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


def interlaced(folder: Path, parts: str) -> Found:
    """A film of progressive and interlaced `parts`."""
    source = footage.partly_interlaced(folder, parts)
    run = dreamreel(folder, "video", source.name, "-o", "out.mkv", *LOSSLESS, *UNDREAMED, *EXACT)
    if run.code:
        return Found(quoted(run), False)
    before, after = read_clip(source), read_clip(folder / "out.mkv")
    is_combed = [part == "i" for part in parts for _ in range(12 if part == "i" else 25)]
    if not len(before) == len(after) == len(is_combed):
        return Found(f"{len(after)} frames of {len(before)}", False)
    off = changes(before, after)
    combed = [combing(after[n]) / combing(before[n]) for n, one in enumerate(is_combed) if one]
    left = np.mean(combed)
    kept = max(off[n] for n, one in enumerate(is_combed) if not one)
    now = f"combs at {left:.0%}, other pictures off by {kept:.1f}; {quoted(run)}"
    return Found(now, bool(left < 0.9 and kept < 2 and "deinterlaced" in told(run)))


# Names, and what is in a file beside pictures.


def named(folder: Path, name: str) -> Found:
    """A film of that `name`, as input and as default output."""
    footage.film(folder / "s.mp4", numbers=range(2), codec=footage.PLAIN)
    (folder / "s.mp4").rename(folder / name)
    run = dreamreel(folder, "video", *UNDREAMED, "--", name)
    made = folder / f"{name[:-4]}-dream.mp4"
    if run.code or not made.is_file():
        return Found(quoted(run), False)
    frames = len(read_clip(made))
    return Found(f"{frames} frames, in `{escaped(made.name)}`", frames == 2)


def escaped(name: str) -> str:
    name = name.replace("\n", "\\n")
    return name if len(name) < 40 else f"{name[:8]}…{name[-12:]}"


def too_long(folder: Path) -> Found:
    """An output whose record could not be named."""
    footage.film(folder / "s.mp4", numbers=range(2), codec=footage.PLAIN)
    run = dreamreel(folder, "video", "s.mp4", "-o", "y" * 248 + ".mp4", *UNDREAMED)
    names = [path.name for path in folder.iterdir()]
    now = re.sub("y{9,}", "yyy", quoted(run))
    return Found(now, run.code == 2 and "too long" in now and names == ["s.mp4"])


def attached(folder: Path, name: str, kind: str, *options: object) -> Found:
    """A film with an attachment, a part of it rendered to .mkv."""
    plain = footage.film(folder / "plain.mkv", numbers=range(8), codec=footage.PLAIN)
    data = b"\0\1\0\0" + bytes(60)
    (folder / name).write_bytes(data)
    footage.run_ffmpeg(
        *("-i", plain.name, "-attach", name, "-metadata:s:t", f"mimetype={kind}", "-c", "copy"),
        "source.mkv", folder=folder,
    )  # fmt: skip
    run = dreamreel(folder, "video", "source.mkv", "-o", "out.mkv", *UNDREAMED, *options)
    if run.code:
        return Found(quoted(run), False)
    with contextlib.suppress(subprocess.CalledProcessError):  # ffmpeg wants an output, too
        footage.run_ffmpeg("-dump_attachment:t:0", "found", "-i", "out.mkv", folder=folder)
    found = (folder / "found").read_bytes() if (folder / "found").exists() else b""
    return Found("it comes along" if found == data else "it is lost", found == data)


def styled(folder: Path, out: str) -> Found:
    """A film with styled subtitles and an attachment."""
    footage.with_extras(folder, words="ass")
    run = dreamreel(folder, "video", "source.mkv", "-o", out, *UNDREAMED)
    kept = len(seen(folder / out).subtitles) if run.code == 0 else 0
    words = all(word in told(run) for word in ("styles", ".mkv keeps"))
    return Found(quoted(run), run.code == 0 and kept == 1 and words)


def painted(folder: Path) -> Found:
    """A film with subtitles that are pictures."""
    footage.with_painted_subtitles(folder, "a.mkv")
    run = dreamreel(folder, "video", "a.mkv", "-o", "out.webm", *UNDREAMED)
    made = folder / run.out.strip()
    right = run.code == 0 and made.is_file() and len(seen(made).subtitles) == 1
    return Found(quoted(run), right and "subtitles, which are pictures" in told(run))


def squared(folder: Path, shape: str, *options: object, out: str = "out.gif") -> Found:
    """A film of pixels of that `shape`, in which a disc looks round, to `out`."""
    footage.wheel(folder, shape)
    run = dreamreel(folder, "video", "wheel.mp4", "-o", out, *options, *UNDREAMED)
    if run.code:
        return Found(quoted(run), False)
    with Image.open(folder / out) as picture:
        lit = np.asarray(picture.convert("L")) > 127
        size = f"{picture.width}x{picture.height}"
    across, down = int(lit.any(0).sum()), int(lit.any(1).sum())
    now = f"{size}; a disc is {across}x{down}; {quoted(run)}"
    return Found(now, abs(across - down) <= 2 and "square" in told(run))


# Weights, and files of another kind.


@cache
def weights() -> dict[str, torch.Tensor]:
    """Random weights of SqueezeNet."""
    torch.manual_seed(0)
    return dict(squeezenet1_1(weights=None).state_dict())


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in weights().items()}


def loaded(folder: Path, name: str, wrap: Callable[[], Any]) -> Found:
    """The weights, wrapped, in a file of that name."""
    write = save_file if name.endswith(".safetensors") else torch.save
    write(wrap(), folder / name)
    save_file(weights(), folder / "plain.safetensors")
    try:
        network = load_network("squeezenet1_1", folder / name, "cpu", "float32")
    except UserError as error:
        return Found(str(error).replace(f"{folder}/", "")[:160], False)
    plain = load_network("squeezenet1_1", folder / "plain.safetensors", "cpu", "float32")
    same = network.digest == plain.digest
    return Found("read, equal to plain weights" if same else "read as others", same)


def refused(folder: Path, words: str, command: str, name: str = "", data: bytes = b"") -> Found:
    """A command whose line of refusal must contain `words`; `data` is in the file `name`."""
    if name:
        (folder / name).write_bytes(data)
    Image.fromarray(srgb_picture()).save(folder / "p.png")
    before = {path.name for path in folder.iterdir()}
    run = dreamreel(folder, *command.split())
    clean = before == {path.name for path in folder.iterdir()} and run.err.count("\n") == 1
    return Found(quoted(run), run.code == 2 and clean and words in told(run))


PAGE = b"<!DOCTYPE html><html><body>Not found</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


# Rates, expressions and motion.


def slowly(folder: Path, out: str) -> Found:
    """A film at half a frame a second, to the same rate."""
    footage.film(folder / "s.mp4", numbers=range(4), rate=Fraction(1, 2), codec=footage.PLAIN)
    run = dreamreel(folder, "video", "s.mp4", "-o", out, "--fps", "0.5", *UNDREAMED)
    if run.code:
        return Found(quoted(run), False)
    found, frames = seen(folder / out), list(pictures(folder / out))
    now = f"{len(frames)} frames in {found.seconds:.1f} s"
    return Found(now, len(frames) == 4 and abs(found.seconds - 8) < 0.1)


def slow_zoom(folder: Path) -> Found:
    """A zoom of three frames in six seconds."""
    run = dreamreel(folder, "zoom", "-o", "z.mp4", "--seconds", 6, "--fps", 0.5, "--size", "64x48",
                    "--steps", 1, "--octaves", 1)  # fmt: skip
    if run.code:
        return Found(quoted(run), False)
    found = seen(folder / "z.mp4")
    now = f"{len(found.times)} frames in {found.seconds:.1f} s"
    return Found(now, len(found.times) == 3 and abs(found.seconds - 6) < 0.1)


def moments(count: int = 60) -> list[Moment]:
    return [Moment(frame, count, Fraction(30)) for frame in range(count)]


def computed(folder: Path, wanted: Mapping[str, Callable[[int], float]]) -> Found:
    """Expressions, against the value `wanted` of each in each of 60 frames."""
    off = 0.0
    for text, value in wanted.items():
        for moment in moments():
            try:
                off = max(off, abs(parse(text).at(moment) - float(value(moment.frame))))
            except ValueError as error:
                return Found(f"`{text}`: {error}", False)
    return Found(f"as numpy computes, within {off:.0e}", off < 1e-9)


DEFORUM = "0:(1.0025+0.002*sin(1.25*3.14*t/30))"


def per_frame(folder: Path, name: str, text: str) -> Found:
    """The motion in one frame of a camera's setting given per frame, and that of its expression."""
    try:
        settings = build(("case", {"camera": {name: f"per_frame({text})"}}))
        off = 0.0
        for moment in moments():
            second = getattr(settings_at(settings, moment).camera, name)
            frame = second ** (1 / 30) if name == "zoom" else second / 30
            off = max(off, abs(frame - parse(text).at(moment)))
    except (UserError, ValueError) as error:
        return Found(str(error)[:160], False)
    return Found(f"from frame to frame within {off:.0e}", off < 1e-9)


def hardly_moving(folder: Path) -> Found:
    """A zoom of Deforum's, given as a zoom in a second."""
    run = dreamreel(folder, "schedule", "--set", f"camera.zoom={DEFORUM}", "--seconds", 1)
    return Found(quoted(run), run.code == 0 and f"per_frame({DEFORUM})" in told(run))


FUNCTIONS: dict[str, Callable[[int], float]] = {
    "tanh(t/30) + sinh(t/60)": lambda t: np.tanh(t / 30) + np.sinh(t / 60),
    "log10(t + 1) + log1p(t) + expm1(t/60)": lambda t: (
        np.log10(t + 1) + np.log1p(t) + np.expm1(t / 60)
    ),
    "arctan2(t, 3) + t % 7": lambda t: np.arctan2(t, 3) + t % 7,
}
BITS: dict[str, Callable[[int], float]] = {
    "t & 1": lambda t: t & 1,
    "(t >> 2) ^ 5": lambda t: t >> 2 ^ 5,
}
NESTED: dict[str, Callable[[int], float]] = {
    "where(t < 20, 1, where((t & 1) == 1, 2, 3))": lambda t: 1 if t < 20 else 2 if t & 1 else 3,
    "where(t > 0, 1/t, 0)": lambda t: 1 / t if t else 0,
}

BARS = "bars as they came, bit for bit; only the picture inside is dreamed"
DARK = "mean under 2, at most under 12: where there is nothing to see, nothing is dreamed"
FADE = "nothing on frame 0; ten frames after the fade within 20 % of the unfaded dream"
THROUGH = "nothing between; the next scene has the dream that it has alone (over 0.4)"
DIP = "within 15 % of the uninterrupted dream two frames after"
STROBE = "85 % of the uninterrupted dream in each frame between"
GRAIN = "85 % of the first frame's dream in each later one"
COLOURS = "less than a level off"
MATRIX = "as a player shows it"
FITTED = "fitted into the first part's frame, with bars, and told"
COMBS = "decided picture by picture, and told"
NAME = "every name works"
COMES = "attachments come along into .mkv"
LOST = "one line says what is lost and what keeps it"
SQUARE = "pixels made square, and told"
WEIGHTS = "read by content; prefixes and wrappers come off where the rest fits"
CALLED = "one line that calls it what it is"
SLOW = "rates below 1 work"
NUMEXPR = "as numexpr computes it"
FRAMEWISE = "`per_frame(…)` takes it as it is"
ADDRESS = "one line: only files are read"


def case(before: str, right: str, check: Callable[..., Found], *given: Any, **named: Any) -> Case:
    """The case that `check` tries with what it is `given` beside the folder."""
    return Case(before, right, lambda folder: check(folder, *given, **named))


CASES = {
    "letterbox": case(
        "peaks of 160 levels in the bars, shimmering (here: 83)", BARS, barred, 0, 14
    ),
    "pillarbox": case("the same", BARS, barred, 24, 0),
    "a blue window box, with words": case(
        "dreamed all over", BARS, barred, 16, 14, (96, 32, 16), "words below"
    ),
    "bars from the middle of a film on": case("dreamed all over", BARS, barred_later),
    "a black film": case(
        "rings: mean 5.4, at most 98 on frame 0", DARK, flat, np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ),
    "a grey film": case(
        "here: mean 6.6, at most 90", DARK, flat, np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    ),
    "a clear sky": case("here: mean 6.2, at most 143", DARK, flat, sky()),
    "fade in from black": case(
        "rings on frame 0 (mean 5.4, at most 98); their motif stays", FADE, faded_in, 0
    ),
    "fade in from white": case(
        "here: ten frames after the fade 3.3, 53% of unfaded", FADE, faded_in, 255
    ),
    "through black to another scene": case(
        "the dream lives on in the dark, and the next scene wears it", THROUGH, faded_through, 0
    ),
    "through white to another scene": case("", THROUGH, faded_through, 255),
    "three black frames": case(
        "14.5 → 4.4, 3.6, 3.3 in the dark, then 6.2, 8.9, 11.2, 13.1: six frames to recover",
        DIP,
        interrupted,
        0,
        0,
    ),
    "three white frames": case("the same", DIP, interrupted, 0, 255),
    "a pale flash": case(
        "here: 6.8 → 4.1, 5.5, 6.6: 84% two frames after", DIP, interrupted, 0.3, 255
    ),
    "a white strobe": case("3.6 to 11 between the flashes", STROBE, strobed, 255, 6),
    "a black strobe": case("", STROBE, strobed, 0, 4),
    "film grain": case(
        "16.7, then 9.9, 8.7, 8.2",
        GRAIN,
        noisy,
        lambda frame, random: grain(frame, random, 23, 0.9),
    ),
    "noise": case(
        "here: 8.1, 5.7, 5.5, 5.6, at least 68%",
        GRAIN,
        noisy,
        lambda frame, random: grain(frame, random, 12, 0),
    ),
    "night noise": case("", GRAIN, noisy, night),
    "snow": case("here: 7.9, 6.6, 6.6, 6.9, at least 84%", GRAIN, noisy, snow),
    "Display P3, .jpg": case(
        "8.7 levels off on a photo: the profile was dropped, untold",
        COLOURS,
        read_as_meant,
        lambda folder: p3(folder, ".jpg"),
        1,
    ),
    "Display P3, .png": case(
        "the same; 2.5 levels off in this picture",
        COLOURS,
        read_as_meant,
        lambda folder: p3(folder, ".png"),
        1,
    ),
    "Display P3, .png of 16 bits": case(
        "the profile was dropped, untold", COLOURS, read_as_meant, deep_p3, 1
    ),
    "CMYK with a profile, .jpg": case(
        "31.4 levels off: the profile was dropped, untold",
        "less than 3 levels off",
        read_as_meant,
        inks,
        3,
    ),
    "Adobe RGB by EXIF, .jpg": case("taken for sRGB", COLOURS, read_as_meant, adobe, 1),
    "mirrored left to right": case("turned by 180°", MATRIX, shown, "-display_hflip"),
    "mirrored upside down": case("not mirrored", MATRIX, shown, "-display_vflip"),
    "mirrored and turned by 90°": case(
        "another picture: 78 levels off", MATRIX, shown, "-display_rotation", "90", "-display_vflip"
    ),
    "a part of another size, .mkv": case(
        "stretched to the first part's shape, untold", FITTED, resized, ".mkv"
    ),
    "a part of another size, .ts": case("here: a traceback", FITTED, resized, ".ts"),
    "interlaced later": case("combs from frame 25 on, untold", COMBS, interlaced, "pi"),
    "interlaced first": case("right", COMBS, interlaced, "ip"),
    "`take: one.mp4`": case("`Protocol not found`", NAME, named, "take: one.mp4"),
    "`100%d done.mp4`": case(
        "its default output was taken for a series of pictures", NAME, named, "100%d done.mp4"
    ),
    "a name with a newline": case("right", NAME, named, "a\nb.mp4"),
    "a name of 244 bytes": case("right", NAME, named, "x" * 240 + ".mp4"),
    "`-dash.mp4`": case("right", NAME, named, "-dash.mp4"),
    "a name too long for its record": case(
        "refused, in a line of the whole name", "one line, before the first frame", too_long
    ),
    "an attached note": case(
        "lost where there are no subtitles, untold", COMES, attached, "note.txt", "text/plain"
    ),
    "an attached font, a part of the film": case(
        "the same", COMES, attached, "face.ttf", "font/ttf", "--frames", "2:6"
    ),
    "styled subtitles to .mp4": case("styles and places lost, untold", LOST, styled, "out.mp4"),
    "styled subtitles to .webm": case("the same", LOST, styled, "out.webm"),
    "painted subtitles to .webm": case("right", LOST, painted),
    "pixels of 2:3 to .gif": case(
        "stored size, not square: a disc is an ellipse; untold", SQUARE, squared, "2/3"
    ),
    "pixels of 2:3 to .webp": case("the same", SQUARE, squared, "2/3", out="out.webp"),
    "pixels of 2:3 by --still": case(
        "the same", SQUARE, squared, "2/3", "--still", 0, out="out.png"
    ),
    "pixels of 8:9 to .gif": case("the same: 68x60", SQUARE, squared, "8/9"),
    "`module.` within names, .pth.tar": case(
        "refused for its ending; the prefix was not known",
        WEIGHTS,
        loaded,
        "w.pth.tar",
        lambda: {
            "state_dict": {
                key.replace("features.", "features.module."): one for key, one in weights().items()
            },
            "epoch": 3,
        },
    ),
    "`model.` before names, .ckpt": case(
        "the same",
        WEIGHTS,
        loaded,
        "w.ckpt",
        lambda: {"state_dict": prefixed("model."), "epoch": 3},
    ),
    "`_orig_mod.` before names, .bin": case(
        "the same", WEIGHTS, loaded, "w.bin", lambda: prefixed("_orig_mod.")
    ),
    "averaged weights, .PTH": case(
        "refused for its ending; the wrapper was not known",
        WEIGHTS,
        loaded,
        "w.PTH",
        lambda: {"model_ema": weights(), "model": {}},
    ),
    "`_orig_mod.module.` before names, .safetensors": case(
        "the prefixes were not known",
        WEIGHTS,
        loaded,
        "w.safetensors",
        lambda: prefixed("_orig_mod.module."),
    ),
    "a web page as weights": case(
        "torch's advice to load it unsafely",
        CALLED,
        refused,
        "a web page",
        "image p.png -o o.png --network squeezenet1_1 --weights w.pth",
        "w.pth",
        PAGE,
    ),
    "a Git LFS pointer as weights": case(
        "the same",
        CALLED,
        refused,
        "a Git LFS pointer",
        "image p.png -o o.png --network squeezenet1_1 --weights w.pth",
        "w.pth",
        POINTER,
    ),
    "a web page as a film": case(
        "no video that can be read (Invalid data found)",
        CALLED,
        refused,
        "a web page",
        "video film.mp4",
        "film.mp4",
        PAGE,
    ),
    "a HEIC photo": case(
        "the ending of the output was blamed",
        CALLED,
        refused,
        "a HEIC photo",
        "image IMG_1.HEIC",
        "IMG_1.HEIC",
        footage.heif(b"heic", b"mif1"),
    ),
    "an AVIF photo": case("right", "read, less than 3 levels off", read_as_meant, avif, 3),
    "half a frame a second": case("`--fps 0.5` refused", SLOW, slowly, "out.mp4"),
    "half a frame a second to .gif": case("the same", SLOW, slowly, "out.gif"),
    "a zoom at half a frame a second": case("the same", SLOW, slow_zoom),
    "`tanh`, `sinh`, `log10`, `log1p`, `expm1`, `arctan2`, `%`": case(
        "some were unknown", NUMEXPR, computed, FUNCTIONS
    ),
    "`t & 1`, `>>`, `^`": case("`t & 1` was constant, `>>` refused", NUMEXPR, computed, BITS),
    "`where` within `where`": case("with `t & 1` inside, another value", NUMEXPR, computed, NESTED),
    "Deforum's zoom": case("no way to give it", FRAMEWISE, per_frame, "zoom", DEFORUM),
    "Deforum's zoom without `per_frame`": case(
        "hardly moved, untold", "one line says how to give it", hardly_moving
    ),
    "Deforum's rotation": case(
        "no way to give it", FRAMEWISE, per_frame, "rotation", "0:(0.4), 30:(-0.4*cos(t/9))"
    ),
    "an https address": case(
        "`no file https:/…`, a slash eaten",
        ADDRESS,
        refused,
        "https://example.org/a/b.mp4 is an address",
        "video https://example.org/a/b.mp4",
    ),
    "a file address": case(
        "`no file file:/films/my%20cat.mp4`",
        "one line: the path alone",
        refused,
        "give the path alone: /films/my cat.mp4",
        "video file:///films/my%20cat.mp4",
    ),
}


def row(name: str, tried: Case) -> str:
    """A row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = tried.check(Path(folder))
        except UserError as error:
            found = Found(str(error), False)
        now = found.now.replace(f"{folder}/", "")
    cells = [name if found.right else f"{name} **wrong**", tried.before, now, tried.right]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def main() -> None:
    """Print what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(Both()) as printed:
        print("| case | before | now | right |")
        print("|---|---|---|---|")
        for name, tried in CASES.items():
            if arguments.only in name:
                print(row(name, tried), flush=True)
    if arguments.into is not None:
        put_into(arguments.into, printed.getvalue(), "cases")


if __name__ == "__main__":
    main()
