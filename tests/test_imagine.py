"""Pictures from noise, and classes that are climbed in views of a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream, Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.dreaming.ascent import ascent_direction
from dreamreel.pipeline.dreaming.imagining import imagine
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.dreaming.views import Views, equalised, windows
from dreamreel.pipeline.dreaming.vocabulary import Seen, terms_of
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize
from making import Run

Call = Callable[..., Run]
QUICK = ("--set", "imagine.steps=2", "--set", "imagine.views=1", "--set", "imagine.side=128")
SMALL = {"steps": 8, "views": 2, "side": 128}


def imagined(
    network: Network, text: str, size: tuple[int, int] = (64, 64), **more: float
) -> Tensor:
    table = {"seed": 3, "dream": {"terms": text}, "imagine": {**SMALL, **more}}
    return imagine(size, network, build(("test", table)))


def share_of(network: Network, image: Tensor, number: int) -> float:
    """The log-probability of the class of that `number` in a whole image, at a usual size."""
    head, image = network.head(), resize(image, (224, 224))
    with torch.no_grad():
        found = network.activations(image, [head.layer])[head.layer]
        return float(head.of_whole(found).float().log_softmax(1)[0, number])


def test_a_class_grows_as_it_is_imagined(dreamnet: Network) -> None:
    number = dreamnet.class_number("starfish")
    few, more = (imagined(dreamnet, "class:starfish", (128, 128), steps=n) for n in (1, 20))
    assert share_of(dreamnet, more, number) > share_of(dreamnet, few, number) + 1


@pytest.mark.parametrize("text", ["textures", "creatures:13@0.5:0.5", "parts:strongest(3)"])
def test_any_term_can_be_imagined(dreamnet: Network, text: str) -> None:
    image = imagined(dreamnet, text, steps=2)
    assert image.shape == (1, 3, 64, 64) and bool(((image >= 0) & (image <= 1)).all())


@pytest.mark.parametrize("size", [(16, 16), (31, 160), (200, 67)])
def test_a_picture_of_any_size_and_shape_can_be_imagined(
    dreamnet: Network, size: tuple[int, int]
) -> None:
    assert imagined(dreamnet, "class:castle", size, steps=1, side=64).shape == (1, 3, *size)


def test_a_window_on_the_whole_shows_it_as_it_is() -> None:
    image = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(1))
    still = Views(count=4, side=40, least=1.0, most=1.0, turn=0.0, shift=0.0)
    for window in windows((40, 60), still, torch.Generator()):
        view = window.of(image)
        assert torch.allclose(view, image, atol=1e-5) or torch.allclose(
            view, image.flip(3), atol=1e-5
        )


def test_a_window_on_a_large_picture_is_no_sample_of_single_pixels() -> None:
    """What is finer than a view can show is averaged away."""
    board = torch.ones(1, 1, 512, 512)
    board[..., ::2] = 0
    view = Views(count=1, side=64, least=1.0, most=1.0, turn=0.0, shift=0.0)
    (window,) = windows((512, 512), view, torch.Generator())
    assert float((window.of(board) - 0.5).abs().max()) < 0.05


def test_what_is_coarse_in_a_gradient_is_not_lost_beside_what_is_fine() -> None:
    ramp = torch.linspace(-1, 1, 96).expand(1, 3, 64, 96)
    gradient = 0.2 * ramp + torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))

    def likeness(one: Tensor) -> float:
        return float(torch.cosine_similarity(one.flatten(), ramp.flatten(), 0))

    assert likeness(equalised(gradient)) > 2 * likeness(gradient) > 0
    assert bool(equalised(torch.zeros(1, 3, 5, 1)).isfinite().all())


def test_a_class_grows_in_a_picture(dreamnet: Network, scene: np.ndarray) -> None:
    image = torch.from_numpy(scene[:128, :160].copy()).permute(2, 0, 1)[None].float() / 255
    number = dreamnet.class_number("starfish")
    dream = {"terms": "class:starfish", "octaves": 1, "steps": 8, "views": 2}
    subject = Subject.of(image, 0, dreamnet, build(("test", {"dream": dream})))
    dreamed = subject.dreamed(image, subject.still)
    assert share_of(dreamnet, dreamed, number) > share_of(dreamnet, image, number) + 1


def test_a_class_and_a_layer_weigh_alike(dreamnet: Network) -> None:
    """Both are brought to scale, so that weights say how far each is climbed."""
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))

    def direction(text: str) -> Tensor:
        dream = Dream(terms=text, smoothing=0.0)
        terms = terms_of(Settings(dream=dream), dreamnet, Seen(image, 0))
        return ascent_direction(image, dreamnet, terms, dream, (3, -2))

    both = direction("class:starfish + textures").flatten()
    parts = [direction(text).flatten() for text in ("class:starfish", "textures")]
    sum_ = parts[0] + parts[1]
    assert float(torch.cosine_similarity(both, sum_, 0)) > 0.99


def test_the_command_imagines_a_picture_alike_each_time(dreamreel: Call, tmp_path: Path) -> None:
    command = ("image", "noise", "--class", "banana", "--size", "80x48", *QUICK)
    for name in ("a.png", "b.png"):
        assert dreamreel(*command, "-o", str(tmp_path / name)).code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "a.png").size == (80, 48)
    assert dreamreel(*command, "--seed", "1", "-o", str(tmp_path / "c.png")).code == 0
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()
    again = dreamreel("reproduce", str(tmp_path / "a.png.json"), "-o", str(tmp_path / "d.png"))
    assert again.code == 0, again.err
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "d.png").read_bytes()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (("--class", "banan4"), "did you mean 'banana'"),
        (("--size", "0x10"), "nor a size from"),
        (("--set", "imagine.least=1.5"), "imagine.least = 1.5"),
        (("--set", "imagine.views=0"), "imagine.views"),
        (("--size", "16384x16384", "--set", "imagine.views=256"), "a smaller --size would work"),
    ],
)
def test_what_cannot_be_imagined_is_refused_in_one_line(
    dreamreel: Call, tmp_path: Path, given: tuple[str, ...], line: str
) -> None:
    run = dreamreel("image", "noise", "-o", str(tmp_path / "o.png"), *QUICK, *given)
    assert run.code == 2 and line in run.err and run.err.count("\n") == 1, run.err
    assert not (tmp_path / "o.png").exists()


def test_settings_of_a_dream_in_a_picture_do_nothing_from_noise(
    dreamreel: Call, tmp_path: Path
) -> None:
    out = str(tmp_path / "o.png")
    run = dreamreel("image", "noise", "--size", "32x32", "--steps", "3", *QUICK, "-o", out)
    assert run.code == 0 and "dream.steps does nothing" in run.err
    assert "imagine.steps does" in run.err


def test_a_file_called_noise_is_a_picture(
    dreamreel: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene[:96, :160]).save(tmp_path / "n.png")
    (tmp_path / "n.png").rename("noise")
    run = dreamreel("image", "noise", "-o", "o.png", "--layers", "textures", "--steps", "1")
    assert run.code == 0, run.err
    assert Image.open(tmp_path / "o.png").size == (160, 96)


def test_a_batch_imagines_pictures(dreamreel: Call, tmp_path: Path) -> None:
    """A still without a source begins with noise, as a zoom without one does."""
    (tmp_path / "jobs.toml").write_text(
        '[[job]]\nkind = "still"\nclass = ["banana", "castle"]\n'
        'set = { imagine = { steps = 1, views = 1, side = 128 }, "source.crop" = "48x32" }\n'
    )
    run = dreamreel("batch", str(tmp_path / "jobs.toml"), "-o", str(tmp_path / "made"))
    assert run.code == 0, run.err
    made = sorted((tmp_path / "made").glob("noise-*.png"))
    assert len(made) == 2 and Image.open(made[0]).size == (48, 32)
