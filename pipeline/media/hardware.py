"""Encoders in hardware: those of graphics cards and processors, where a trial shows that they work.

ffmpeg lists the encoders that it was built with, whether there is a card for them or not. So one is
taken only after it has encoded some frames here.
"""

import tempfile
from functools import cache
from pathlib import Path

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.media.ffmpeg import run_ffmpeg
from dreamreel.pipeline.opening import open_container

# By codec: ffmpeg's names for those of NVIDIA, Apple, Intel and AMD.
HARDWARE = {
    codec: tuple(f"{codec}_{kind}" for kind in ("nvenc", "videotoolbox", "qsv", "amf"))
    for codec in ("h264", "hevc", "av1")
}
TAKEN = "yuv420p"  # the pixel format that all of them take
TRIED_FRAMES, TRIED_SIZE = 12, (256, 144)  # (width, height): some cards refuse smaller ones


def find_hardware(asked: str, codec: str, pixel_format: str) -> str | None:
    """ffmpeg's name of the encoder in hardware for `asked`, a value of `output.encoder`; None for
    the one in software. "auto" takes the first that works here.

    Raises UserError where an encoder is asked for by name that is not for this `codec` and
    `pixel_format`, or does not work here.
    """
    if asked == "software":
        return None
    named = HARDWARE.get(codec, ()) if pixel_format == TAKEN else ()
    if asked == "auto":
        return next((name for name in named if works(name)), None)
    if asked not in named:
        fitting = f"{', '.join(named)}, auto and software do" if named else "software does"
        raise UserError(f"{asked} does not encode {codec} in {pixel_format}: {fitting}")
    if not works(asked):
        raise UserError(f"{asked} does not work on this machine; --encoder auto or software does")
    return asked


@cache
def works(encoder: str) -> bool:
    """Whether ffmpeg's `encoder` encodes some frames here, which can be read."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "trial.mp4"
        size = f"{TRIED_SIZE[0]}x{TRIED_SIZE[1]}"
        made = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=24"]
        coded = ["-frames:v", str(TRIED_FRAMES), "-c:v", encoder, *quality_of(encoder, 20)]
        if run_ffmpeg([*made, *coded, "-pix_fmt", TAKEN, str(out)]) is not None:
            return False
        with open_container(out) as container:
            return sum(1 for _ in container.decode(video=0)) == TRIED_FRAMES


def quality_of(encoder: str, crf: int) -> list[str]:
    """The options for a constant quality of about that of x264's `crf`."""
    match encoder.rpartition("_")[2]:
        case "nvenc":
            return ["-rc", "vbr", "-cq", str(crf), "-b:v", "0", "-preset", "p5"]
        case "videotoolbox":  # from 1 to 100, where more is better
            return ["-q:v", str(max(1, 100 - 2 * crf))]
        case "qsv":
            return ["-global_quality", str(max(1, crf))]
        case _:
            return ["-rc", "cqp", "-qp_i", str(crf), "-qp_p", str(crf)]
