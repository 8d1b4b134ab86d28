"""A picture of a benchmark: where the time of a frame goes, and what it costs at each size."""

import statistics
from pathlib import Path
from typing import Any

from dreamreel.pipeline.judging.bench.figures import Figures
from dreamreel.pipeline.judging.charts import save_figure
from dreamreel.pipeline.stages import STAGES


def plot_figures(figures: Figures, path: Path, replace: bool) -> None:
    """Draw `figures` into the picture `path`. Raises UserError where that fails, or where the file
    exists and must not be replaced."""
    from matplotlib.figure import Figure  # not pyplot: this needs no screen

    sizes = sizes_of(figures)
    figure = Figure(figsize=(11, 3.4 + 0.4 * len(sizes)), layout="constrained")
    stages, memory, rates = figure.subplots(1, 3, width_ratios=(2.2, 1, 1))
    _draw_stages(stages, figures, sizes)
    _draw_memory(memory, figures, sizes)
    _draw_rates(rates, figures)
    device = figures.machine.get("processor", "")
    figure.suptitle(f"dreamreel bench: {figures.machine.get('network', '')}, {device}", fontsize=10)
    save_figure(figure, path, replace)


def sizes_of(figures: Figures) -> list[str]:
    """The names of the sizes of films in `figures`, such as 640x360."""
    return [name.split()[0] for name in figures.values if name.endswith(" frame_ms")]


def _draw_stages(axes: Any, figures: Figures, sizes: list[str]) -> None:
    """Bars of the time of each stage, as a share of the frame's."""
    for row, size in enumerate(sizes):
        whole, left = figures.median(f"{size} frame_ms"), 0.0
        for number, stage in enumerate(STAGES):
            name = f"{size} {stage}_ms"
            if name not in figures.values:
                continue
            share = figures.median(name) / whole
            axes.barh(row, share, left=left, color=f"C{number}", label=stage if row == 0 else None)
            left += share
        axes.text(left, row, f" {whole:.0f} ms", va="center", fontsize=8)
    axes.set_yticks(range(len(sizes)), sizes, fontsize=8)
    axes.set_title("stages, over a frame's time", fontsize=9, loc="left")
    axes.axvline(1, color="grey", linewidth=0.6, linestyle=":")
    axes.set_ylim(-0.8, len(sizes) - 0.2)
    axes.margins(x=0.2)
    if sizes:
        _legend_below(axes, 4)


def _draw_memory(axes: Any, figures: Figures, sizes: list[str]) -> None:
    for offset, (kind, told) in enumerate((("peak_mib", "measured"), ("estimated_mib", "told"))):
        found = [figures.median(f"{size} {kind}") / 1024 for size in sizes]
        rows = [row + 0.4 * offset - 0.2 for row in range(len(sizes))]
        axes.barh(rows, found, 0.38, label=told)
    axes.set_yticks(range(len(sizes)), sizes, fontsize=8)
    axes.set_ylim(-0.8, len(sizes) - 0.2)
    axes.set_title("peak memory, GiB", fontsize=9, loc="left")
    if sizes:
        _legend_below(axes, 2)


def _draw_rates(axes: Any, figures: Figures) -> None:
    pairs = [
        ("plain evaluation", "plain_evaluation_ms"),
        ("evaluation", "evaluation_ms"),
        ("plain frame", "plain_frame_ms"),
    ]
    found = [(told, figures.values[name]) for told, name in pairs if name in figures.values]
    found += [
        (f"frame {size}", figures.values[f"{size} frame_ms"]) for size in sizes_of(figures)[:1]
    ]
    for row, (_, values) in enumerate(found):
        median = statistics.median(values)
        spread = [[median - min(values)], [max(values) - median]]
        axes.barh(row, median, xerr=spread, color="C7")
        axes.text(median, row, f" {median:.0f}", va="center", fontsize=8)
    axes.set_yticks(range(len(found)), [told for told, _ in found], fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.3)
    axes.set_title("ms, against the plain way", fontsize=9, loc="left")


def _legend_below(axes: Any, columns: int) -> None:
    axes.legend(fontsize=7, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.12))
