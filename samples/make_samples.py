"""Draw the sample clips, pictures and sound from random numbers with fixed seeds.

    python samples/make_samples.py

Writes beside this file: `clouds.mp4` (6 s of drifting clouds over a ridge, a cut, and a lake at
evening, with a stereo sound track), `clouds.jpg` and `lake.jpg` (a frame of each, larger),
`petals.jpg` (a bed of flowers), `small.mp4` (24 odd-sized frames of the clip, for tests) and
`beat.m4a` (8 s of drums and bass). All numbers that shape the scenes and sounds were chosen by eye
and ear.
"""

import subprocess
import tempfile
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.media.encoding import TO_BT709
from dreamreel.pipeline.media.ffmpeg import ffmpeg

HERE = Path(__file__).resolve().parent
RATE = Fraction(30000, 1001)
SECONDS = 6  # length of the clip
CUT = 3.6  # seconds into the clip
SOUND_RATE = 48000  # samples per second, usual for video

Field = NDArray[np.float32]


def tileable_noise(seed: int, size: int = 512, slope: float = 1.8) -> Field:
    """Noise (size, size) that repeats without a seam. Its amplitude falls as 1/f^slope; its mean is
    0, its standard deviation 1."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    frequency[0, 0] = 1
    spectrum = random.standard_normal(frequency.shape) + 1j * random.standard_normal(
        frequency.shape
    )
    spectrum *= frequency**-slope
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (size, size))
    return (noise / noise.std()).astype(np.float32)


def skyline(seed: int, size: int = 512, slope: float = 1.45) -> Field:
    """Heights (size,) of a line of peaks that repeats: about -1 in valleys to 2 on summits."""
    random = np.random.default_rng(seed)
    frequency = np.arange(size // 2 + 1, dtype=float)
    frequency[0] = 1
    spectrum = random.standard_normal((2, frequency.size)) * frequency**-slope
    spectrum[:, :2] = 0
    line = np.fft.irfft(spectrum[0] + 1j * spectrum[1], size)
    line = -np.abs(line / line.std())  # folding makes summits sharp and valleys round
    return ((line - line.mean()) / line.std()).astype(np.float32)


def look_up(noise: Field, x: Field, y: Field) -> Field:
    """The values of `noise`, which repeats, at (x, y) in its pixels."""
    size = noise.shape[0]
    wrapped = np.pad(noise, ((0, 1), (0, 1)), mode="wrap")
    return cv2.remap(
        wrapped, np.float32(np.mod(x, size)), np.float32(np.mod(y, size)), cv2.INTER_LINEAR
    )


def smoothstep(low: float, high: float, value: Field) -> Field:
    """0 where `value` is below `low`, 1 above `high`, smooth between."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def colour(red: int, green: int, blue: int) -> Field:
    """The BGR colour in [0, 1] of RGB values from 0 to 255."""
    return np.float32([blue, green, red]) / 255


def mix(first: Field, second: Field, share: Field) -> Field:
    """`first` mixed with `second`, both (..., 3); `share` (...) is the part of `second`."""
    return first + (second - first) * share[..., None]


@dataclass(frozen=True)
class View:
    """The place at which each pixel looks: `x` to the right and `y` down, in frame heights. The
    middle of the frame looks at x = `centre`."""

    x: Field
    y: Field
    centre: float


