"""Motion between frames: estimate it, warp along it, and see where it can be trusted.

Flow goes from the current frame to the previous one: (dx, dy) in pixels, so that
`warp(previous, flow)` pulls the previous frame onto the current grid.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dreamreel.pipeline.devices import find_device
from dreamreel.pipeline.durable import Tree
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.images import Frame, sample, to_8_bits
from dreamreel.pipeline.settings import Settings
from dreamreel.pipeline.weights import State, check_numbers, fetch_weights, read_weights

FlowArray = NDArray[np.float32]  # (H, W, 2)
Grey = NDArray[Any]  # (H, W), in levels of 255
Share = NDArray[np.float32]  # (H, W), 0 to 1
# Flow from the first frame to the second, both at the working size, in pixels of theirs.
FlowEstimator = Callable[[Frame, Frame], FlowArray]

BROAD = 8.0  # sigma, in pixels of the working size, of what counts as lighting, not as texture
NOISE = 10.0  # levels by which two pictures of one place may differ anyway
TEXTURED = 6.0  # levels of texture without which a frame has no structure to be known by
ALIKE = 0.6  # correlation of two frames' textures; cuts were seen at 0.3 and below, motion at 0.8
RAFT_STRIDE, RAFT_SMALLEST = 8, 128  # pixels


@dataclass(frozen=True)
class Motion:
    """How the previous frame became this one, at the working size (H, W).

    `flow` (H, W, 2) leads from this frame to the previous one, in its pixels. `visible` (H, W), 0
    to 1: where all tests trust it. `carried` (H, W), 0 to 1: where a dream may follow it, which is
    also where the texture is plainly the same. `uncovered` (H, W): what the previous frame
    certainly did not show. `likeness`: the correlation of this frame's texture with that of the
    previous one, pulled along the flow: about 1 within a shot, about 0 across a cut.
    """

    flow: FlowArray
    visible: Share
    carried: Share
    uncovered: NDArray[np.bool_]
    likeness: float = 1.0

    @property
    def hidden(self) -> float:
        """Share of the frame that the previous one did not show."""
        return 1 - float(self.visible.mean())

    @classmethod
    def from_tree(cls, tree: Tree) -> "Motion":
        """What was saved."""
        likeness = tree["likeness"]
        maps = {name: value.numpy() for name, value in tree.items() if name != "likeness"}
        return cls(**maps, likeness=likeness)

    def part(self, share: float) -> "Motion":
        """`share` of this motion, as if it had taken place in even steps."""
        return replace(self, flow=self.flow * np.float32(share))


def find_estimator(settings: Settings) -> FlowEstimator:
    """The estimator of `settings.flow`, ready. Raises UserError where it lacks its weights."""
    return FLOW_ESTIMATORS[settings.flow.method](settings)


def dis(settings: Settings) -> FlowEstimator:
    """Dense inverse search (Kroeger et al., ECCV 2016): quick, needs no weights, repeatable."""
    # Flow runs beside the dream, whose threads take every core: more threads here only fight them.
    cv2.setNumThreads(1)
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def estimate(here: Frame, there: Frame) -> FlowArray:
        return np.asarray(estimator.calc(grey(here), grey(there), None))

    return estimate


def farneback(settings: Settings) -> FlowEstimator:
    """Polynomial expansion (Farnebäck, SCIA 2003): smooth, and vague at edges."""
    cv2.setNumThreads(1)

    def estimate(here: Frame, there: Frame) -> FlowArray:
        flow: Any = cv2.calcOpticalFlowFarneback(
            grey(here), grey(there), None, pyr_scale=0.5, levels=5, winsize=15, iterations=3,
            poly_n=7, poly_sigma=1.5, flags=0,
        )  # fmt: skip
        return np.asarray(flow, np.float32)

    return estimate


def raft(settings: Settings) -> FlowEstimator:
    """Recurrent all-pairs field transforms (Teed and Deng, ECCV 2020): torchvision's, large."""
    from torchvision.models.optical_flow import Raft_Large_Weights, raft_large

    weights = Raft_Large_Weights.DEFAULT
    return _raft(raft_large(weights=None), weights.url, "raft", settings)


