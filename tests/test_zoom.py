"""The endless zoom: motion, margin, detail, colours, loops, goals, and its control loops."""

import itertools
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream, Settings
from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.schedule import Moment
from dreamreel.pipeline.config.timeline import constant, settings_at
from dreamreel.pipeline.dreaming.ascent import Ascent, Beside, evened
from dreamreel.pipeline.dreaming.control import GAINS, EvolutionLoop, Reference, VarietyLoop
from dreamreel.pipeline.dreaming.objectives.activations import DEVIATION, DIVERSITY
from dreamreel.pipeline.dreaming.terms import Term, proportions
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.states import decode, encode, on_device
from dreamreel.pipeline.tensors import luma, sharpness
from dreamreel.pipeline.zooming.bands import DetailLoop, energies, join, split
from dreamreel.pipeline.zooming.borders import NOISE, filled, surrounded
from dreamreel.pipeline.zooming.camera import Velocity
from dreamreel.pipeline.zooming.endless import ZoomState, infinite_zoom, spread_of
from dreamreel.pipeline.zooming.grain import Chance, noise
from dreamreel.pipeline.zooming.journey import Journey, homeward, margin_for, motions
from dreamreel.pipeline.zooming.palette import Palette
from rendering import dreamed as dream
from rendering import response

CPU = torch.device("cpu")
RATE = Fraction(30)
LOOK = {"terms": "textures", "octaves": 2, "coarsest": 68, "steps": 5}


def chosen(**camera: float) -> Settings:
    return build(("test", {"dream": LOOK, "camera": camera}))


def zoomed(image: Tensor, network: Network, journey: Journey, **camera: float) -> list[Tensor]:
    return list(infinite_zoom(image, network, constant(chosen(**camera)), journey))


def test_a_zoom_stays_as_crisp_and_as_bright_as_it_began(
    dreamnet: Network, picture: Tensor
) -> None:
    images = zoomed(picture, dreamnet, Journey(90, RATE))
    crisp = [sharpness(image) for image in images]
    early, late = sum(crisp[20:40]) / 20, sum(crisp[70:90]) / 20
    assert 0.6 < late / early < 1.7
    assert (images[-1].mean((2, 3)) - images[0].mean((2, 3))).abs().max() < 0.05
    assert all(image.shape == picture.shape for image in images)
    assert not torch.allclose(images[2], images[3], atol=1e-3)


