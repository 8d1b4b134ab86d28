"""Estimators of the optical flow between two frames.

Flow is (dx, dy) in pixels, from the current frame to the previous one. So `warp(previous, flow)`
pulls the previous frame onto the grid of the current one.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import Frame, to_8_bits
from dreamreel.pipeline.networks.checkpoints import fitting
from dreamreel.pipeline.networks.devices import find_device
from dreamreel.pipeline.networks.weights import Weights, check_numbers, fetch_weights, read_weights

FlowArray = NDArray[np.float32]  # (H, W, 2)
Grey = NDArray[Any]  # (H, W), 0 to 255
# The flow from the first frame to the second. Both are at the working size, and so are the pixels.
FlowEstimator = Callable[[Frame, Frame], FlowArray]
# Pixels. RAFT takes sides that are multiples of 8, as its features have that stride. Its pyramid of
# 4 levels needs 16 places of them along each side.
RAFT_STRIDE, RAFT_SMALLEST = 8, 128


def find_estimator(settings: Settings) -> FlowEstimator:
    """The estimator that `settings.flow` names, with its weights. Raises UserError if these cannot
    be loaded."""
    return FLOW_ESTIMATORS[settings.flow.method](settings)


def dis(settings: Settings) -> FlowEstimator:
    """Dense inverse search (Kroeger et al., ECCV 2016): fast, repeatable, without weights."""
    # One thread: flow runs beside the dream, whose threads already take every core.
    cv2.setNumThreads(1)
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def estimate(here: Frame, there: Frame) -> FlowArray:
        return np.asarray(estimator.calc(grey(here), grey(there), None))

    return estimate


def farneback(settings: Settings) -> FlowEstimator:
    """Polynomial expansion (Farnebäck, SCIA 2003): smooth, and vague at edges."""
    cv2.setNumThreads(1)  # as in `dis`

    def estimate(here: Frame, there: Frame) -> FlowArray:
        flow: Any = cv2.calcOpticalFlowFarneback(
            grey(here),
            grey(there),
            None,
            # OpenCV's manual pairs poly_n = 7 with poly_sigma = 1.5; the others were not measured.
            pyr_scale=0.5,
            levels=5,
            winsize=15,
            iterations=3,
            poly_n=7,
            poly_sigma=1.5,
            flags=0,
        )
        return np.asarray(flow, np.float32)

    return estimate


def raft(settings: Settings) -> FlowEstimator:
    """Recurrent all-pairs field transforms (Teed and Deng, ECCV 2020): torchvision's large RAFT.
    Raises UserError if its weights cannot be loaded."""
    from torchvision.models.optical_flow import Raft_Large_Weights, raft_large

    weights = Raft_Large_Weights.DEFAULT
    return _raft(raft_large(weights=None), weights.url, "raft", settings)


def raft_small(settings: Settings) -> FlowEstimator:
    """Torchvision's small RAFT: a fifth of the weights, several times as fast. Raises UserError if
    its weights cannot be loaded."""
    from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

    weights = Raft_Small_Weights.DEFAULT
    return _raft(raft_small(weights=None), weights.url, "raft_small", settings)


FLOW_ESTIMATORS: dict[str, Callable[[Settings], FlowEstimator]] = {
    "dis": dis,
    "farneback": farneback,
    "raft": raft,
    "raft_small": raft_small,
}


ON_GPU = ("raft", "raft_small")  # estimators that compute on the device of the dream


def _raft(module: nn.Module, url: str, name: str, settings: Settings) -> FlowEstimator:
    """The estimator that runs the RAFT `module`, with its weights, on the device of the dream."""
    file = settings.flow.weights
    weights = read_weights(file) if file is not None else fetch_weights(url, name, "flow.weights")
    fit = fitting(weights, module.state_dict(), f"{file or url}")
    _fill(module, fit.weights, f"{file or url}", name)
    device = find_device(settings.device)
    module = module.eval().requires_grad_(False).to(device)

    def estimate(here: Frame, there: Frame) -> FlowArray:
        height, width = here.shape[:2]
        below, beside = (_padding(side) for side in (height, width))
        pair = [_for_raft(frame, device) for frame in (here, there)]
        pair = [F.pad(image, (0, beside, 0, below), mode="replicate") for image in pair]
        with torch.no_grad():
            flow = module(*pair)[-1][0, :, :height, :width]
        return np.ascontiguousarray(flow.permute(1, 2, 0).cpu().numpy())

    return estimate


def _fill(module: nn.Module, weights: Weights, given: str, name: str) -> None:
    """Load `weights` into `module`. Raises UserError if they are another network's."""
    wanted = module.state_dict()
    for key, tensor in wanted.items():
        if key not in weights and not key.endswith("num_batches_tracked"):
            raise UserError(f"{given} has no weights of {name}: {key!r} is missing")
        if key in weights and weights[key].shape != tensor.shape:
            raise UserError(f"{given} has no weights of {name}: {key!r} has another shape")
    check_numbers({key: weights[key] for key in wanted if key in weights}, given)
    module.load_state_dict({key: weights[key] for key in wanted if key in weights}, strict=False)


def _padding(side: int) -> int:
    """How many pixels to add to a side of a frame, so that RAFT takes it."""
    return max(RAFT_SMALLEST - side, -side % RAFT_STRIDE)


def _for_raft(frame: Frame, device: torch.device) -> Tensor:
    """`frame` as RAFT's input: RGB (1, 3, H, W) in [-1, 1]."""
    rgb = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1])).to(device)
    return rgb.permute(2, 0, 1)[None].float() / 127.5 - 1


def grey(frame: Frame) -> Grey:
    """The luma (H, W) of `frame`, which is BGR with 8 bits."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


def working_frame(frame: Frame, side: int) -> Frame:
    """`frame` at the working size: BGR, 8 bits, its shorter side shrunk to `side` pixels.

    Flow is estimated at one size because the constants of the visibility test are in pixels. A
    smaller frame keeps its size: enlarged, it would move further but have no finer texture by which
    to follow that.
    """
    frame = to_8_bits(frame if frame.shape[2] == 3 else np.ascontiguousarray(frame[..., :3]))
    height, width = working_size((frame.shape[0], frame.shape[1]), side)
    if (height, width) == frame.shape[:2]:
        return frame
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))


def working_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size (height, width) of the working frame of a frame of `size`; see `working_frame`."""
    scale = side / min(size)
    if scale >= 1:
        return size
    height, width = (max(side, round(length * scale)) for length in size)
    return height, width
