"""`run`: one render, from its job to a verified file."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from dreamreel.pipeline.errors import PassingError
from dreamreel.pipeline.jobs.checks import Checked, check
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.memory import is_out_of_memory


def run(
    job: Job,
    report: Report = QUIET,
    *,
    overwrite: bool = False,
    restart: bool = False,
    reads: tuple[Path, ...] = (),
    notice: str | None = None,
    chosen: Collection[str] = (),
) -> Path:
    """Render `job` into its output, and return the path of the output. Its suffix differs from the
    job's if the job's container could not hold the source's subtitles.

    With `overwrite`, the output may replace an existing file. An unfinished render is resumed, or
    discarded with `restart`. `reads` are files that were read to make the job, so that none of them
    is written. `notice` is a line about the job, which `report` gets if it can work. `chosen` are
    the settings that the user gave, rather than a look: if they cannot have their whole effect,
    `report` gets a notice.

    Raises UserError if the job cannot work, if possible before anything is written, and Stopped,
    with all frames saved, if `report` asks to stop.
    """
    try:
        checked = check(job, Target(job.output, overwrite, restart, reads), report)
        if notice is not None:
            report.on_notice(notice)
        return _render(replace(checked, chosen=frozenset(chosen)), report)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise PassingError(
            f"memory ran out for {job.output}; a smaller --width would work, or fewer jobs at once"
        ) from error


def _render(checked: Checked, report: Report) -> Path:
    # Imported here because they import torch, which takes seconds.
    match checked.job.kind:
        case "video" if checked.job.piece is not None:
            from dreamreel.pipeline.jobs.shots import render_piece as render
        case "zoom":
            from dreamreel.pipeline.jobs.zoom import render_zoom as render
        case "still":
            from dreamreel.pipeline.jobs.still import render_still as render
        case "preview":
            from dreamreel.pipeline.jobs.video import render_preview as render
        case _:
            from dreamreel.pipeline.jobs.video import render_video as render
    return render(checked, report)
