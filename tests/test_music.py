"""Music for schedules: beats, onsets, bands and loudness of generated sounds."""

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.config.schedule import MUSIC, Moment, parse
from dreamreel.pipeline.config.timeline import without_beat
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.media.sound import BANDS, Sound, hear
from making import run_ffmpeg

RATE = 44100
FPS = Fraction(30)
SECOND = np.arange(RATE) / RATE


def write_sound(path: Path, samples: np.ndarray, *options: str) -> Path:
    raw = np.int16(np.clip(samples, -1, 1) * 32767).tobytes()
    run_ffmpeg(
        *("-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", "-", *options, str(path)), stdin=raw
    )
    return path


def tone(pitch: float, seconds: float = 1) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)


def struck(times: np.ndarray, seconds: float, pitch: float = 1000) -> np.ndarray:
    """The samples of short strokes at `times`, in seconds."""
    samples = np.zeros(int(seconds * RATE))
    stroke = tone(pitch, 0.03) * np.exp(-np.arange(int(0.03 * RATE)) / RATE / 0.006)
    for time in times:
        begin = round(time * RATE)
        part = samples[begin : begin + len(stroke)]
        part += stroke[: len(part)]
    return samples


def clicks(bpm: float, seconds: float = 10) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(0.25, seconds - 0.1, 60 / bpm)
    return times, struck(times, seconds)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """One second each of bass, mid and treble, with a silent second before and after each."""
    nothing = 0 * SECOND
    parts = [nothing, tone(60), nothing, tone(500), nothing, tone(5000), nothing]
    path = write_sound(tmp_path_factory.mktemp("tones") / "tones.wav", np.concatenate(parts))
    return hear(path, FPS, 8 * 30)


@pytest.mark.parametrize("suffix", ["wav", "mp3", "m4a", "ogg", "flac"])
def test_beats_are_found_at_the_clicks_in_every_format(tmp_path: Path, suffix: str) -> None:
    times, samples = clicks(120)
    sound = hear(write_sound(tmp_path / f"clicks.{suffix}", samples), FPS, 300)
    assert sound.bpm == pytest.approx(120, abs=1)
    assert len(sound.beats) == len(times)
    assert np.abs(np.array(sound.beats) - times).max() < 0.03


@pytest.mark.parametrize("bpm", [60, 75, 96, 140, 174, 200])
def test_the_tempo_is_found(tmp_path: Path, bpm: float) -> None:
    _, samples = clicks(bpm)
    assert hear(write_sound(tmp_path / "c.wav", samples), FPS, 300).bpm == pytest.approx(bpm, abs=1)


def test_beats_follow_the_drum_and_not_the_hats_between(tmp_path: Path) -> None:
    beat = 60 / 110
    kicks, hats = np.arange(0.1, 9.8, beat), np.arange(0.1 + beat / 2, 9.8, beat)
    random = np.random.default_rng(0)
    samples = struck(kicks, 10, 80) + 0.25 * struck(hats, 10, 6000)
    samples += 0.1 * np.sin(2 * np.pi * 220 * np.arange(len(samples)) / RATE)
    sound = hear(
        write_sound(tmp_path / "d.wav", samples + 0.002 * random.standard_normal(len(samples))),
        FPS,
        300,
    )
    assert sound.bpm == pytest.approx(110, abs=1)
    assert max(np.abs(kicks - one).min() for one in sound.beats) < 0.03


def test_the_beat_curve_is_1_at_a_beat_and_falls_until_the_next(tmp_path: Path) -> None:
    _, samples = clicks(120)
    sound = hear(write_sound(tmp_path / "c.wav", samples), FPS, 300)
    curve = [sound.at(frame)["beat"] for frame in range(300)]
    beats = [round(beat * 30) for beat in sound.beats]
    assert all(curve[beat] == 1 for beat in beats)
    for first, last in itertools.pairwise(beats):
        assert np.all(np.diff(curve[first:last]) < 0) and curve[last - 1] < 0.1
    assert not any(curve[: beats[0]])


