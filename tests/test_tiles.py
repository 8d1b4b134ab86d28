"""Gradients and responses in tiles equal those of the whole picture; memory decides on tiles."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream
from dreamreel.pipeline.dreaming.ascent import Ascent
from dreamreel.pipeline.dreaming.terms import gradient_of
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.assembly import assemble
from dreamreel.pipeline.networks.catalog import find_architecture, load_network
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.networks.tiles import (
    AT_ONCE,
    Grid,
    Sight,
    Tile,
    grid_of,
    is_out_of_memory,
    smallest_tile,
    tile_slices,
)
from rendering import dreamed as dream
from rendering import response, terms

# The mean error allowed, as a share of a gradient's mean size. Rounding alone was measured at 1e-6,
# and at 2e-4 where it moved one ReLU across zero; a misplaced receptive field gives 0.1.
ROUNDING = 1e-3
NO_MEMORY = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate "
    "memory: you tried to allocate 44236800 bytes."
)


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network("dreamnet", device="cpu", precision="float32")


def textured(height: int, width: int) -> Tensor:
    """An image (1, 3, H, W) with detail at every scale."""
    random = torch.Generator().manual_seed(7)
    total = torch.full((1, 3, height, width), 0.5)
    for cell in (64, 16, 4, 1):
        coarse = torch.randn(1, 3, height // cell + 2, width // cell + 2, generator=random)
        total += 0.1 * F.interpolate(coarse, (height, width), mode="bicubic")
    return total.clamp(0, 1).contiguous(memory_format=torch.channels_last)


def gradient(
    image: Tensor, network: Network, weights: dict[str, float], tile: int | None = None
) -> Tensor:
    return gradient_of(image.clone().requires_grad_(True), network, terms(weights), tile)


def difference(image: Tensor, network: Network, weights: dict[str, float], tile: int) -> Tensor:
    """The error of the gradient in tiles, as a share of the mean size of the whole gradient."""
    whole = gradient(image, network, weights)
    return (gradient(image, network, weights, tile) - whole).abs() / whole.abs().mean()


@pytest.mark.parametrize(
    ("size", "tile", "weights"),
    [
        ((301, 467), 256, {"parts": 1.0}),
        ((150, 420), 264, {"parts": 1.0}),
        ((163, 211), 144, {"textures": 1.0}),
        ((317, 389), 257, {"textures": 1.0, "parts": -0.5, "fire2a.squeeze": 0.3, "stem": 0.0}),
    ],
)
def test_the_gradient_in_tiles_equals_the_whole_one(
    network: Network, size: tuple[int, int], tile: int, weights: dict[str, float]
) -> None:
    assert difference(textured(*size), network, weights, tile).mean() < ROUNDING


@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [
        ("squeezenet1_1", "features.7", (189, 243)),
        ("inception_v3", "Mixed_6a", (241, 275)),  # without padding: fewer places
        ("resnet18", "layer2", (187, 209)),
    ],
)
def test_gradients_of_other_networks_are_the_same_in_tiles(
    name: str, layer: str, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    architecture = find_architecture(name)
    state = architecture.build().state_dict()
    network = assemble(architecture, state, torch.device("cpu"), torch.float32)
    tile = smallest_tile([network.layers[layer]])
    assert max(size) > tile
    assert difference(textured(*size), network, {layer: 1.0}, tile).mean() < ROUNDING


def test_no_seam_shows_where_tiles_meet(network: Network) -> None:
    image, layers = textured(301, 467), [network.layers["parts"]]
    off = difference(image, network, {"parts": 1.0}, 256)
    (row, *_) = grid_of((301, 467), 256, layers)
    borders = [edge for tile in row for edge in (tile.columns.start, tile.columns.stop)][1:-1]
    at_borders = torch.stack([off[..., edge - 2 : edge + 2] for edge in borders])
    assert at_borders.mean() < 3 * off.mean()


def test_tiles_of_a_layer_without_places_leave_no_seam(
    network: Network,
) -> None:
    image, layers = textured(300, 540), [network.layers["classes"]]
    found = gradient(image, network, {"classes": 1.0}, 300)
    (row,) = grid_of((300, 540), 300, layers)
    seams = [seam for one, other in pairwise(row) for seam in where_they_meet(one, other)]
    # Columns two apart: the stem has a stride of 2, so even and odd columns differ by themselves.
    change = (found[..., 2:] - found[..., :-2]).abs().mean((0, 1, 2))
    for seam in seams:
        assert change[seam - 2 : seam].max() < 1.4 * change[seam - 20 : seam + 20].median()
    whole = gradient(image, network, {"classes": 1.0})
    assert F.cosine_similarity(found.flatten(), whole.flatten(), 0) > 0.8
    assert found.abs().mean() == pytest.approx(whole.abs().mean().item(), rel=0.3)


def where_they_meet(one: Tile, other: Tile) -> tuple[int, int, int]:
    """The columns at which the tile `other` begins, `one` ends, and the one half-way between."""
    begin, end = other.columns.start, one.columns.stop
    return begin, (begin + end) // 2, end


def test_a_picture_no_larger_than_a_tile_is_not_tiled(dreamnet: Network, picture: Tensor) -> None:
    weights = {"textures": 1.0}
    assert torch.equal(
        gradient(picture, dreamnet, weights, 160), gradient(picture, dreamnet, weights)
    )


def test_a_dream_in_tiles_equals_the_whole_one(network: Network) -> None:
    image, three = textured(230, 290), Ascent(3, 1.5)
    chosen = Dream(octaves=2, terms={"textures": 1.0})
    in_tiles = chosen.model_copy(update={"tile": 160})
    difference = dream(image, network, in_tiles, three) - dream(image, network, chosen, three)
    assert difference.abs().max() < 1 / 255


def test_the_response_in_tiles_equals_the_whole_one(network: Network) -> None:
    pair = torch.cat([textured(301, 467), 1 - textured(301, 467)])
    weights = {"textures": 1.0, "parts": 0.5, "stem": -1.0}
    where = torch.rand(1, 1, 301, 467, generator=torch.Generator().manual_seed(1))
    for places in (None, where):
        whole = response(pair, network, weights, places)
        assert torch.allclose(response(pair, network, weights, places, 256), whole, rtol=1e-5)


def test_a_layer_without_places_has_nearly_the_same_response_in_tiles(network: Network) -> None:
    pair = torch.cat([textured(290, 300), textured(290, 300) / 2])
    where = torch.ones(1, 1, 290, 300)
    whole = response(pair, network, {"classes": 1.0}, where)
    assert whole.shape == (2,) and whole.min() > 0
    assert torch.allclose(response(pair, network, {"classes": 1.0}, where, 288), whole, rtol=0.1)


@examples(max_examples=200)
@given(st.data())
def test_tile_slices_cover_all_overlap_and_begin_on_the_stride(data: st.DataObject) -> None:
    stride = data.draw(st.sampled_from([1, 2, 8, 32]))
    overlap = data.draw(st.integers(0, 400))
    tile = data.draw(st.integers(overlap + stride, overlap + 700))
    length = data.draw(st.integers(1, 5000))
    found = tile_slices(length, tile, overlap, stride)
    assert found[0].start == 0 and found[-1].stop == length
    assert all(overlap < span.stop - span.start <= tile for span in found) or found == [
        slice(0, length)
    ]
    assert all(span.start % stride == 0 for span in found)
    assert all(one.stop - other.start >= overlap for one, other in pairwise(found))
    assert all(one.start < other.start for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("error", "says_so"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `create`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("could not create a primitive"), True),
        (NO_MEMORY, True),
        (RuntimeError("could not create a primitive descriptor for a convolution"), False),
        (RuntimeError("Kernel size can't be greater than actual input size"), False),
        (ValueError("out of memory"), False),
        (UserError("out of memory"), False),
    ],
)
def test_out_of_memory_errors_are_recognised(error: Exception, says_so: bool) -> None:
    assert is_out_of_memory(error) == says_so


class Scarce:
    """Stands for a network that has memory for tiles up to `side` pixels wide; `shown` keeps the
    widths of the tiles that it was given."""

    def __init__(self, side: int) -> None:
        self.side, self.shown = side, list[int]()

    def __call__(self, grid: Grid | None) -> str:
        largest = 4000
        if grid is not None:
            largest = max(part.columns.stop - part.columns.start for row in grid for part in row)
        self.shown.append(largest)
        if largest > self.side:
            raise NO_MEMORY
        return "seen"


def test_out_of_memory_makes_tiles_smaller_for_good(network: Network) -> None:
    sight, told = Sight("dreamnet", network.layers), list[str]()
    sight.on_notice = told.append
    scarce = Scarce(700)
    assert sight.within_memory(scarce, (2000, 4000), ["parts"]) == "seen"
    assert scarce.shown[0] == 4000 and scarce.shown == sorted(set(scarce.shown), reverse=True)
    tile = sight.tile
    assert tile is not None and 300 < tile <= 700
    assert len(told) == 1 and "4000x2000" in told[0] and f"tiles of {tile} pixels" in told[0]
    scarce.shown.clear()
    sight.within_memory(scarce, (2000, 4000), ["parts"])
    assert len(scarce.shown) == len(told) == 1


def test_too_little_memory_for_any_tile_is_refused(network: Network) -> None:
    sight, scarce = Sight("dreamnet", network.layers), Scarce(100)
    with pytest.raises(UserError, match="not enough memory .* 4000x2000 in dreamnet at parts.*256"):
        sight.within_memory(scarce, (2000, 4000), ["parts"])
    assert len(scarce.shown) < 9


def test_an_error_other_than_out_of_memory_is_passed_on(network: Network) -> None:
    sight, tries = Sight("dreamnet", network.layers), list[Grid | None]()

    def see(grid: Grid | None) -> None:
        tries.append(grid)
        raise RuntimeError("expected scalar type Float but found BFloat16")

    with pytest.raises(RuntimeError, match="expected scalar type"):
        sight.within_memory(see, (2000, 4000), ["parts"])
    assert len(tries) == 1 and sight.tile is None


def test_a_tile_too_small_is_refused_with_one_that_works(network: Network) -> None:
    with pytest.raises(
        UserError, match="dream.tile = 255 is too small for dreamnet at textures, parts: 256 works"
    ):
        network.sight.check(255, ["textures", "parts"])
    network.sight.check(256, ["textures", "parts"])


OUT_OF_MEMORY = """
import re, resource, sys, torch
from pathlib import Path
from dreamreel.pipeline.dreaming.terms import Term, gradient_of
from dreamreel.pipeline.networks.catalog import load_network

