"""Text files in pieces of whole lines, gzip or not."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

BOM = b"\xef\xbb\xbf"


def _open(file: Path):
    return gzip.open(file, "rb") if file.suffix == ".gz" else open(file, "rb")


def line_pieces(file: Path, size: int, end_of: Callable[[bytes], int]) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, from 1; whole lines of about `size` bytes). end_of(bytes): where the last whole row of
    these bytes ends, 0 if there is none."""
    with _open(file) as stream:
        line, rest = 1, stream.read(len(BOM)).removeprefix(BOM)
        while more := stream.read(size):
            rest += more
            end = end_of(rest)
            if end:
                yield line, rest[:end]
                line += rest.count(b"\n", 0, end)
                rest = rest[end:]
        if rest:
            yield line, rest


def last_line(text: bytes) -> int:
    return text.rfind(b"\n") + 1


def last_row(text: bytes) -> int:
    """The last line's end that is not within quotes; where every one is (a stray quote), the last line's end."""
    end = last_line(text)
    if text.count(b'"', 0, end) % 2 == 0:
        return end
    symbols = np.frombuffer(text, np.uint8, end)
    newlines = np.flatnonzero(symbols == ord("\n"))
    quotes = np.flatnonzero(symbols == ord('"'))
    outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else end


def is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


def split_lines(text: bytes) -> list[bytes]:
    lines = text.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def json_column(values: list) -> pa.Array:
    """Values of JSON as Arrow infers them, nan as missing; numbers among text turn to text."""
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array(list(map(_text, values)), pa.string())


def _text(value) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode() if value == value else None