def test_the_onset_curve_rises_at_each_stroke(tmp_path: Path) -> None:
    times = np.array([0.5, 1.1, 2.4, 2.7])
    sound = hear(write_sound(tmp_path / "o.wav", struck(times, 4)), FPS, 120)
    curve = np.array([sound.at(frame)["onset"] for frame in range(120)])
    rising = np.flatnonzero(np.diff(curve, prepend=0) > 0.3)
    assert np.abs(rising - times * 30).max() <= 1
    assert curve[58] < 0.05 < curve[37] < 0.8


@pytest.mark.parametrize(("number", "name"), list(enumerate(BANDS)))
def test_a_tone_raises_only_its_own_band(tones: Sound, number: int, name: str) -> None:
    now = tones.at((2 * number + 1) * 30 + 15)
    assert now[name] > 0.95 and now["loud"] > 0.95
    assert all(now[other] < 0.05 for other in BANDS if other != name)


def test_loudness_falls_slowly_after_a_tone(tones: Sound) -> None:
    loud = [tones.at(frame)["loud"] for frame in range(60, 90)]
    assert loud[0] > 0.8 and 0.2 < loud[6] < 0.7 and loud[-1] < 0.01
    assert np.all(np.diff(loud) < 0)


def test_all_curves_are_from_0_to_1_and_0_after_the_end(tones: Sound) -> None:
    assert tuple(tones.at(0)) == MUSIC
    assert all(0 <= value <= 1 for frame in range(240) for value in tones.at(frame).values())
    for frame in (-1, 215, 239, 240, 9999):
        assert not any(tones.at(frame).values())


def test_a_steady_tone_stays_loud_and_has_no_beats(tmp_path: Path) -> None:
    sound = hear(write_sound(tmp_path / "hum.wav", tone(440, 4)), FPS, 120)
    assert min(sound.at(60)["loud"], sound.at(60)["mid"]) > 0.99
    assert sound.beats == () and sound.bpm == 0


@pytest.mark.parametrize("dither", [0, 1 / 32767])
def test_silence_has_no_beats_and_no_loudness(tmp_path: Path, dither: float) -> None:
    samples = dither * np.random.default_rng(0).integers(-1, 2, 3 * RATE)
    sound = hear(write_sound(tmp_path / "nothing.wav", samples), FPS, 120)
    assert sound.beats == () and sound.bpm == 0
    assert all(value == 0 for frame in range(120) for value in sound.at(frame).values())


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.7])
def test_very_short_sounds_are_heard(tmp_path: Path, seconds: float) -> None:
    sound = hear(write_sound(tmp_path / "short.wav", tone(440, seconds)), FPS, 30)
    assert 0 < sound.at(0)["loud"] <= 1 and not any(sound.at(29).values())


def test_a_sound_that_is_over_or_too_short_is_silent(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "short.wav", tone(440))
    for sound in (
        hear(path, FPS, 9, start=Fraction(5)),
        hear(write_sound(tmp_path / "no.wav", tone(440, 0.001)), FPS, 9),
    ):
        assert not any(sound.at(0).values())


def test_the_same_file_gives_the_same_curves(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "c.wav", clicks(100, 4)[1])
    one, other = hear(path, FPS, 120), hear(path, FPS, 120)
    assert one.beats == other.beats
    assert [one.at(frame) for frame in range(120)] == [other.at(frame) for frame in range(120)]


