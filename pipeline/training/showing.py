"""What a training shows: what the student dreams after each epoch, and the curve of its losses."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream, Imagine, Settings
from dreamreel.pipeline.dreaming.ascent import dream, still_ascent
from dreamreel.pipeline.dreaming.imagining import imagine
from dreamreel.pipeline.dreaming.vocabulary import Seen, terms_of
from dreamreel.pipeline.judging.charts import save_figure
from dreamreel.pipeline.media.stills import Picture, save_picture
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.training.course import Course
from dreamreel.pipeline.training.keeping import Progressed
from dreamreel.pipeline.training.student import Student

CLASSES = 4  # that a picture shows, side by side: the first ones, so that epochs can be compared
STEPS, VIEWS = 24, 2  # of a picture: seconds, where a class is in full after 150 and with 4
LARGEST = 160  # pixels of its side, at most
CLIMB = 8  # steps in each of three octaves of a photo, in about the time of four of training


def show_classes(student: Student, classes: int, path: Path) -> None:
    """Write what the first classes of `student` look like in its dreams to the picture `path`."""
    network = _frozen(student)
    side = min(LARGEST, student.architecture.side or LARGEST)
    how = Imagine(steps=STEPS, views=VIEWS)
    shown = [Dream(terms={f"class:{one}": 1.0}) for one in range(min(CLASSES, classes))]
    images = [imagine((side, side), network, Settings(dream=one, imagine=how)) for one in shown]
    save_picture(path, Picture(torch.cat(images, 3).cpu()), replace=True)


def show_layers(student: Student, layers: Sequence[str], photo: Tensor, path: Path) -> None:
    """Write `photo` (1, 3, H, W), in [0, 1], and beside it what each of `layers` of `student` makes
    of it, to the picture `path`."""
    network = _frozen(student)
    image = photo.to(network.device)
    images = [image]
    for layer in layers:
        how = Dream(terms={layer: 1.0}, octaves=3, steps=CLIMB)
        terms = terms_of(Settings(dream=how), network, Seen(image, 0))
        images.append(dream(image, network, terms, how, still_ascent(how)))
    save_picture(path, Picture(torch.cat(images, 3).cpu()), replace=True)


def plot_losses(course: Course, at: Progressed, plotted: Sequence[str], scale: str) -> Path:
    """Draw the losses of all epochs, and below them the figures `plotted` on one `scale`, into a
    picture beside the output. Returns its path."""
    from matplotlib.figure import Figure  # not pyplot: this needs no screen

    epochs = range(1, len(at.history) + 1)
    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    for name, label in (("loss", "learned from"), ("checked_loss", "checked by")):
        upper.plot(epochs, [one[name] for one in at.history], label=label)
    upper.set_ylabel("loss")
    for name in plotted:
        lower.plot(epochs, [one.get(name, float("nan")) for one in at.history], label=name)
    lower.set_ylabel(scale)
    lower.set_ylim(bottom=0)
    lower.set_xlabel("epoch")
    for axes in (upper, lower):
        axes.axvline(at.best_epoch(), color="grey", linestyle=":", linewidth=0.8)
        axes.grid(alpha=0.3)
        axes.legend()
    path = course.beside / "losses.png"
    save_figure(figure, path, replace=True)
    return path


def _frozen(student: Student) -> Network:
    """`student` as it is now, as a network that dreams."""
    weights = {name: one.detach().clone() for name, one in student.module.state_dict().items()}
    precision = student.network.precision
    return assemble(student.architecture, weights, student.device, precision)
