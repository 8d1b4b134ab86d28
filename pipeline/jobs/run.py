"""One render: a job, run to its whole, verified file."""

from pathlib import Path

from dreamreel.pipeline.jobs.checks import Checked, check
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.report import QUIET, Report


def run(
    job: Job,
    report: Report = QUIET,
    *,
    overwrite: bool = False,
    restart: bool = False,
    reads: tuple[Path, ...] = (),
) -> Path:
    """Render `job` into its output, whose path comes back: it has another ending where the one
    asked for would not hold all of the source.

    The result may `overwrite` what is there. A render that was stopped goes on, unless it is to
    `restart`. `reads` are files that were read to make the job, none of which may be written.
    Raises UserError, before anything is written, where something given cannot work, and Stopped,
    with all frames saved, where `report` asks for it.
    """
    return _render(check(job, Target(job.output, overwrite, restart, reads), report), report)


def _render(checked: Checked, report: Report) -> Path:
    # Imported here: they bring torch, which takes seconds.
    match checked.job.kind:
        case "zoom":
            from dreamreel.pipeline.jobs.zoom import render_zoom as render
        case "still":
            from dreamreel.pipeline.jobs.still import render_still as render
        case "preview":
            from dreamreel.pipeline.jobs.video import render_preview as render
        case _:
            from dreamreel.pipeline.jobs.video import render_video as render
    return render(checked, report)
