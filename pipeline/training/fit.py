"""Training: pictures become a network file. Pictures in class folders teach their classes; or
another network teaches, in place of labels, what it feels in any pictures.

AdamW with a short warm-up and a cosine, as for dreamnet itself.
"""

from pathlib import Path

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.training.batches import Crops
from dreamreel.pipeline.training.course import Course, check_course
from dreamreel.pipeline.training.distill import begin_distilling
from dreamreel.pipeline.training.keeping import own_folder
from dreamreel.pipeline.training.labelled import Labelled
from dreamreel.pipeline.training.lesson import Lesson
from dreamreel.pipeline.training.pictures import read_pictures
from dreamreel.pipeline.training.showing import plot_losses
from dreamreel.pipeline.training.student import network_file


def train(course: Course, report: Report = QUIET, *, overwrite: bool = False,
          restart: bool = False) -> Path:  # fmt: skip
    """Train as `course` says, or go on with a training that was stopped. Returns the network file.

    Raises UserError where the pictures, the network or the output cannot be used, and Stopped where
    `report` asks for it, with the state on disk.
    """
    check_course(course)
    if course.output.exists() and not overwrite:
        raise UserError(f"{course.output} exists; --overwrite replaces it")
    lesson = _begun(course, report)
    course, aim = lesson.course, lesson.aim
    with own_folder(course):
        if restart:
            course.state.unlink(missing_ok=True)
        at = lesson.run()
        data = network_file(aim.student, at.best, aim.classes, lesson.made(at))
        with usable(course.output):
            write_whole(course.output, lambda file: file.write(data))
        curve = plot_losses(course, at, aim.plotted, aim.plotted_as)
        report.on_notice(f"the losses are drawn in {curve}")
        course.state.unlink(missing_ok=True)
    return course.output


def _begun(course: Course, report: Report) -> Lesson:
    """The lesson that `course` asks for."""
    if course.distill_from is not None:
        return begin_distilling(course, report)
    pictures = read_pictures(course.folder, course.side, course.seed, report.on_notice)
    crops = Crops(pictures, course.side, course.seed)
    return Lesson(course, pictures, crops, Labelled(course, pictures), report)
