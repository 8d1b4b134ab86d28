"""Real clips and networks of the shared folder beside the checkout; skipped without it."""

from collections.abc import Callable
from pathlib import Path

import av
import pytest
import torch

from dreamreel.pipeline.media.clips import frame_times, probe
from dreamreel.pipeline.media.reading import read_frames
from dreamreel.pipeline.networks.catalog import load_network
from making import SHARED, Run, read_clip

pytestmark = pytest.mark.shared

CLIPS = sorted(
    path.name
    for path in (SHARED / "clips").glob("*")
    if path.suffix in (".mp4", ".mov", ".mkv", ".webm")
)


@pytest.mark.parametrize("name", CLIPS)
def test_a_real_clip_is_dreamed(dreamreel: Callable[..., Run], tmp_path: Path, name: str) -> None:
    source = SHARED / "clips" / name
    run = dreamreel(
        "video",
        source,
        "-o",
        tmp_path / "o.mp4",
        "--frames",
        "0:3",
        "--width",
        160,
        "--set",
        "dream.octaves=1",
        "--set",
        "dream.steps=2",
        "--quiet",
    )
    assert run.code == 0, run.err
    before, after = probe(source), probe(tmp_path / "o.mp4")
    frames = read_clip(tmp_path / "o.mp4")
    assert len(frames) == 3
    assert after.has_audio == before.has_audio
    if before.times:  # each frame at its own time; the film lasts to the end of the last
        due = [float(time) for time in before.times[:3]]
        found = [float(time) for time in frame_times(tmp_path / "o.mp4")]
        assert found == pytest.approx(due, abs=0.001)
        with av.open(str(tmp_path / "o.mp4")) as container:
            stream = container.streams.video[0]
            assert float(stream.duration * stream.time_base) == pytest.approx(
                float(before.shown_at(3)), abs=0.002
            )
    else:
        assert after.rate == before.rate
    assert frames[0].shape[1] == 160
    upright = next(read_frames(source)).shape
    assert frames[0].shape[0] == pytest.approx(160 * upright[0] / upright[1], abs=2)


@pytest.mark.parametrize(
    ("network", "file", "layer"),
    [
        ("bvlc_googlenet", "bvlc_googlenet", "inception_4c"),
        ("inception_v3", "inception_v3_2015", "Mixed_6b"),
        ("squeezenet1_1", "squeezenet1_1", "features.7"),
    ],
)
def test_a_real_network_dreams(
    dreamreel: Callable[..., Run], tmp_path: Path, network: str, file: str, layer: str
) -> None:
    weights = SHARED / "networks" / f"{file}.safetensors"
    run = dreamreel(
        "image",
        SHARED / "photos" / "flowers.jpg",
        "-o",
        tmp_path / "o.png",
        "--width",
        160,
        "--network",
        network,
        "--weights",
        weights,
        "--set",
        f"dream.terms={layer}",
        "--quiet",
    )
    assert run.code == 0, run.err


def test_bvlc_googlenet_recognises_a_cat() -> None:
    from dreamreel.pipeline.media.stills import load_picture
    from dreamreel.pipeline.tensors import crop_to

    cpu = torch.device("cpu")
    weights = SHARED / "networks" / "bvlc_googlenet.safetensors"
    network = load_network("bvlc_googlenet", weights, "cpu", "float32")
    image = crop_to(load_picture(SHARED / "photos" / "Egyptian_cat.jpg", cpu).image, (224, 224))
    first = network.activations(image, ["fc"])["fc"].argmax().item()
    assert 281 <= first <= 285  # ImageNet's domestic cats; 285 is the Egyptian