def test_hearing_may_start_at_any_time_and_rate(tmp_path: Path) -> None:
    times, samples = clicks(120)
    path = write_sound(tmp_path / "c.wav", samples)
    later = hear(path, Fraction(30000, 1001), 200, start=Fraction(2))
    assert np.abs(np.array(later.beats) + 2 - times[times > 2][: len(later.beats)]).max() < 0.03
    early = hear(path, Fraction(240), 2400, start=Fraction(-1))
    assert early.beats[0] == pytest.approx(1.25, abs=0.03)
    assert early.at(200)["loud"] == 0 and early.at(301)["loud"] > 0.5
    assert hear(path, Fraction(1), 12).at(3)["loud"] > 0.5


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clicks at 100 a minute for 20 s, soft ones in the first half."""
    samples = clicks(100, 20)[1]
    samples[: len(samples) // 2] *= 0.25
    return write_sound(tmp_path_factory.mktemp("song") / "song.wav", samples)


@pytest.mark.parametrize(("start", "frames"), [(0, 1), (0, 30), (3, 30), (12, 45), (19, 90)])
def test_a_part_of_a_song_sounds_as_in_the_whole(song: Path, start: int, frames: int) -> None:
    whole, part = hear(song, FPS, 600), hear(song, FPS, frames, Fraction(start))
    assert part.bpm == whole.bpm == pytest.approx(100, abs=1)
    for frame in range(min(frames, 600 - start * 30)):
        assert part.at(frame) == pytest.approx(whole.at(start * 30 + frame))
    later = [beat - start for beat in whole.beats if beat >= start]
    assert part.beats == pytest.approx(later)


def test_a_second_of_a_song_has_its_beat(song: Path) -> None:
    second = hear(song, FPS, 30)
    assert max(second.at(frame)["beat"] for frame in range(30)) == 1


def test_a_key_on_a_beat_lies_where_it_does_in_the_whole_song(song: Path) -> None:
    ramp = parse("0b:(0), 4b:(4)")
    found = []
    for frames in (30, 600):
        sound = hear(song, FPS, frames)
        found.append(ramp.at(Moment(20, frames, FPS, sound.at(20), sound.beats)))
    assert found[0] == found[1]


def test_a_song_that_was_replaced_is_heard_anew(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "c.wav", clicks(100, 5)[1])
    assert hear(path, FPS, 30).bpm == pytest.approx(100, abs=1)
    write_sound(path, clicks(150, 5)[1], "-y")
    assert hear(path, FPS, 30).bpm == pytest.approx(150, abs=2)


def test_a_beat_that_is_followed_and_not_found_is_told(tmp_path: Path) -> None:
    hum = hear(write_sound(tmp_path / "hum.wav", tone(440, 4)), FPS, 30)
    for text, told in (("1 + beat", True), ("1 + bass", False), ("0:(1), 9:(2+beat)", True)):
        settings = build(("test", {"dream": {"strength": text}}))
        assert without_beat(settings, hum) is told
        assert not without_beat(settings, None)
    with pytest.raises(ValueError, match="count beats, and the music has none; give bpm = 120"):
        parse("0b:(0), 4b:(4)").at(Moment(0, 30, FPS, hum.at(0), hum.beats))


def test_sound_that_begins_after_the_pictures_is_heard_when_it_is_shown(tmp_path: Path) -> None:
    wav = write_sound(tmp_path / "c.wav", clicks(120, 5)[1])
    path = tmp_path / "late.mkv"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "color=size=64x48:rate=25:duration=8", "-itsoffset", "2"),
        *("-i", str(wav), "-map", "0:v", "-map", "1:a", "-c:a", "flac", str(path)),
    )
    sound = hear(path, Fraction(25), 200)
    assert sound.beats[0] == pytest.approx(2.25, abs=0.03)
    assert sound.at(49)["loud"] == 0 and sound.at(57)["loud"] > 0.8


def test_a_file_without_sound_is_refused(tmp_path: Path, odd_clip: Path) -> None:
    (tmp_path / "no.mp3").write_text("no music\n" * 99)
    (tmp_path / "odd.mp3").write_bytes(b"\1\2\3 of an unknown kind" * 99)
    for path, words in (
        (odd_clip, "has no sound"),
        (tmp_path / "no.mp3", "no.mp3 is a text, not sound"),
        (tmp_path / "odd.mp3", "no sound that can be decoded"),
        (tmp_path / "gone.mp3", "there is no file"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(UserError, match=words):
            hear(path, FPS, 30)


def test_music_drives_a_schedule(tmp_path: Path) -> None:
    sound = hear(write_sound(tmp_path / "c.wav", clicks(120)[1]), FPS, 300)

    def at(frame: int) -> Moment:
        return Moment(frame, 300, FPS, sound.at(frame), sound.beats)

    assert parse("1 + beat").at(at(round(sound.beats[3] * 30))) == 2
    ramp = parse("0b:(0), 4b:(4)")
    assert ramp.at(at(round(sound.beats[2] * 30))) == pytest.approx(2, abs=0.05)