def raft_small(settings: Settings) -> FlowEstimator:
    """The small RAFT: a fifth of the weights, several times as fast."""
    from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

    weights = Raft_Small_Weights.DEFAULT
    return _raft(raft_small(weights=None), weights.url, "raft_small", settings)


FLOW_ESTIMATORS: dict[str, Callable[[Settings], FlowEstimator]] = {
    "dis": dis,
    "farneback": farneback,
    "raft": raft,
    "raft_small": raft_small,
}


def _raft(module: nn.Module, url: str, name: str, settings: Settings) -> FlowEstimator:
    """The estimator of the RAFT `module`, with its weights, on the dream's device."""
    file = settings.flow.weights
    state = read_weights(file) if file is not None else fetch_weights(url, name, "flow.weights")
    _fill(module, state, f"{file or url}", name)
    device = find_device(settings.device)
    module = module.eval().requires_grad_(False).to(device)

    def estimate(here: Frame, there: Frame) -> FlowArray:
        height, width = here.shape[:2]
        below, beside = (_missing(side) for side in (height, width))
        pair = [_for_raft(frame, device) for frame in (here, there)]
        pair = [F.pad(image, (0, beside, 0, below), mode="replicate") for image in pair]
        with torch.no_grad():
            flow = module(*pair)[-1][0, :, :height, :width]
        return np.ascontiguousarray(flow.permute(1, 2, 0).cpu().numpy())

    return estimate


def _fill(module: nn.Module, state: State, given: str, name: str) -> None:
    """Put `state` into `module`. Raises UserError where it is another network's."""
    wanted = module.state_dict()
    for key, tensor in wanted.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise UserError(f"{given} holds no weights of {name}: {key!r} is missing")
        if key in state and state[key].shape != tensor.shape:
            raise UserError(f"{given} holds weights of another network than {name}: see {key!r}")
    check_numbers({key: state[key] for key in wanted if key in state}, given)
    module.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)


def _missing(side: int) -> int:
    """How many pixels RAFT wants added to a side."""
    return max(RAFT_SMALLEST - side, -side % RAFT_STRIDE)


def _for_raft(frame: Frame, device: torch.device) -> Tensor:
    """`frame` as RAFT sees it: RGB (1, 3, H, W) in [-1, 1]."""
    rgb = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1])).to(device)
    return rgb.permute(2, 0, 1)[None].float() / 127.5 - 1


