"""Charts: figures and curves over time, drawn into pictures."""

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
    """Draw the values `found` over time into the picture `path`; dotted lines are `beats`.

    Raises UserError where it cannot be written, or is there already and not to be `replace`d.
    """
    from matplotlib.figure import Figure  # without a screen

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
    cannot be, or there is a file by now that it is not to `replace`."""
    data = io.BytesIO()
    try:
        figure.savefig(data, dpi=100, format=path.suffix.lower().lstrip("."))
        write_new(path, data.getvalue(), replace)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} could not be written ({error})") from error