@pytest.mark.parametrize(
    "camera",
    [{"zoom": 0.7}, {"zoom": 1.0, "rotation": 40.0}, {"zoom": 1.0, "pan_x": 0.6, "yaw": 20.0}],
)
def test_new_picture_at_the_border_is_neither_black_nor_smeared_nor_mirrored(
    dreamnet: Network, picture: Tensor, camera: dict[str, float]
) -> None:
    last = zoomed(picture, dreamnet, Journey(40, RATE), **camera)[-1]
    height, width = last.shape[2:]
    for side in (last[..., :8], last[..., -8:], last[:, :, :8].mT, last[:, :, -8:].mT):
        assert float(luma(side).mean()) > 0.05
        inside = last[:, :, height // 4 : -height // 4, width // 4 : -width // 4]
        across = (side[..., 1:] - side[..., :-1]).abs().mean()
        assert across > 0.25 * (inside[..., 1:] - inside[..., :-1]).abs().mean()
    for flipped, axis in ((last.flip(3), 3), (last.flip(2), 2)):
        strip = [slice(None)] * 4
        strip[axis] = slice(0, 8)
        mirror = [slice(None)] * 4
        mirror[axis] = slice(8, 16)
        one, other = last[tuple(strip)].flip(axis).flatten(), last[tuple(mirror)].flatten()
        pair = torch.stack([one - one.mean(), other - other.mean()])
        likeness = (pair[0] @ pair[1]) / (pair[0].norm() * pair[1].norm() + 1e-9)
        assert likeness < 0.97
        assert flipped.shape == last.shape


def test_there_is_a_margin_only_where_the_camera_looks_past_the_edge() -> None:
    size = (90, 160)
    for camera, has in (({"zoom": 1.3}, False), ({"zoom": 0.8}, True), ({"rotation": 20}, True)):
        moves = motions(constant(chosen(**{"zoom": 1.0, **camera})), Journey(60, RATE), size)
        assert (margin_for(moves, size) > 0) == has


def test_a_zoom_moves_equally_far_in_a_second_at_any_rate(
    dreamnet: Network, picture: Tensor
) -> None:
    settings = chosen(zoom=2.0, rotation=10.0)
    ends = []
    for rate in (10, 20):
        journey = Journey(rate + 1, Fraction(rate), motion_only=True)
        ends.append(list(infinite_zoom(picture, dreamnet, constant(settings), journey))[-1])
    assert (ends[0] - ends[1]).abs().mean() < 0.03


def test_a_loop_ends_at_its_first_frame(dreamnet: Network, picture: Tensor) -> None:
    images = zoomed(picture, dreamnet, Journey(45, RATE, loop=True), zoom=6.0, rotation=30.0)
    apart = [float((a - b).abs().mean()) for a, b in itertools.pairwise(images)]
    closing = float((images[-1] - images[0]).abs().mean())
    assert closing < 1.5 * sorted(apart)[len(apart) // 2]


def test_a_zoom_arrives_at_its_goal(dreamnet: Network, picture: Tensor) -> None:
    goal = picture.flip(2, 3)
    images = zoomed(picture, dreamnet, Journey(31, RATE, goal=goal), zoom=10.0)
    assert (images[-1] - goal).abs().mean() < 0.01
    assert (images[15] - goal).abs().mean() > 0.05


def test_homeward_inverts_the_motion_that_is_left() -> None:
    camera = Velocity(1.5, 20, 0.1)
    moves = [camera.during(0.1, 1.5) for _ in range(5)]
    ahead = homeward(moves)
    first, last = ahead[0], ahead[-1]
    assert len(ahead) == 6 and first is not None and last is not None
    assert torch.allclose(last, torch.eye(3).double())
    assert torch.allclose(first @ camera.during(0.5, 1.5), torch.eye(3).double(), atol=1e-9)


def test_a_zoom_resumed_from_its_state_equals_an_uninterrupted_one(
    dreamnet: Network, picture: Tensor
) -> None:
    settings, journey = chosen(zoom=0.9), Journey(8, RATE)
    whole = list(infinite_zoom(picture, dreamnet, constant(settings), journey))
    memory = ZoomState()
    begun = infinite_zoom(picture, dreamnet, constant(settings), journey, state=memory)
    for _ in range(5):
        next(begun)
    saved = decode(ZoomState, encode(memory))
    rest = infinite_zoom(picture, dreamnet, constant(settings), journey, 5, on_device(saved, CPU))
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[5:], strict=True))


def test_motion_only_dreams_nothing(dreamnet: Network, picture: Tensor) -> None:
    journey = Journey(3, RATE, motion_only=True)
    still = zoomed(picture, dreamnet, journey, zoom=1.0)
    assert (still[2] - still[0]).abs().mean() < 0.01
    dreamed = zoomed(picture, dreamnet, replace(journey, motion_only=False), zoom=1.0)
    assert (dreamed[0] - still[0]).abs().mean() > 0.02


def test_joined_bands_give_the_picture_back(picture: Tensor) -> None:
    bands, rest = split(picture)
    assert len(bands) >= 2
    assert torch.allclose(join(bands, rest), picture, atol=1e-5)