torch.set_num_threads(1)
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (1 << 45, limits[1]))  # too high to matter, yet a limit
network = load_network("dreamnet", device="cpu", precision="float32")
network.sight.on_notice = print

def gradient(height, width):
    torch.manual_seed(0)
    image = torch.rand(1, 3, height, width).contiguous(memory_format=torch.channels_last)
    return gradient_of(image.requires_grad_(True), network, [Term("textures")])

gradient(256, 256)  # loads whatever torch loads at first use
used = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), limits[1]))
tiled = gradient(600, 900)
resource.setrlimit(resource.RLIMIT_AS, (1 << 45, limits[1]))
tile, network.sight.tile = network.sight.tile, None
whole = gradient(600, 900)
assert tile is not None and network.sight.tile is None
print(float((tiled - whole).abs().mean() / whole.abs().mean()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits an address space")
def test_a_gradient_that_runs_out_of_memory_is_computed_in_tiles() -> None:
    # The whole gradient takes 190 MB, tiles take down to 40 MB; the process is allowed 100 MB.
    done = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    notice, difference = done.stdout.splitlines()
    assert notice.startswith("out of memory at 900x600: continuing in tiles of ")
    assert float(difference) < ROUNDING


def test_a_picture_too_large_for_free_memory_is_tiled_from_the_start(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    layers, size = {"parts": 1.0}, (600, 800)
    needed = network.memory_for(size, layers)
    for free, tiled in ((1.01 * needed, False), (0.5 * needed, True), (1.0, False)):
        sight = Sight(network.name, network.layers, network.memory_for, lambda free=free: free)
        sight.on_notice = told.append
        grids = [sight.within_memory(lambda grid: grid, size, layers) for _ in range(2)]
        assert [grid is not None for grid in grids] == [tiled, tiled]
        assert len(told) == tiled and (not tiled or "are free: dreaming in tiles of" in told.pop())
        assert sight.tile is None or network.memory_for((sight.tile, sight.tile), layers) <= free


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone has it")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_estimate_of_memory_is_about_right(precision: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PEAK, precision], capture_output=True, text=True, check=True
    )
    needed, used = map(float, run.stdout.split())
    assert 0.7 * used < needed < 2 * used


PEAK = """
import sys
from pathlib import Path
import torch
from dreamreel.pipeline.dreaming.terms import Term, gradient_of
from dreamreel.pipeline.networks.catalog import load_network

def told(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

network = load_network("dreamnet", device="cpu", precision=sys.argv[1])
image = torch.rand(1, 3, 720, 960).contiguous(memory_format=torch.channels_last)
Path("/proc/self/clear_refs").write_text("5")  # reset the peak
before = told("VmRSS")
gradient_of(image.requires_grad_(True), network, [Term("parts")])
print(network.memory_for((720, 960), ["parts"]), told("VmHWM") - before)
"""


def test_only_a_large_picture_is_seen_in_tiles_though_memory_suffices(network: Network) -> None:
    names = ["parts"]
    whole = [network.sight.side_at_once(size, names) for size in ((1080, 1920), (1440, 2560))]
    assert whole == [None, None]
    sides = []
    for size in ((2160, 3840), (4320, 7680)):
        side = network.sight.side_at_once(size, names)
        assert side is not None and side < max(size)
        assert network.memory_for((side, side), names) <= AT_ONCE
        sides.append(side)
    assert network.sight.side_at_once((2160, 3840), names, 4000) == 4000  # as the user says
    told: list[str] = []
    network.sight.on_notice = told.append
    grid = network.sight.within_memory(lambda grid: grid, (2160, 3840), names)
    assert grid is not None and not told  # it is not slower, so nothing is told
