"""Files as streams of bytes: what they are packed with is told by their content, not by their name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from otto_gpu.errors import UserError

HEAD = 1 << 16  # bytes that a file is judged by
LAYERS = 2  # a file that was packed twice, as some servers do
MEMBERS_SHOWN = 5
FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException)  # of broken files
PACKED = (".gz", ".gzip", ".bz2", ".zst", ".zstd", ".xz", ".lzma", ".lz4", ".zip")  # what names end in besides

# how the content begins that is no log
OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!": "a RAR archive: unpack it",
    b"\x1f\x9d": "compressed with compress (.Z): unpack it",
    b"\xff\xff\xff\xff": "a stream of Arrow: write it as Parquet",
    b"ARROW1": "an Arrow (Feather) file: write it as Parquet",
    b"FEA1": "a Feather file: write it as Parquet",
    b"ORC": "an ORC file: write it as Parquet",
    b"Obj\x01": "an Avro file: write it as Parquet",
    b"SQLite format 3\0": "an SQLite database: export its table as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save it as CSV",
    b"\x89HDF": "an HDF5 file: write it as Parquet",
    b"%PDF": "a PDF",
}
TAR = b"ustar", 257
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _arrow(codec: str) -> Callable[[BinaryIO], BinaryIO]:
    return lambda stream: io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec))


def _gzip(stream: BinaryIO) -> BinaryIO:
    return gzip.GzipFile(fileobj=stream, mode="rb")


OPEN = {
    b"\x1f\x8b": _gzip,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"]\0\0": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _arrow("zstd"),
    b"\x04\x22\x4d\x18": _arrow("lz4"),
}
SKIPPABLE = b"\x2a\x4d\x18"  # bytes 1..3 of a zstd frame without data, with which files of several threads begin


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked where it is gzip, bz2, zstd, xz, lz4 or a ZIP of one file. UserError where it is another kind
    of archive or of file, FAULTS where it is broken."""
    with ExitStack() as stack:
        stream = stack.enter_context(open(file, "rb"))
        for _ in range(LAYERS):
            head = stream.peek(512)[:512]
            unpack = next((unpack for magic, unpack in OPEN.items() if head.startswith(magic)), None)
            if head[1:4] == SKIPPABLE:
                unpack = _arrow("zstd")
            if unpack is not None:
                stream = stack.enter_context(unpack(stream))
            elif head.startswith(b"PK\x03\x04"):
                stream = _member(file, stack)
            else:
                break
        if what := _other(stream.peek(512)[:512]):
            raise UserError(f"{file}: {what}")
        yield stream


def head_of(file: Path) -> bytes:
    """Its first bytes, unpacked; as `opened`."""
    with opened(file) as stream:
        return stream.read(HEAD)


def _member(file: Path, stack: ExitStack) -> BinaryIO:
    archive = stack.enter_context(zipfile.ZipFile(file))
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if "[Content_Types].xml" in names:
        raise UserError(f"{file}: an Excel workbook: save it as CSV")
    names = [name for name in names if not name.rpartition("/")[2].startswith((".", "_")) and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        held = ", ".join(names[:MEMBERS_SHOWN]) + (", ..." if len(names) > MEMBERS_SHOWN else "") or "no file"
        raise UserError(f"{file}: a ZIP archive, which holds {held}: unpack it and name the file or the folder")
    try:
        return io.BufferedReader(stack.enter_context(archive.open(names[0])))
    except (RuntimeError, NotImplementedError) as error:  # a password, another method
        raise UserError(f"{file}: a ZIP archive that cannot be unpacked here: {error}; unpack it") from None


def _other(head: bytes) -> str | None:
    """What it is that cannot be read as a log."""
    name, place = TAR
    if head[place : place + len(name)] == name:
        return "a tar archive: unpack it and name the folder"
    if head.startswith(PICKLES):
        return "a pickle, which is never loaded: write it as Parquet"
    return next((what for magic, what in OTHERS.items() if head.startswith(magic)), None)
