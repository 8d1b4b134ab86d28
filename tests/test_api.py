"""The public API: its examples run, and importing it loads no torch."""

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dreamreel import pipeline
from dreamreel.pipeline import Job, Settings, run
from dreamreel.pipeline.app import api
from making import ROOT, read_clip, write_clip


def test_every_example_runs() -> None:
    found = doctest.testmod(api)
    assert found.attempted > 10 and found.failed == 0


def test_the_documented_job_runs(tmp_path: Path, scene: np.ndarray) -> None:
    source = write_clip(tmp_path / "clip.mp4", [scene[:96, i : 160 + i] for i in range(3)])
    job = Job(
        kind="video",
        source={"path": source},  # type: ignore[arg-type]
        output=tmp_path / "dream.mp4",
        settings=Settings(dream={"octaves": 1, "steps": 1, "terms": "textures"}),  # type: ignore[arg-type]
    )
    assert len(read_clip(run(job))) == 3


def test_every_name_in_all_exists() -> None:
    assert all(callable(getattr(pipeline, name)) for name in pipeline.__all__)
    with pytest.raises(AttributeError, match="no attribute 'dream_imag'"):
        _ = pipeline.dream_imag


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys; import dreamreel.pipeline; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_version_is_that_of_pyproject() -> None:
    assert f'version = "{pipeline.__version__}"' in (ROOT / "pyproject.toml").read_text()
