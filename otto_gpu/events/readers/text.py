"""Text files in pieces of whole lines, in UTF-8 and with LF, whatever they are packed with, encoded in and broken by.

What a file is encoded in is decided once for the file: by its byte order mark; else by zero bytes, which tell UTF-16; else it
is UTF-8 until bytes come that are none, and then more of the file is looked at: a row that is broken among good ones stays
one, and only where hardly any is good, it is cp1252.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from otto_gpu.errors import UserError
from otto_gpu.events.readers.opening import opened

AUTO = "auto"
EVIDENCE = 8 << 20  # bytes that are looked at where a file is not all UTF-8
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# as browsers do: the five bytes that cp1252 leaves out are control characters
CP1252 = "".join(bytes([i]).decode("cp1252", "ignore") or chr(i) for i in range(256))
Say = Callable[[str], None]


@dataclass(frozen=True)
class Opening:
    """How a file is read. encoding: its name, or auto; quoted: line ends within quotes are none; say: takes what was found that
    the user should know."""

    encoding: str = AUTO
    quoted: bool = False
    say: Say = lambda line: None


def blocks(file: Path, size: int, how: Opening) -> Iterator[bytes]:
    """The file's text in UTF-8, in blocks of about `size` bytes of it."""
    with opened(file) as stream:
        block = stream.read(max(size, 4))
        encoding, mark = _named(block, how)
        block = block[mark:]
        if encoding == AUTO:  # so far every encoding says the same
            while block.isascii():
                if not block:
                    return
                yield block
                block = stream.read(size)
            encoding = "utf-8"
            if not _is_beginning_of_utf8(block):
                block += stream.read(EVIDENCE)
                encoding = _likely(block)
                if encoding != "utf-8":
                    how.say(f"{file.name}: not UTF-8: read as {encoding} (events.encoding)")
        decode = None if encoding == "utf-8" else _decoder(encoding)
        while block:
            if decode is None:
                yield block
            else:
                yield _decoded(file, decode, block, encoding)
            block = stream.read(size)
        if decode is not None:
            yield _decoded(file, decode, b"", encoding, final=True)


def _named(head: bytes, how: Opening) -> tuple[str, int]:
    """(encoding, bytes of its mark) as it is set, marked or shown by zero bytes; else auto."""
    found, mark = next(((name, mark) for mark, name in MARKS.items() if head.startswith(mark)), (AUTO, b""))
    if how.encoding != AUTO:
        wanted = codecs.lookup(how.encoding).name
        if wanted in ("utf-16", "utf-32"):  # without a mark: as machines of today write it
            wanted = found if found.startswith(wanted) else f"{wanted}-le"
        wanted = "utf-8" if wanted == "utf-8-sig" else wanted
        return wanted, len(mark) if found == wanted else 0
    if found == AUTO and head:
        zeros = np.frombuffer(head[: min(len(head), 4096) // 2 * 2], np.uint8).reshape(-1, 2) == 0
        high, low = zeros.mean(axis=0) if len(zeros) else (0, 0)
        if max(high, low) > 0.25 and min(high, low) < 0.02:
            found = "utf-16-le" if low > high else "utf-16-be"
            how.say(f"read as {found}, as its zero bytes show (events.encoding)")
    return found, len(mark)


def _is_beginning_of_utf8(text: bytes) -> bool:
    """Whether it is UTF-8 but for a character that its end may cut."""
    try:
        codecs.utf_8_decode(text, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def _likely(text: bytes) -> str:
    """utf-8 or cp1252, of text that is not all UTF-8: which of the two most characters beyond ASCII speak for."""
    decoded, _ = codecs.utf_8_decode(text, "replace", False)
    bad = decoded.count("\ufffd") - text.count("\ufffd".encode())
    beyond = len(decoded) - np.count_nonzero(np.frombuffer(text, np.uint8) < 128)
    return "utf-8" if b"\0" in text or 2 * bad <= beyond else "cp1252"


def _decoder(encoding: str) -> Callable[[bytes, bool], str]:
    if encoding == "cp1252":
        return lambda text, final: codecs.charmap_decode(text, "strict", CP1252)[0]
    return codecs.getincrementaldecoder(encoding)("strict").decode


def _decoded(file: Path, decode, block: bytes, encoding: str, final: bool = False) -> bytes:
    try:
        return decode(block, final).encode()
    except UnicodeError as error:
        what = str(error).splitlines()[0]
        raise UserError(f"{file}: cannot be read as {encoding}: {what}; set events.encoding to what it is in") from None


def line_pieces(file: Path, size: int, end_of: Callable[[bytes], int], how: Opening = Opening()) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, from 1; whole lines of about `size` bytes, which end with LF or CR LF). end_of(bytes): where
    the last whole row of these bytes ends, 0 if there is none."""
    line, rest, held = 1, b"", b""
    for block in blocks(file, size, how):
        block, held = held + block, b""
        if block.endswith(b"\r"):  # half of a line's end, perhaps
            block, held = block[:-1], b"\r"
        rest = _with_lf(rest, block, how.quoted)
        end = end_of(rest)
        if end:
            yield line, rest[:end]
            line += rest.count(b"\n", 0, end)
            rest = rest[end:]
    rest = _with_lf(rest, held, how.quoted)
    if rest:
        yield line, rest


def _with_lf(rest: bytes, block: bytes, quoted: bool) -> bytes:
    """Both in one; a CR that ends a line by itself is LF. rest: whose line ends are right."""
    alone = block.count(b"\r") if b"\r" in block else 0
    if alone == 0 or alone == block.count(b"\r\n"):
        return rest + block
    if not quoted or (b'"' not in block and b'"' not in rest):
        return rest + block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    text = np.frombuffer(bytearray(rest + block), np.uint8)
    ends = np.flatnonzero(text[:-1] == ord("\r"))
    ends = ends[text[ends + 1] != ord("\n")]
    if text[-1] == ord("\r"):
        ends = np.append(ends, len(text) - 1)
    quotes = np.flatnonzero(text == ord('"'))
    text[ends[np.searchsorted(quotes, ends) % 2 == 0]] = ord("\n")
    return text.tobytes()


class TextStream(io.RawIOBase):
    """A text file as a stream of UTF-8, for whoever reads one."""

    def __init__(self, file: Path, how: Opening = Opening(quoted=True), size: int = 1 << 20):
        self._pieces, self._rest = line_pieces(file, size, last_line, how), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, (0, b""))[1])
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n


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