def view(width: int, height: int, pan: float, zoom: float) -> View:
    """The view of a camera that has panned by `pan` frame heights and come `zoom` times nearer."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x = (x - width / 2) / height / zoom + pan
    y = (y - height / 2) / height / zoom + 0.5
    return View(x.astype(np.float32), y.astype(np.float32), pan)


BIG, FINE, WARP_X, WARP_Y = (
    tileable_noise(seed, slope=slope) for seed, slope in ((1, 2.0), (2, 1.5), (3, 2.2), (4, 2.2))
)
ROCK, GRASS = tileable_noise(5, slope=1.3), tileable_noise(6, slope=0.8)
PEAKS, HILLS, MEADOW, SHORE = (
    skyline(seed, slope=slope) for seed, slope in ((7, 1.35), (8, 1.5), (9, 1.9), (10, 1.6))
)


def clouds(at: View, time: float, cover: float) -> tuple[Field, Field]:
    """The thickness and the brightness of the clouds, 0 to 1, at `time` in seconds.

    Coarse and fine noise drift at two speeds, displaced by two more noises, so that clouds billow.
    """
    depth = 1 / np.clip(1.15 - at.y, 0.25, 2)  # lower clouds lie further away
    x = (at.x - at.centre) * 120 * depth + at.centre * 120 + time * 7
    y = at.y * 300
    bend_x = look_up(WARP_X, x * 0.6 + time * 5, y * 0.6) * 14
    bend_y = look_up(WARP_Y, x * 0.6, y * 0.6 - time * 6) * 14

    def density(dx: float, dy: float) -> Field:
        big = look_up(BIG, x + bend_x + dx, y + bend_y + dy)
        fine = look_up(FINE, (x + bend_x + dx) * 2.3 - time * 4, (y + bend_y + dy) * 2.3)
        return big + 0.42 * fine

    here, towards_light = density(0, 0), density(-7, -9)
    thick = smoothstep(cover, cover + 1.1, here)
    lit = np.clip(0.62 + 0.45 * (here - towards_light), 0, 1)
    return thick, lit


def ridge(
    at: View, line: Field, base: float, height: float, scale: float, parallax: float
) -> Field:
    """How far below the skyline `line` each pixel lies, in frame heights."""
    places = np.mod(at.x * scale * parallax + 40, line.size)
    skyline = base - height * np.interp(places, np.arange(line.size + 1), np.append(line, line[0]))
    return (at.y - skyline).astype(np.float32)


def mountains(width: int, height: int, time: float) -> Field:
    """The first scene: clouds over a ridge and meadows, from a slowly moving camera."""
    at = view(width, height, pan=0.045 * time, zoom=1 + 0.012 * time)
    sky = mix(colour(44, 98, 178), colour(176, 208, 232), smoothstep(-0.1, 0.75, at.y))
    thick, lit = clouds(at, time, cover=-0.05)
    shade = mix(colour(122, 134, 158), colour(255, 251, 243), lit)
    picture = mix(sky, shade, thick * smoothstep(0.85, 0.55, at.y) * 0.97)
    layers = (
        (PEAKS, 0.62, 0.075, 150, 0.6, (92, 116, 152), (222, 230, 240), 0.45),
        (HILLS, 0.76, 0.040, 110, 0.8, (52, 74, 70), (132, 146, 120), 0.60),
        (MEADOW, 0.87, 0.022, 70, 1.0, (44, 70, 34), (140, 154, 84), 0.80),
    )
    for line, base, rise, scale, parallax, dark, light, contrast in layers:
        below = ridge(at, line, base, rise, scale, parallax)
        slope = look_up(ROCK, at.x * 300 * parallax, at.y * 420 + 90 * parallax)
        steep = look_up(ROCK, at.x * 300 * parallax - 3, at.y * 420 + 90 * parallax - 2)
        lit_rock = np.clip(0.5 + contrast * (slope - steep) * 1.3 + 0.12 * slope, 0, 1)
        land = mix(colour(*dark), colour(*light), lit_rock)
        picture = mix(picture, land, smoothstep(-0.002, 0.002, below))
    return picture


def lake(width: int, height: int, time: float) -> Field:
    """The second scene: evening clouds mirrored in a lake, with reeds in front."""
    at = view(width, height, pan=3 - 0.03 * time, zoom=1.06 - 0.008 * time)
    shore = 0.56
    ripple = look_up(GRASS, at.x * 90, at.y * 900 - time * 30) * np.clip(at.y - shore, 0, 1) * 0.05
    mirrored = View(
        at.x + ripple, np.where(at.y > shore, 2 * shore - at.y + ripple, at.y), at.centre
    )
    sky = mix(colour(70, 62, 110), colour(255, 190, 120), smoothstep(-0.05, 0.56, mirrored.y))
    thick, lit = clouds(mirrored, time + 20, cover=0.1)
    picture = mix(sky, mix(colour(92, 66, 96), colour(255, 214, 170), lit), thick * 0.9)
    hills = ridge(mirrored, SHORE, 0.535, 0.022, 110, 0.7)
    grain = look_up(ROCK, at.x * 260, mirrored.y * 400)
    wood = mix(colour(34, 32, 44), colour(88, 66, 66), np.clip(0.4 + 0.3 * grain, 0, 1))
    picture = mix(picture, wood, smoothstep(-0.002, 0.002, hills))
    picture = np.where((at.y > shore)[..., None], picture * np.float32([0.86, 0.82, 0.8]), picture)
    sparkle = look_up(FINE, at.x * 160, at.y * 1500 - time * 60)
    glint = smoothstep(1.6, 2.6, sparkle) * smoothstep(shore, shore + 0.25, at.y) * 0.35
    picture = mix(picture, colour(255, 224, 180), glint)
    sway = 0.012 * np.sin(1.7 * time + 5 * at.x) * np.clip(1 - at.y, 0, 1)
    blades = look_up(GRASS, (at.x + sway) * 420, at.y * 14)
    reach = 0.86 - 0.05 * look_up(BIG, at.x * 60, np.zeros_like(at.x))
    reeds = smoothstep(-0.4, 0.1, blades + 9 * (at.y - reach))
    green = mix(colour(28, 30, 22), colour(112, 104, 54), np.clip(0.5 + 0.4 * blades, 0, 1))
    return mix(picture, green, reeds)


def frame_at(width: int, height: int, time: float) -> NDArray[np.uint8]:
    """The frame of the clip at `time` seconds: (height, width, 3) uint8 BGR, with a vignette."""
    picture = mountains(width, height, time) if time < CUT else lake(width, height, time - CUT)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    picture *= (1 - 0.16 * (x * x + y * y) ** 2)[..., None].astype(np.float32)
    return np.uint8(np.clip(picture * 255 + 0.5, 0, 255))


def petals(width: int, height: int, seed: int = 11) -> NDArray[np.uint8]:
    """A bed of flowers from above, (height, width, 3) uint8 BGR: deeper ones smaller, darker."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    leaves = look_up(ROCK, x * 400, y * 400) + 0.6 * look_up(GRASS, x * 900, y * 500)
    picture = mix(colour(14, 40, 22), colour(70, 120, 40), np.clip(0.45 + 0.25 * leaves, 0, 1))
    dyes = [(232, 70, 92), (250, 176, 60), (244, 240, 230), (150, 90, 210), (240, 130, 180)]
    for depth in np.linspace(0, 1, 150):
        at = random.uniform((0, 0), (width / height, 1))
        radius, count = 0.03 + 0.11 * depth * random.uniform(0.5, 1), int(random.integers(5, 13))
        dye = colour(*dyes[random.integers(len(dyes))])
        far = np.hypot(x - at[0], y - at[1]) / radius
        angle = np.arctan2(y - at[1], x - at[0]) * count / 2 + random.uniform(0, 6)
        fold = np.abs(np.cos(angle))
        shape = smoothstep(0.03 / radius / 8, 0, far - 0.5 - 0.5 * fold**0.7)
        shade = np.clip(0.35 + 0.5 * depth, 0, 1) * (0.45 + 0.35 * far + 0.3 * fold)
        shade *= 0.92 + 0.1 * look_up(FINE, x * 900, y * 900)
        shadow = smoothstep(1.25, 0.8, np.hypot(x - at[0] - 0.01, y - at[1] - 0.02) / radius)
        picture = mix(picture, picture * 0.45, shadow * (1 - shape) * 0.8)
        picture = mix(picture, dye * np.clip(shade, 0, 1.15)[..., None], shape)
        heart = smoothstep(0.27, 0.2, far)
        grain = np.clip(0.55 + 0.3 * look_up(GRASS, x * 3000, y * 3000), 0, 1)
        yolk = mix(colour(120, 60, 10), colour(250, 210, 60), grain)
        picture = mix(picture, yolk * (0.4 + 0.6 * depth), heart)
    return np.uint8(np.clip(picture * 255 + 0.5, 0, 255))


