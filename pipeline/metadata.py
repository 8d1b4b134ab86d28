"""The metadata of PNG and JPEG files; the files without what keeps them from being read."""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks beside the pixels that decoding them needs: transparency, and the frames of an animation.
NEEDED = {b"tRNS", b"acTL", b"fcTL", b"fdAT"}
COMPRESSED = {b"zTXt": 1, b"iCCP": 1}  # bytes between a chunk's name and its compressed data
TEXT = {b"tEXt", b"zTXt", b"iTXt"}
LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"pHYs": 9, b"tIME": 7}
# Bytes of text that a picture may have, and of any one of its texts and of its colour profile, once
# decompressed: Pillow's own limits, beyond which it refuses the whole picture.
MOST_TEXT, LONGEST = 1 << 26, 1 << 20


# The least bytes of a JPEG's segments, by how they begin: Pillow refuses those that are shorter.
SEGMENTS = {b"JFIF": 7, b"Adobe": 7, b"ICC_PROFILE\0": 14}
APPLICATION, SCAN = range(0xE0, 0xF0), 0xDA  # markers of a JPEG's segments


class Chunk(NamedTuple):
    """A chunk of a PNG file: its name, and where in the file its `size` bytes of data begin."""

    name: bytes
    at: int
    size: int

    @property
    def is_metadata(self) -> bool:
        """Whether pixels are decoded without it."""
        return bool(self.name[0] & 0x20) and self.name not in NEEDED


def chunks(file: IO[bytes]) -> Iterator[Chunk]:
    """The chunks of the PNG `file`, as far as they are whole; none where it is no PNG."""
    file.seek(0)
    if file.read(8) != SIGNATURE:
        return
    length, at = file.seek(0, io.SEEK_END), 8
    while at + 12 <= length:
        file.seek(at)
        size, name = int.from_bytes(file.read(4), "big"), file.read(4)
        if at + 12 + size > length:
            return
        yield Chunk(name, at + 8, size)
        at += 12 + size


def chunk_data(file: IO[bytes], chunk: Chunk) -> bytes | None:
    """The data of `chunk`, a chunk of `file`; None where its checksum says that it is damaged."""
    file.seek(chunk.at)
    data = file.read(chunk.size)
    return data if zlib.crc32(chunk.name + data) == int.from_bytes(file.read(4), "big") else None


def inflated(data: bytes, most: int) -> bytes | None:
    """`data` decompressed; None where that fails or gives more than `most` bytes."""
    inflate = zlib.decompressobj()
    try:
        whole = inflate.decompress(data, most)
    except zlib.error:
        return None
    return None if inflate.unconsumed_tail else whole


def harmless(path: Path) -> Path | IO[bytes]:
    """The picture file `path`, for Pillow; as bytes without some of its metadata, if Pillow would
    refuse the picture for these, or take much memory for them."""
    with path.open("rb") as file:
        start = file.read(3)
        if start == b"\xff\xd8\xff":
            return _harmless_jpeg(path, file)
        found = list(chunks(file)) if SIGNATURE.startswith(start) else []
        kept, total = set(), 0
        for chunk in found:
            if chunk.is_metadata and chunk.name != b"eXIf":
                text = _length_of(file, chunk)
                total += text or 0
                if text is None or total > MOST_TEXT:
                    continue
            if chunk.name == b"eXIf" and chunk_data(file, chunk) is None:
                continue
            kept.add(chunk)
        return path if len(kept) == len(found) else io.BytesIO(_joined(file, found, kept))


def _harmless_jpeg(path: Path, file: IO[bytes]) -> Path | IO[bytes]:
    bad = [
        (at, size)
        for marker, at, size in _segments(file)
        if marker in APPLICATION and not _is_whole(file, at, size)
    ]
    if not bad:
        return path
    file.seek(0)
    data = bytearray(file.read())
    for at, size in reversed(bad):
        del data[at : at + size]
    return io.BytesIO(data)


def _segments(file: IO[bytes]) -> Iterator[tuple[int, int, int]]:
    """The segments before the pixels of a JPEG: (marker, where it begins, bytes in all)."""
    at = 2
    while True:
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == SCAN:
            return
        size = 2 + int.from_bytes(head[2:], "big")
        yield head[1], at, size
        at += size


def _is_whole(file: IO[bytes], at: int, size: int) -> bool:
    """Whether the segment of `size` bytes that begins `at` has the bytes that its kind needs."""
    file.seek(at + 4)
    begin = file.read(12)
    return all(
        size - 4 >= least for name, least in SEGMENTS.items() if begin[: size - 4].startswith(name)
    )


def without_metadata(path: Path) -> bytes:
    """The bytes of the picture file `path`, without its metadata if it is a PNG."""
    with path.open("rb") as file:
        found = list(chunks(file))
        if not found:
            file.seek(0)
            return file.read()
        return _joined(file, found, {chunk for chunk in found if not chunk.is_metadata})


def _length_of(file: IO[bytes], chunk: Chunk) -> int | None:
    """The bytes of text in the metadata `chunk`; None where Pillow would refuse it."""
    if chunk.size != LENGTHS.get(chunk.name, chunk.size):
        return None
    if (data := chunk_data(file, chunk)) is None:
        return None
    if chunk.name == b"iTXt":
        _, _, rest = data.partition(b"\0")
        parts = rest[2:].split(b"\0", 2)
        packed = parts[-1] if rest[:1] == b"\1" else None
    elif chunk.name in COMPRESSED:
        packed = data.partition(b"\0")[2][COMPRESSED[chunk.name] :]
    else:
        packed = None
    if packed is None:
        return len(data) if chunk.name in TEXT else 0
    whole = inflated(packed, LONGEST)
    return None if whole is None else len(whole) * (chunk.name in TEXT)


def _joined(file: IO[bytes], found: list[Chunk], kept: set[Chunk]) -> bytes:
    """The PNG `file` with the `kept` ones of the chunks that were `found`, and all that follows the
    last."""
    parts = [SIGNATURE]
    for chunk in found:
        if chunk in kept:
            file.seek(chunk.at - 8)
            parts.append(file.read(chunk.size + 12))
    last = found[-1]
    file.seek(last.at + last.size + 4)
    return b"".join([*parts, file.read()])
