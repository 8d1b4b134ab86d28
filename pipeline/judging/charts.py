"""Charts: curves over time, drawn with matplotlib into picture files."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from dreamreel.pipeline.config.timeline import Curves
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.media.stills import write_new


def plot_curves(
    found: Curves, fps: Fraction, path: Path, beats: Sequence[float] = (), replace: bool = False
) -> None:
    """Draw the curves `found` over time, at `fps` frames a second, into the picture `path`. `beats`
    are times in seconds, drawn as dotted lines.

    Raises UserError where the file cannot be written, or exists and must not be replaced.
    """
    from matplotlib.figure import Figure  # not pyplot: this needs no screen

    figure = Figure(figsize=(10, 0.6 + 1.6 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, found.items(), strict=True):
        seconds = [float(frame / fps) for frame in range(len(values))]
        axes.plot(seconds, values, linewidth=1.2)
        for beat in beats:
            axes.axvline(beat, color="grey", linestyle=":", linewidth=0.6)
        axes.set_title(name, fontsize=9, loc="left")
        axes.grid(alpha=0.3)
    axes.set_xlabel("seconds")
    save_figure(figure, path, replace)


def save_figure(figure: Any, path: Path, replace: bool) -> None:
    """Write matplotlib's `figure` to `path`, whole or not at all. Raises UserError where that
    fails, or where the file exists and must not be replaced."""
    data = io.BytesIO()
    try:
        figure.savefig(data, dpi=100, format=path.suffix.lower().lstrip("."))
        write_new(path, data.getvalue(), replace)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} could not be written ({error})") from error
