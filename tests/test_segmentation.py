"""Masks of the things in a frame."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.keys import CLASSES, parse_key
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.networks.segmentation import load_segmenter


def test_classes_are_numbered_as_torchvision_does() -> None:
    from torchvision.models.segmentation import LRASPP_MobileNet_V3_Large_Weights as Weights

    names = Weights.DEFAULT.meta["categories"]
    assert tuple(names[1:]) == CLASSES
    assert names[parse_key("person").number] == "person"
    assert parse_key("airplane") == parse_key("aeroplane")


def test_a_frame_is_segmented_at_its_own_size(tmp_path: Path) -> None:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    segment = load_segmenter(tmp_path / "w.pth", torch.device("cpu"))
    found = segment(np.zeros((40, 60, 3), np.uint8))
    assert found.shape == (21, 40, 60) and found.min() >= 0 and found.max() <= 1


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(3)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="does not hold the weights of lraspp"):
        load_segmenter(tmp_path / "w.pth", torch.device("cpu"))


def test_a_class_that_is_none_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'horse'"):
        build(("test", {"mask": {"key": "hrose"}}))
