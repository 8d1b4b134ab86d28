"""Make the pictures of the ways to dream, and those of looks of other networks.

    python samples/make_ways.py
    python samples/make_ways.py --weights FOLDER

Each way is one command of `dreamreel`, run as README has it, on the samples; its picture is
`samples/ways/NAME.jpg`. With FOLDER, which holds bvlc_googlenet.safetensors,
inception_v3_2015.safetensors and squeezenet1_1.safetensors, it writes `gallery/networks.jpg`
instead: looks of these networks on one picture.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
WAYS = HERE / "ways"
WIDTH, QUALITY = 240, 72  # pixels and JPEG quality of a picture on a page
CLOUDS, PETALS = str(HERE / "clouds.jpg"), str(HERE / "petals.jpg")
# The arguments of each way but its output, by the name of its picture.
COMMANDS = {
    "layer": ("image", CLOUDS, "--layers", "parts"),
    "octaves": ("image", CLOUDS, "--layers", "parts", "--octaves", "2"),
    "guide": ("image", CLOUDS, "--guide", PETALS),
    "sum": ("image", CLOUDS, "--layers", "0.2*textures + 3*creatures + 1.5*objects"),
    "cnn-vis": ("image", CLOUDS, "--layers", "cnn_vis:creatures", "--set", "dream.tile=512"),
    "channels": ("image", CLOUDS, "--layers", "creatures:strongest(4)"),
    "away": ("image", CLOUDS, "--layers", "parts - 0.7*textures - 0.5*tv"),
    "broad": ("image", CLOUDS, "--set", "dream.frequency=1"),
    "class": ("image", CLOUDS, "--class", "castle"),
}
LOOKS = {
    "puppies": "bvlc_googlenet.safetensors",
    "whirls": "bvlc_googlenet.safetensors",
    "peacock": "inception_v3_2015.safetensors",
    "aquarium": "squeezenet1_1.safetensors",
}


def dreamreel(*arguments: object) -> None:
    """Run the command line as a user does."""
    command = [sys.executable, "-m", "dreamreel.cli", *map(str, arguments), "--overwrite"]
    subprocess.run([*command, "--quiet"], check=True)


def shrunk(path: Path, width: int) -> np.ndarray:
    """The picture at `path`, shrunk to `width` pixels."""
    picture = cv2.imread(str(path))
    size = (width, round(picture.shape[0] * width / picture.shape[1]))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def make_ways(folder: Path) -> None:
    """Write the picture of each way."""
    WAYS.mkdir(exist_ok=True)
    for name, arguments in COMMANDS.items():
        out = folder / f"{name}.png"
        dreamreel(*arguments, "-o", out, "--width", 480)
        picture = shrunk(out, WIDTH)
        cv2.imwrite(str(WAYS / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def make_looks(folder: Path, weights: Path) -> None:
    """Write `gallery/networks.jpg`."""
    cells = []
    for name, file in LOOKS.items():
        out = folder / f"{name}.png"
        dreamreel("image", CLOUDS, "-o", out, "--width", 480, "--preset", name,
                  "--weights", weights / file)  # fmt: skip
        cell = shrunk(out, 400)
        cv2.putText(cell, name, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(cell, name, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,) * 3, 1, cv2.LINE_AA)
        cells.append(cell)
    sheet = np.vstack([np.hstack(cells[:2]), np.hstack(cells[2:])])
    path = HERE / "gallery" / "networks.jpg"
    cv2.imwrite(str(path), sheet, [cv2.IMWRITE_JPEG_QUALITY, 70])


def main() -> None:
    """Make the pictures that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path)
    weights = parser.parse_args().weights
    with tempfile.TemporaryDirectory() as folder:
        if weights is None:
            make_ways(Path(folder))
        else:
            make_looks(Path(folder), weights)


if __name__ == "__main__":
    main()
