"""The weights in a `.caffemodel`, read without Caffe.

The file is one protocol buffer message: numbered fields, some of which are messages of their own
(caffe.proto's NetParameter, its layers, and their blobs). Only the names of layers and the numbers
of blobs are looked at, and nothing is nested deeper than this module's functions are.
"""

import math
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.errors import UserError

# Fields by number, in caffe.proto. "Old" ones are those of Caffe before 2014.
LAYER, OLD_LAYER = 100, 2
NAME, OLD_NAME, BLOBS, OLD_BLOBS = 1, 4, 7, 6
SHAPE, OLD_SHAPE, FLOATS, DOUBLES = 7, (1, 2, 3, 4), 5, 8
# How a field's value is written.
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
MOST_FIELDS = 100_000  # in a file; Caffe's GoogLeNet has about 3,000
LONGEST_NAME = 1000  # bytes of a layer's name; a round number
MOST_SIDES = 32  # dimensions of a blob, as Caffe allows
WHAT = ("weight", "bias")  # a layer's blobs, in order
# Caffe's names of the layers of its GoogLeNet, as patterns, and ours.
NAMES = (
    (r"(inception_\d[a-e])/(\dx\d(?:_reduce)?)", r"\1.b\2"),
    (r"(inception_\d[a-e])/pool_proj", r"\1.pool_proj"),
    (r"conv1/7x7_s2", "conv1"),
    (r"conv2/3x3(_reduce)?", r"conv2\1"),
    (r"loss3/classifier\w*", "fc"),
)


class Broken(Exception):
    """The file is not as protocol buffers are. The message says why."""


def read_caffemodel(path: Path) -> dict[str, Tensor]:
    """The float32 weights of Caffe's GoogLeNet in the file `path`, by the names that they have in
    our own, such as "inception_4c.b1x1.weight".

    Raises UserError if the file is damaged, or holds none of them.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        try:
            found = _Reader(mapped).weights()
        except Broken as error:
            raise UserError(f"{path} cannot be read as a Caffe model ({error})") from error
    if not found:
        raise UserError(f"{path} is a Caffe model, but holds no weights of Caffe's GoogLeNet")
    return found


def caffe_name(layer: str) -> str | None:
    """Our name of the layer that Caffe's GoogLeNet calls `layer`; None if it has no such layer."""
    for pattern, ours in NAMES:
        if match := re.fullmatch(pattern, layer):
            return match.expand(ours)
    return None


class _Reader:
    """Reads the fields of messages in `data`, which are told by where they begin and end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._left = MOST_FIELDS

    def weights(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for number, _, start, end in self._fields(0, len(self._data)):
            if number in (LAYER, OLD_LAYER):
                name, blobs = self._layer(start, end, number == OLD_LAYER)
                ours = caffe_name(name)
                for what, blob in zip(WHAT, blobs, strict=False):
                    if ours is not None:
                        found[f"{ours}.{what}"] = blob
        return found

    def _layer(self, start: int, end: int, is_old: bool) -> tuple[str, list[Tensor]]:
        """The name and the first blobs of the layer between `start` and `end`."""
        name = ""
        blobs: list[Tensor] = []
        for number, kind, first, last in self._fields(start, end):
            if kind == BYTES and number == (OLD_NAME if is_old else NAME):
                name = self._data[first : min(last, first + LONGEST_NAME)].decode(errors="replace")
            is_blob = kind == BYTES and number == (OLD_BLOBS if is_old else BLOBS)
            if is_blob and len(blobs) < len(WHAT):
                blobs.append(self._blob(first, last, len(blobs) == 1))
        return name, blobs

    def _blob(self, start: int, end: int, is_bias: bool) -> Tensor:
        """The tensor between `start` and `end`. Old shapes have four numbers, of which a linear
        layer's begin with two ones, and a bias has three."""
        shape: list[int] | None = None
        old = dict.fromkeys(OLD_SHAPE, 0)
        parts: list[np.ndarray] = []
        for number, kind, first, last in self._fields(start, end):
            if number == SHAPE and kind == BYTES:
                shape = self._shape(first, last)
            elif number in OLD_SHAPE and kind == VARINT:
                old[number] = first
            elif number in (FLOATS, DOUBLES):
                parts.append(self._numbers(number, kind, first, last))
        numbers = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if shape is None:
            sizes = [old[number] for number in OLD_SHAPE]
            linear = sizes[2:] if sizes[:2] == [1, 1] else sizes
            shape = [math.prod(sizes)] if is_bias else linear
        if math.prod(shape) != numbers.size:
            raise Broken(f"{numbers.size} numbers stand for a shape of {shape}"[:200])
        return torch.from_numpy(numbers).reshape(shape)

    def _numbers(self, number: int, kind: int, first: int, last: int) -> np.ndarray:
        """The float32 numbers of a field: a packed one, or a run of single ones."""
        is_double = number == DOUBLES
        if kind not in (BYTES, EIGHT_BYTES if is_double else FOUR_BYTES):
            raise Broken("numbers are written as something else")
        size = 8 if is_double else 4
        raw = np.frombuffer(self._data[first:last], np.uint8)
        if kind != BYTES:
            raw = np.ascontiguousarray(raw.reshape(-1, 1 + size)[:, 1:]).reshape(-1)
        if raw.size % size:
            raise Broken("numbers are cut off")
        with np.errstate(over="ignore"):  # too large a number is told of as infinite
            return raw.view("<f8" if is_double else "<f4").astype(np.float32)

    def _shape(self, start: int, end: int) -> list[int]:
        sizes: list[int] = []
        for number, kind, first, last in self._fields(start, end):
            if number == 1 and kind == VARINT:
                sizes.append(first)
            while number == 1 and kind == BYTES and first < last and len(sizes) <= MOST_SIDES:
                size, first = self._varint(first, last)
                sizes.append(size)
        if len(sizes) > MOST_SIDES:
            raise Broken(f"a shape has more than {MOST_SIDES} sides")
        return sizes

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """The number and kind of each field between `start` and `end`, and where its value begins
        and ends; for a VARINT, its value twice. Fields of a fixed size that follow each other, as
        numbers do that are not packed, come as one run, each with the byte of its tag before it."""
        while start < end:
            self._left -= 1
            if self._left < 0:
                raise Broken(f"it has more than {MOST_FIELDS} fields")
            tag, first = self._varint(start, end)
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                value, start = self._varint(first, end)
                yield number, kind, value, value
                continue
            if kind == BYTES:
                size, first = self._varint(first, end)
            elif kind in (EIGHT_BYTES, FOUR_BYTES):
                first -= 1
                size = self._run(first, end, 9 if kind == EIGHT_BYTES else 5)
            else:
                raise Broken(f"it has a field of kind {kind}")
            start = first + size
            if start > end:
                raise Broken("a part is longer than the file or the part around it")
            yield number, kind, first, start

    def _run(self, start: int, end: int, size: int) -> int:
        """The length of the fields of `size` bytes from `start` on that have the same tag."""
        rows, ahead = 1, 16
        while True:
            chunk = self._data[start + rows * size : min(end, start + (rows + ahead) * size)]
            tags = np.frombuffer(chunk, np.uint8)[::size][: len(chunk) // size]
            same = tags == self._data[start]
            rows += len(same) if same.all() else int(same.argmin())
            if len(same) < ahead or not same.all():
                return rows * size
            ahead *= 2  # what is looked at is at most twice as long as the run

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """The number that begins at `at`, seven bits a byte, and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise Broken("it ends too early")
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise Broken("a number is too long")
