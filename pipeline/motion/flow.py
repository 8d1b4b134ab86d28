"""Optical flow between two frames: its estimators.

Flow goes from the current frame to the previous one: (dx, dy) in pixels, so that
`warp(previous, flow)` pulls the previous frame onto the current grid.
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
from dreamreel.pipeline.networks.devices import find_device
from dreamreel.pipeline.networks.weights import State, check_numbers, fetch_weights, read_weights

FlowArray = NDArray[np.float32]  # (H, W, 2)
Grey = NDArray[Any]  # (H, W), in levels of 255
# Flow from the first frame to the second, both at the working size, in pixels of theirs.
FlowEstimator = Callable[[Frame, Frame], FlowArray]
RAFT_STRIDE, RAFT_SMALLEST = 8, 128  # pixels


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
            grey(here),
            grey(there),
            None,
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
