"""Make the pictures of the commands that explore.

    python samples/make_explorers.py [NAME]...

Each is what one command of `dreamreel` makes of the samples, run as README has it but for sizes;
its picture is `samples/explorers/NAME.jpg`, or `.webp` where it moves. Those named `shapes` take
ten minutes more, for the network that dreams them:

    python samples/make_shapes.py shapes
    dreamreel train shapes --minutes 10 -o shapes.safetensors
    python samples/make_explorers.py --network shapes.safetensors shapes shapes-photo
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
from PIL import Image

HERE = Path(__file__).resolve().parent
EXPLORERS = HERE / "explorers"
WIDTH, LARGEST = 640, 60_000  # pixels and bytes of a picture on a page
QUALITIES = (80, 70, 60, 50, 40, 30, 20)  # of JPEG and WebP: the first that is small enough
CLOUDS = str(HERE / "clouds.jpg")
PHOTOS = "PHOTOS"  # in a command: a folder with the samples that are photos
# The arguments of each command but its output, by the name of its picture, with its ending.
COMMANDS = {
    "layers": (".png", "sweep", CLOUDS, "--over", "layers=stem,textures,parts,objects",
               "--width", "300"),
    "steps": (".png", "sweep", CLOUDS, "--over", "dream.steps=5,20,80", "--width", "300"),
    "step-sizes": (".png", "sweep", CLOUDS, "--over", "dream.step_size=0.5,1.5,4",
                   "--width", "300"),
    "tour": (".mp4", "tour", CLOUDS, "--layers", "stem,textures,parts,creatures,objects",
             "--width", "200", "--fps", "8", "--seconds", "8"),
    "filters": (".png", "visualize", "dreamnet", "textures:3+40-42", "--photos", PHOTOS),
    "activations": (".mp4", "activations", str(HERE / "clouds.mp4"), "parts", "--width", "240",
                    "--frames", "0:2"),
}  # fmt: skip
SHAPES = "class=circle,crescent,cross,heart,ring,square,star,triangle"
OF_SHAPES = {
    "shapes": (".png", "sweep", "noise", "--over", SHAPES, "--over", "seed=0,1",
               "--size", "160x160"),
    "shapes-photo": (".png", "sweep", CLOUDS, "--over", SHAPES, "--width", "240",
                     "--strength", "1.5"),
}  # fmt: skip
STILL = ("activations",)  # films of which one frame is shown


def dreamreel(*arguments: object) -> None:
    """Run the command line as a user does."""
    command = [sys.executable, "-m", "dreamreel.cli", *map(str, arguments), "--overwrite"]
    subprocess.run([*command, "--quiet"], check=True)


def frames_of(film: Path) -> list[Image.Image]:
    """The frames of `film`."""
    found, reader = [], cv2.VideoCapture(str(film))
    while (read := reader.read())[0]:
        found.append(Image.fromarray(read[1][..., ::-1].copy()))
    return found


def save(frames: list[Image.Image], name: str) -> None:
    """Write `frames`, one or a moving picture of 8 a second, as the picture of `name`."""
    shown = [one if one.width <= WIDTH else
             one.resize((WIDTH, round(one.height * WIDTH / one.width)), Image.Resampling.LANCZOS)
             for one in frames]  # fmt: skip
    moves = len(shown) > 1
    path = EXPLORERS / f"{name}{'.webp' if moves else '.jpg'}"
    more = {"save_all": True, "append_images": shown[1:], "duration": 125, "loop": 0}
    for quality in QUALITIES:
        shown[0].convert("RGB").save(path, quality=quality, **(more if moves else {}))
        if path.stat().st_size <= LARGEST:
            return
    raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {LARGEST}")


def main() -> None:
    """Make the pictures that the arguments name, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *COMMANDS, *OF_SHAPES])
    parser.add_argument("--network", type=Path, help="a network that dreams shapes")
    given = parser.parse_args()
    EXPLORERS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for photo in ("clouds.jpg", "lake.jpg", "petals.jpg"):
            shutil.copy(HERE / photo, photos)
        for name in given.names or COMMANDS:
            ending, *arguments = (COMMANDS | OF_SHAPES)[name]
            if name in OF_SHAPES:
                arguments += ["--network", str(given.network)]
            out = Path(folder) / f"{name}{ending}"
            dreamreel(*(photos if one == PHOTOS else one for one in arguments), "-o", out)
            if ending == ".png":
                with Image.open(out) as sheet:
                    save([sheet.convert("RGB")], name)
            else:
                frames = frames_of(out)
                save(frames[:1] if name in STILL else frames, name)


if __name__ == "__main__":
    main()