def test_the_detail_loop_restores_detail_that_blur_takes(picture: Tensor) -> None:
    loop, everywhere = DetailLoop(), (torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    image = loop.begin(picture)
    soft = torch.nn.functional.avg_pool2d(image, 3, 1, 1)
    for _ in range(20):
        soft = loop.held(soft, everywhere, 30.0, 0).clamp(0, 1)
    before, after = energies(split(image)[0]), energies(split(soft)[0])
    assert all(0.6 < b / a < 1.6 for a, b in zip(before[1:], after[1:], strict=True))


def test_a_palette_is_held_as_firmly_as_asked(picture: Tensor) -> None:
    look, burnt = Palette.of(picture), (picture * 0.6 + 0.3).clamp(0, 1)
    free, half, held = (look.held(burnt, Palette.of(burnt), 1, hold) for hold in (0.0, 0.5, 1.0))
    assert torch.allclose(free, burnt, atol=1e-6)
    off = [
        float((Palette.of(image).light - look.light).abs().mean()) for image in (free, half, held)
    ]
    assert off[0] > off[1] > off[2] and off[2] < 0.03


def test_filling_keeps_known_places_and_continues_their_colours(picture: Tensor) -> None:
    known = torch.zeros_like(picture[:, :1])
    known[:, :, 10:-10, 10:-10] = 1
    made = filled(picture, known, Chance(0, 0))
    assert torch.equal(made[:, :, 10:-10, 10:-10], picture[:, :, 10:-10, 10:-10])
    beside = picture[:, :, 12:-12, 10:14].mean((2, 3))
    assert (made[:, :, 12:-12, 6:10].mean((2, 3)) - beside).abs().max() < 0.1


@pytest.mark.parametrize("margin", [8, 26, 32, 64])
@pytest.mark.parametrize("size", [(68, 120), (90, 160), (97, 131), (160, 90)])
def test_a_margin_has_the_light_of_the_picture_that_it_surrounds(
    size: tuple[int, int], margin: int
) -> None:
    grey = torch.full((1, 3, *size), 0.5)
    around = surrounded(grey, margin, Chance(0, 0))
    assert float(around.min()) > 0.5 - 6 * NOISE and float(around.max()) < 0.5 + 6 * NOISE
    edge = around[:, :, :4], around[:, :, -4:], around[..., :4], around[..., -4:]
    assert all(abs(float(part.mean()) - 0.5) < NOISE for part in edge)


def test_noise_has_coarse_and_fine_parts_and_depends_on_its_seed() -> None:
    image = noise((96, 160), 5, CPU)
    assert image.shape == (1, 3, 96, 160)
    assert torch.equal(image, noise((96, 160), 5, CPU))
    assert not torch.equal(image, noise((96, 160), 6, CPU))
    assert 0.05 < image.std() < 0.4
    coarse = torch.nn.functional.avg_pool2d(image, 16)
    assert coarse.std() > 0.3 * image.std()


def test_a_camera_of_changing_speed_goes_equally_far_at_any_rate() -> None:
    def total(rate: int) -> Tensor:
        def over_time(number: int) -> Settings:
            return chosen(zoom=1.0 + number / rate, rotation=20 * number / rate)

        moves = motions(over_time, Journey(2 * rate + 1, Fraction(rate)), (90, 160))
        return torch.linalg.multi_dot(moves)

    assert torch.allclose(total(24), total(60), rtol=1e-3, atol=1e-4)


def test_a_schedule_changes_the_speed_of_a_zoom(dreamnet: Network, picture: Tensor) -> None:
    def over_time(number: int) -> Settings:
        return chosen(zoom=1.0 if number < 4 else 2.0)

    images = list(infinite_zoom(picture, dreamnet, over_time, Journey(8, RATE, motion_only=True)))
    steps = [float((a - b).abs().mean()) for a, b in itertools.pairwise(images)]
    assert max(steps[:3]) < 0.3 * min(steps[4:])


def test_climbing_diversity_breaks_up_a_repeated_pattern(
    dreamnet: Network, picture: Tensor
) -> None:
    tile = picture[..., :32, :32]
    image = tile.repeat(1, 1, 5, 7)
    settings = Dream(terms={"textures": 1.0}, octaves=2, steps=5)
    diverse = Term("objects", DIVERSITY, 1.0)

    def spread_after(*beside: Term) -> float:
        dreamed = dream(image, dreamnet, settings, Ascent(4, 1.5), DEVIATION, beside=Beside(beside))
        return spread_of(dreamed, dreamnet, "objects")

    assert spread_after(diverse) > 1.2 * spread_after()


def test_variety_is_climbed_only_if_it_is_missing() -> None:
    loop = VarietyLoop()
    for _ in range(loop.EARLY):
        loop.tell(0.5)
    assert loop.usual == pytest.approx(0.5) and loop.weight == 0
    weights = []
    for found in (0.45, 0.4, 0.3, 0.1):
        loop.tell(found)
        weights.append(loop.weight)
    assert weights == sorted(weights) and 0 < weights[0] < weights[-1] <= loop.MOST
    assert loop.usual == pytest.approx(0.5)


def test_a_zoom_is_dreamed_less_where_there_is_no_room_for_detail() -> None:
    free, crowded = EvolutionLoop(), EvolutionLoop()
    for loop, room in ((free, 1.0), (crowded, 0.0)):
        loop.reference, loop.climbed = Reference(1.0, 10.0), {"parts": 1.0}
        for _ in range(30):
            loop.tell(2.0, 1.0, proportions([Term("parts")]), room)
    assert free.share == pytest.approx(GAINS["evolution"].most)
    assert crowded.share == pytest.approx(crowded.CROWDED) and crowded.share < free.share


def test_without_any_layer_weight_nothing_is_dreamed(dreamnet: Network, picture: Tensor) -> None:
    settings = build(("test", {"dream": {"terms": {"textures": "where(t < 4, 0, 1)"}}}))
    assert torch.equal(dream(picture, dreamnet, settings.dream, Ascent(3, 1.5)), picture)

    def over_time(number: int) -> Settings:
        return settings_at(settings, Moment(number, 8, RATE))

    images = list(infinite_zoom(picture, dreamnet, over_time, Journey(8, RATE)))
    assert len(images) == 8 and all(bool(image.isfinite().all()) for image in images)


def test_the_light_of_a_zoom_approaches_that_of_its_goal_without_a_jump(
    dreamnet: Network, picture: Tensor
) -> None:
    bright = (0.5 + picture / 2).flip(3)
    images = zoomed(picture, dreamnet, Journey(46, RATE, goal=bright), zoom=10.0)
    light = [float(luma(image).mean()) for image in images]
    assert light[0] < light[25] < light[-1]
    assert max(b - a for a, b in itertools.pairwise(light)) < 0.1


def test_a_margin_is_added_when_the_camera_comes_to_need_one(
    dreamnet: Network, picture: Tensor
) -> None:
    memory, journey = ZoomState(), Journey(3, RATE)
    list(infinite_zoom(picture, dreamnet, constant(chosen(zoom=1.2)), journey, state=memory))
    assert memory.canvas is not None and memory.canvas.shape == picture.shape
    before = memory.canvas
    later = replace(journey, frames=6, begins=3)
    images = list(infinite_zoom(picture, dreamnet, constant(chosen(zoom=0.6)), later, 3, memory))
    assert len(images) == 3 and all(image.shape == picture.shape for image in images)
    assert memory.canvas.shape[2] > picture.shape[2]
    inside = (..., slice(20, -20), slice(20, -20))
    assert (images[0][inside] - before[inside]).abs().mean() < 0.1


def test_a_zoom_that_fades_in_reaches_full_strength(dreamnet: Network, picture: Tensor) -> None:
    dream_ = {**LOOK, "strength": "0:(0), 20:(1)"}
    fades = build(("test", {"dream": dream_}))

    def over_time(number: int) -> Settings:
        return settings_at(fades, Moment(number, 70, RATE))

    faded = list(infinite_zoom(picture, dreamnet, over_time, Journey(70, RATE)))
    whole = zoomed(picture, dreamnet, Journey(70, RATE))
    layers = {"textures": 1.0}
    first, last, usual = (
        float(response(image, dreamnet, layers)) for image in (faded[0], faded[-1], whole[-1])
    )
    assert last > 1.5 * first and last > 0.6 * usual


def test_layers_that_change_while_nothing_is_dreamed_give_no_reference() -> None:
    loop = EvolutionLoop()
    loop.reference, loop.climbed = Reference(1.0, 10.0), {"parts": 1.0}
    loop.tell(5.0, 0.01, proportions([Term("textures")]), 1.0)
    assert loop.reference.strength == 0 and loop.share == EvolutionLoop().share


def test_a_state_that_forgot_its_network_can_continue_undreamed(
    dreamnet: Network, picture: Tensor
) -> None:
    memory, settings = ZoomState(), chosen()
    list(infinite_zoom(picture, dreamnet, constant(settings), Journey(2, RATE), state=memory))
    memory.forget_network()
    rests = {"dream": settings.dream.model_copy(update={"strength": 0.0})}
    quiet = settings.model_copy(update=rests)
    later = Journey(8, RATE, begins=2)
    images = list(infinite_zoom(picture, dreamnet, constant(quiet), later, 2, memory))
    assert len(images) == 6 and memory.evolution.reference.strength == 0


def test_an_even_climb_goes_as_far_in_dull_places() -> None:
    gradient = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    gradient[..., :48] *= 0.02
    dull, lively = (evened(gradient)[..., part].abs().mean() for part in (slice(40), slice(56, 96)))
    assert gradient[..., :40].abs().mean() < 0.03 * gradient[..., 56:].abs().mean()
    assert dull > 0.1 * lively
    assert float(evened(gradient).abs().mean()) == pytest.approx(1, rel=1e-3)
    still = evened(torch.zeros(1, 3, 64, 96))
    assert not still.any()


def test_missing_detail_is_given_to_lively_places_alone(picture: Tensor) -> None:
    loop = DetailLoop()
    calm = loop.begin(picture)
    everywhere = (torch.ones_like(picture[:, :1]),) * 2
    loop.short = 1.0
    lively = torch.zeros_like(picture[:, :1])
    lively[..., picture.shape[3] // 2 :] = 1
    faint = 0.5 + (calm - 0.5) * 0.3
    plain, held = (loop.held(faint, everywhere, 30.0, 0, one) for one in (None, lively))
    third = picture.shape[3] // 3
    assert torch.allclose(held[..., -third:], plain[..., -third:], atol=1e-5)
    assert sharpness(held[..., :third]) < 1.1 * sharpness(faint[..., :third])
    assert sharpness(plain[..., :third]) > 1.1 * sharpness(faint[..., :third])
