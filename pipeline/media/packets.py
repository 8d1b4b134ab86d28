"""What a film's container holds, packet by packet, undecoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dreamreel.pipeline.opening import open_container

LATE_AT_MOST = 1.0  # seconds, that all streams may end before the file says it does
TS_PACKETS = (188, 192, 204)  # bytes: as broadcast, on Blu-rays, with error correction


@dataclass(frozen=True)
class Packets:
    """What a file's stream of pictures holds, undecoded: when each is shown, in seconds, in order;
    how many there are, those included that are not shown; how many of them have no time; how
    many seconds before the end that it tells of the file ends; when the last one shown ends, where
    it tells that; and the first `fault` of the container."""

    shown: list[Fraction]
    count: int
    untimed: int
    lacking: Fraction
    ends: Fraction | None
    fault: str | None


def scan_packets(path: Path, index: int) -> Packets:
    import av

    lasting: list[tuple[Fraction, Fraction]] = []
    count, untimed, cut, end = 0, 0, 0, Fraction(0)
    with _complaints() as complaints, open_container(path) as container:
        begins = Fraction(container.start_time or 0, 1_000_000)
        # Streams alone know what was told: the container's own length may be a guess from its size.
        told = Fraction(container.duration or 0, 1_000_000)
        kind = container.format.name
        tells = kind.startswith(("matroska", "mov"))
        tells_each = kind.startswith("mov")  # of others, the lengths are guesses
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
                    lasting.append((packet.pts * packet.time_base, length))
        except av.FFmpegError:  # what comes before is there
            if not count:
                raise
    short = told - (end - begins) if tells and end else Fraction(0)
    lacking = short if short > LATE_AT_MOST else Fraction(0)
    shown, lengths = zip(*sorted(lasting), strict=True) if lasting else ((), ())
    ends = shown[-1] + lengths[-1] if tells_each and lasting and lengths[-1] else None
    faults = [said for _, name, said in complaints if name == kind]  # not what a codec says
    if kind == "mpegts" and all(path.stat().st_size % size for size in TS_PACKETS):
        faults.append("it was cut off")
    faults += [f"{cut} of its packets are not whole"] if cut else []
    fault = faults[0].strip().rstrip(".") if faults else None
    return Packets(list(shown), count, untimed, lacking, ends, fault)


@contextmanager
def _complaints() -> Iterator[list[tuple[int, str, str]]]:
    """What ffmpeg's libraries say of faults within: how grave, of what, and the words."""
    from av import logging

    before = logging.get_level(), logging.get_skip_repeated()
    logging.set_level(logging.ERROR)
    logging.set_skip_repeated(False)  # what was said of another file too is said of this one
    try:
        with logging.Capture(local=False) as said:
            yield said
    finally:
        logging.set_level(before[0])
        logging.set_skip_repeated(before[1])
