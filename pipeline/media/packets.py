"""The packets of a film: their times, their number and their faults, without decoding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dreamreel.pipeline.opening import open_container

# Seconds by which all streams may end before the length that the file states; beyond, it was cut
# off. A round number, well above the length of one frame or one packet of sound; not measured.
LATE_AT_MOST = 1.0
# Bytes of an MPEG-TS packet: as broadcast, on Blu-rays, with error correction.
TS_PACKETS = (188, 192, 204)


@dataclass(frozen=True)
class Packets:
    """The packets of a file's picture stream, one a picture. Times are in seconds."""

    shown: list[Fraction]  # when each picture is shown, sorted
    count: int  # pictures, those that are not shown included
    untimed: int  # pictures without a time
    lacking: Fraction  # by how much the file ends before the length that it states
    ends: Fraction | None  # when the last picture shown ends, where the container says so
    fault: str | None  # the first fault of the container


def scan_packets(path: Path, index: int) -> Packets:
    """The packets of stream `index` of the file at `path`. A file that breaks off is read up to
    there.

    Raises av.FFmpegError, OSError or ValueError where it cannot be read at all.
    """
    import av

    timed: list[tuple[Fraction, Fraction]] = []
    count, untimed, cut, end = 0, 0, 0, Fraction(0)
    with _complaints() as complaints, open_container(path) as container:
        begins = Fraction(container.start_time or 0, 1_000_000)
        # Only Matroska and MP4 state it: of others, it may be ffmpeg's guess from the file's size.
        stated = Fraction(container.duration or 0, 1_000_000)
        kind = container.format.name
        states_length = kind.startswith(("matroska", "mov"))
        states_each = kind.startswith("mov")  # other containers' packet lengths are guesses
        try:
            for packet in container.demux():
                length = (packet.duration or 0) * packet.time_base
                cut += packet.is_corrupt
                if packet.pts is not None and packet.size:
                    end = max(end, packet.pts * packet.time_base + length)
                if packet.stream.index != index or not packet.size:
                    continue
                count += 1
                untimed += packet.pts is None
                if packet.pts is not None and not packet.is_discard:
                    timed.append((packet.pts * packet.time_base, length))
        except av.FFmpegError:  # the packets before the fault count
            if not count:
                raise
    short = stated - (end - begins) if states_length and end else Fraction(0)
    lacking = short if short > LATE_AT_MOST else Fraction(0)
    shown, lengths = zip(*sorted(timed), strict=True) if timed else ((), ())
    ends = shown[-1] + lengths[-1] if states_each and timed and lengths[-1] else None
    # The container's complaints count; those of codecs do not.
    faults = [said for _, name, said in complaints if name == kind]
    if kind == "mpegts" and all(path.stat().st_size % size for size in TS_PACKETS):
        faults.append("it was cut off")
    faults += [f"{cut} of its packets are not whole"] if cut else []
    fault = faults[0].strip().rstrip(".") if faults else None
    return Packets(list(shown), count, untimed, lacking, ends, fault)


@contextmanager
def _complaints() -> Iterator[list[tuple[int, str, str]]]:
    """The errors that ffmpeg's libraries log within: (level, name of the component, message)."""
    from av import logging

    before = logging.get_level(), logging.get_skip_repeated()
    logging.set_level(logging.ERROR)
    logging.set_skip_repeated(False)  # else a message that another file had is left out
    try:
        with logging.Capture(local=False) as said:
            yield said
    finally:
        logging.set_level(before[0])
        logging.set_skip_repeated(before[1])
