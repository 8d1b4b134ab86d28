"""An unknown option is answered with the option or setting that does it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dreamreel.pipeline.app.suggestions import MEANT
from dreamreel.pipeline.config.fields import all_fields
from making import Run

Call = Callable[..., Run]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("video a.mp4 --outptu o.mp4", "there is no option --outptu; did you mean --output?"),
        ("video a.mp4 --strenth 2", "did you mean --strength"),
        ("video a.mp4 --carry 0.5", "--set video.carry=VALUE (least share of the dream"),
        ("video a.mp4 --quality 3", "here it is --crf"),
        ("video a.mp4 --crop-to top", "did you mean --crop-at"),
        ("zoom --speed 2", "--set camera.zoom=VALUE"),
        ("zoom --crop 9:16", "here it is --size"),
        ("image a.png --opacity 0.5", "--set dream.mix=VALUE"),
        ("image a.png --learning-rate 2", "--set dream.step_size=VALUE"),
        ("zoom --rotate 2", "--set camera.rotation=VALUE (roll"),
        ("zoom --duration 2", "here it is --seconds"),
        ("image a.png --intensity 2", "here it is --strength"),
        ("image a.png --mix=0.5", "--set dream.mix=VALUE"),
        ("video a.mp4 --subtitle no", "--set output.subtitles=VALUE"),
        ("image a.png --colour teal", "there is no option --colour; dreamreel zoom takes it"),
        ("zoom --start 2", "there is no option --start; dreamreel video and activations take it"),
        ("video a.mp4 --fsp 3", "did you mean --fps?"),
        ("layers dreamnet --strength 2", "there is no option --strength; --help lists"),
        ("video a.mp4 --xyzzy", "--help lists the options"),
    ],
)
def test_an_unknown_option_is_answered_with_what_does_it(
    dreamreel: Call, command: str, told: str
) -> None:
    run = dreamreel(*command.split())
    assert run.code == 2 and told in run.err and run.err.count("\n") == 1, run.err


def test_what_words_of_other_programs_mean_is_there(dreamreel: Call) -> None:
    helped = "".join(dreamreel(command, "--help").out for command in ("video", "zoom", "image"))
    for meant in set(MEANT.values()):
        assert meant in all_fields() or meant.split()[0] in helped, meant


def test_a_file_in_place_of_a_command_is_answered_with_the_command_that_takes_it(
    dreamreel: Call, moving_clip: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    for path, told in (
        (moving_clip, "is a film, not a command; dreamreel video dreams it"),
        (tmp_path, "is a folder, not a command; dreamreel batch dreams each"),
        (empty, "is empty"),
        (Path(__file__), "is no command"),
    ):
        run = dreamreel(str(path))
        assert run.code == 2 and told in run.err and run.err.count("\n") == 1, run.err