def beat(seconds: float = 8, tempo: float = 120) -> NDArray[np.int16]:
    """Drums and a bass at `tempo` beats per minute: (samples, 2)."""
    random = np.random.default_rng(5)
    time = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    step = 60 / tempo
    since = np.mod(time, step)
    kick = np.sin(2 * np.pi * (45 * since + 9 * (1 - np.exp(-30 * since)))) * np.exp(-9 * since)
    off = np.mod(time + step / 2, step)
    hat = np.diff(random.standard_normal(time.size + 1)) * np.exp(-60 * off) * 0.16
    back = np.mod(time + step, 2 * step)
    snare = random.standard_normal(time.size) * np.exp(-22 * back) * 0.25
    notes = np.float64([55, 55, 65.4, 49])[np.int64(time / (4 * step)) % 4]
    gate = np.exp(-3 * np.mod(time, step / 2))
    bass = np.tanh(3 * np.sin(2 * np.pi * notes * time)) * gate * 0.3
    left, right = 0.8 * kick + bass + snare + hat, 0.8 * kick + bass + snare + 0.6 * hat
    both = np.stack([left, right], 1) * 0.6
    return np.int16(np.clip(both, -1, 1) * 32767)


def write_sound(path: Path, samples: NDArray[np.int16]) -> None:
    """Write `samples` (N, 2) as AAC into the file `path`."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "sound.wav"
        with wave.open(str(plain), "wb") as file:
            file.setparams((2, 2, SOUND_RATE, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
        command = [ffmpeg(), "-v", "error", "-nostdin", "-y", "-i", str(plain)]
        subprocess.run([*command, "-c:a", "aac", "-b:a", "96k", str(path)], check=True)


def sound(seconds: float) -> NDArray[np.int16]:
    """Wind that swells and fades, with a few slow notes: (samples, 2)."""
    random = np.random.default_rng(11)
    samples = round(seconds * SOUND_RATE)
    time = np.arange(samples) / SOUND_RATE
    wind = np.cumsum(random.standard_normal((samples, 2)), 0)
    wind -= np.apply_along_axis(lambda w: np.convolve(w, np.ones(2400) / 2400, "same"), 0, wind)
    wind *= (0.05 + 0.03 * np.sin(2 * np.pi * 0.21 * time))[:, None] / wind.std()
    notes = np.zeros((samples, 2))
    for start, pitch, side in (
        (0.2, 220.0, 0.3),
        (1.6, 329.63, 0.7),
        (CUT, 196.0, 0.5),
        (4.7, 293.66, 0.35),
    ):
        since = np.clip(time - start, 0, None)
        envelope = np.where(time > start, (1 - np.exp(-since * 12)) * np.exp(-since * 1.1), 0)
        tone = sum(np.sin(2 * np.pi * pitch * k * since) / k**2 for k in (1, 2, 3))
        notes += 0.16 * (envelope * tone)[:, None] * np.array([1 - side, side])
    fade = np.clip(np.minimum(time, seconds - time) * 4, 0, 1)[:, None]
    return np.int16(np.clip((wind + notes) * fade, -1, 1) * 32767)


def write_clip(path: Path, size: tuple[int, int], frames: int, crf: int) -> None:
    """Encode the first `frames` of the clip, with its sound, at any `size` (width, height)."""
    width, height = size
    seconds = float(frames / RATE)
    odd = width % 2 or height % 2
    with tempfile.TemporaryDirectory() as folder:
        with wave.open(f"{folder}/sound.wav", "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(SOUND_RATE)
            file.writeframes(sound(seconds).tobytes())
        command = [
            *(ffmpeg(), "-v", "error", "-nostdin", "-y"),
            *("-f", "rawvideo", "-pixel_format", "bgr24", "-video_size", f"{width}x{height}"),
            *("-framerate", f"{RATE.numerator}/{RATE.denominator}", "-i", "pipe:0"),
            *("-i", f"{folder}/sound.wav", "-vf", TO_BT709),
            *("-c:v", "libx264", "-preset", "slow", "-crf", str(crf), "-threads", "1"),
            *("-pix_fmt", "yuv444p" if odd else "yuv420p", "-c:a", "aac", "-b:a", "96k"),
            *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"),
            *("-movflags", "+faststart", "-shortest", str(path)),
        ]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert process.stdin is not None
        with process.stdin as pipe:
            for number in range(frames):
                pipe.write(frame_at(width, height, float(number / RATE)).tobytes())
        if process.wait() != 0:
            raise SystemExit(f"ffmpeg could not write {path}")


def main() -> None:
    """Make all samples."""
    write_clip(HERE / "clouds.mp4", (640, 360), round(SECONDS * RATE), crf=22)
    write_clip(HERE / "small.mp4", (161, 91), 24, crf=22)
    stills = {
        "clouds": frame_at(960, 540, 1.0),
        "lake": frame_at(960, 540, 4.4),
        "petals": petals(960, 540),
    }
    for name, picture in stills.items():
        cv2.imwrite(str(HERE / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    write_sound(HERE / "beat.m4a", beat())


if __name__ == "__main__":
    main()
