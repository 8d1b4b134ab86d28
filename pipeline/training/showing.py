"""What a training shows: the dream of a class after each epoch, and the curve of its losses."""

from pathlib import Path

import torch

from dreamreel.pipeline.config.fields import Dream, Imagine, Settings
from dreamreel.pipeline.dreaming.imagining import imagine
from dreamreel.pipeline.judging.charts import save_figure
from dreamreel.pipeline.media.stills import Picture, save_picture
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.training.course import Course
from dreamreel.pipeline.training.keeping import Progressed
from dreamreel.pipeline.training.student import Student

CLASSES = 4  # that a picture shows, side by side: the first ones, so that epochs can be compared
STEPS, VIEWS = 24, 2  # of a picture: seconds, where a class is in full after 150 and with 4
LARGEST = 160  # pixels of its side, at most


def show_epoch(student: Student, classes: int, at: Progressed, precision: torch.dtype,
               path: Path) -> None:  # fmt: skip
    """Write what the first classes of `student` look like in its dreams to the picture `path`."""
    weights = {name: one.detach().clone() for name, one in student.module.state_dict().items()}
    device = student.normalise.get_buffer("scale").device
    network = assemble(student.architecture, weights, device, precision)
    side = min(LARGEST, student.architecture.side or LARGEST)
    how = Imagine(steps=STEPS, views=VIEWS)
    shown = [Dream(terms={f"class:{one}": 1.0}) for one in range(min(CLASSES, classes))]
    images = [imagine((side, side), network, Settings(dream=dream, imagine=how)) for dream in shown]
    save_picture(path, Picture(torch.cat(images, 3).cpu()), replace=True)


def plot_losses(course: Course, at: Progressed) -> Path:
    """Draw the losses and the accuracy of all epochs into a picture beside the output. Returns its
    path."""
    from matplotlib.figure import Figure  # not pyplot: this needs no screen

    epochs = range(1, len(at.history) + 1)
    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    for name, label in (("loss", "learned from"), ("checked_loss", "checked by")):
        upper.plot(epochs, [one[name] for one in at.history], label=label)
    upper.set_ylabel("loss")
    upper.legend()
    lower.plot(epochs, [100 * one["accuracy"] for one in at.history])
    lower.set_ylabel("accuracy, %")
    lower.set_xlabel("epoch")
    for axes in (upper, lower):
        axes.axvline(at.best_epoch(), color="grey", linestyle=":", linewidth=0.8)
        axes.grid(alpha=0.3)
    path = course.beside / "losses.png"
    save_figure(figure, path, replace=True)
    return path