def grey(frame: Frame) -> Grey:
    """The luma of `frame`."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


def working_frame(frame: Frame, side: int) -> Frame:
    """`frame`, in 8 bits, with its shorter side shrunk to `side`, at which flow is estimated.

    The constants of the visibility test are in pixels: they hold at one size only. A smaller
    frame stays: enlarged, it would have motion, but no texture to tell it by.
    """
    frame = to_8_bits(frame if frame.shape[2] == 3 else np.ascontiguousarray(frame[..., :3]))
    scale = side / min(frame.shape[:2])
    if scale >= 1:
        return frame
    height, width = (max(side, round(length * scale)) for length in frame.shape[:2])
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))


def motion_between(previous: Frame, current: Frame, estimate: FlowEstimator) -> Motion:
    """The motion from `previous` to `current`, two frames at the working size."""
    back = estimate(current, previous)
    forth = estimate(previous, current)
    here, pulled = texture(grey(current)), texture(pull(grey(previous), back))
    differing, contrast = unlike(here, pulled)
    explained = differing < 0.25 * contrast + NOISE**2
    plainly = (differing < 0.1 * contrast) & (contrast > NOISE**2)
    inside = points_inside(back)
    safe = returns(back, forth) & inside & explained
    return Motion(
        back, soft(safe), soft(safe | (plainly & inside)), ~(explained & inside),
        likeness(here, pulled),
    )  # fmt: skip


def returns(back: FlowArray, forth: FlowArray) -> NDArray[np.bool_]:
    """Where there-and-back returns home, and no motion boundary lies: (H, W).

    Sundaram et al., ECCV 2010, with the constants of Ruder et al., 2016.
    """
    to_x, to_y = _pointed_at(back)
    returned = cv2.remap(forth, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    missed = _squared(returned + back)
    occluded = missed > 0.01 * (_squared(returned) + _squared(back)) + 0.5
    across = _squared(cv2.Sobel(back, cv2.CV_32F, 1, 0, scale=1 / 8))
    down = _squared(cv2.Sobel(back, cv2.CV_32F, 0, 1, scale=1 / 8))
    boundary = across + down > 0.01 * _squared(back) + 0.002
    return np.asarray(~(occluded | boundary))


def points_inside(flow: FlowArray) -> NDArray[np.bool_]:
    """Where `flow` points inside the frame: (H, W)."""
    height, width = flow.shape[:2]
    to_x, to_y = _pointed_at(flow)
    return np.asarray((to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1))


def unlike(here: Grey, pulled: Grey) -> tuple[Grey, Grey]:
    """The photometric check: how much a frame's texture (H, W) differs, place by place, from that
    of the one before, `pulled` along the flow, and the contrast of both; in levels squared.

    Of texture alone, and to be compared with its own contrast: light that changes hides nothing.
    """
    differing = cv2.GaussianBlur((here - pulled) ** 2, (0, 0), 1.5)
    return np.asarray(differing), np.asarray(cv2.GaussianBlur(here**2 + pulled**2, (0, 0), 1.5))


def likeness(here: Grey, pulled: Grey) -> float:
    """The correlation of two textures (H, W): 1 for one picture, in any light, about 0 for two.

    1 as well where neither has any: nothing tells a black frame from a black frame, or from the
    last faint ones of a fade.
    """
    spread = float(np.sqrt(np.square(here).mean())), float(np.sqrt(np.square(pulled).mean()))
    if max(spread) < TEXTURED:
        return 1.0
    return float((here * pulled).mean()) / max(spread[0] * spread[1], 1e-6)


def texture(luma: Grey) -> Grey:
    """`luma` (H, W) less its broad light, float32."""
    values = luma.astype(np.float32)
    return np.asarray(values - cv2.GaussianBlur(values, (0, 0), BROAD))


def pull(luma: Grey, flow: FlowArray) -> Grey:
    """`luma` (H, W) pulled along `flow`, edges repeated."""
    to_x, to_y = _pointed_at(flow)
    return np.asarray(
        cv2.remap(luma, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


def soft(seen: NDArray[np.bool_]) -> Share:
    """`seen` (H, W), a pixel less all round and its edges feathered: 0 to 1."""
    eroded = cv2.erode(seen.astype(np.float32), np.ones((3, 3), np.uint8), borderValue=1.0)
    return np.asarray(cv2.GaussianBlur(eroded, (5, 5), 0), np.float32)


def flow_at(flow: FlowArray, size: tuple[int, int], device: torch.device) -> Tensor:
    """`flow` at `size` (height, width): (1, 2, H, W), in pixels of that size."""
    height, width = size
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    scaled = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale
    return torch.from_numpy(scaled).permute(2, 0, 1)[None].to(device)


def share_at(share: Share, size: tuple[int, int], device: torch.device) -> Tensor:
    """`share` at `size` (height, width): (1, 1, H, W)."""
    scaled = cv2.resize(share, size[::-1], interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(scaled)[None, None].to(device)


def warp(previous: Tensor, flow: Tensor) -> Tensor:
    """`previous` (1, C, H, W) pulled along `flow` (1, 2, H, W): warped(x) = previous(x + flow(x)).

    Float32, edges repeated; see `images.sample`.
    """
    return sample(previous, sampling_grid(flow), "border")


def sampling_grid(flow: Tensor) -> Tensor:
    """Where `flow` (1, 2, H, W) points, in grid_sample's coordinates: (1, H, W, 2)."""
    height, width = flow.shape[2:]
    # grid_sample counts from -1 to 1 across pixel edges when corners are not aligned.
    x = torch.arange(width, device=flow.device, dtype=torch.float32)
    y = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None]
    to_x = (flow[:, 0] + x + 0.5) * (2 / width) - 1
    to_y = (flow[:, 1] + y + 0.5) * (2 / height) - 1
    return torch.stack([to_x, to_y], -1)


def _pointed_at(flow: FlowArray) -> tuple[Grey, Grey]:
    """The x and the y, each (H, W), that `flow` points at."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x + flow[..., 0], y + flow[..., 1]


def _squared(vectors: NDArray[Any]) -> NDArray[Any]:
    """|v|² of (..., 2)."""
    return np.asarray(vectors[..., 0] ** 2 + vectors[..., 1] ** 2)
