"""A tiny log of six events in any file that people have, for tables of many."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.events.read import read_log
from otto_gpu.events.settings import EventsConfig, TargetsConfig

T0 = 1_767_225_600_000  # 2026-01-01
NAMES = ["session", "aid", "ts", "type"]
EVENTS = [
    (1, 10, T0, "clicks"),
    (1, 11, T0 + 60_000, "carts"),
    (2, 10, T0 + 120_000, "clicks"),
    (2, 12, T0 + 180_000, "orders"),
    (3, 11, T0 + 240_000, "clicks"),
    (3, 12, T0 + 300_000, "clicks"),
]
FIRST, LAST = EVENTS[:3], EVENTS[3:]
OWN = {"session": "visit", "aid": "sku", "ts": "time", "type": "action"}
PLACES = {"session": 0, "aid": 1, "ts": 2, "type": 3}
WHOLE = {"events": 6, "sessions": [1, 2, 3], "items": [10, 11, 12]}


def table(events=EVENTS, names=NAMES, delimiter=",", end="\n") -> str:
    return "".join(delimiter.join(map(str, row)) + end for row in ([names] if names else []) + list(events))


def with_column(place: int, values) -> list[tuple]:
    """The six events with other values in one column."""
    return [(*row[:place], value, *row[place + 1 :]) for row, value in zip(EVENTS, values, strict=True)]


def lines(events=EVENTS, names=NAMES, end="\n") -> str:
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + end for row in events)


def columns(events=EVENTS, **more) -> dict:
    """Of a Parquet file; None: not there."""
    found = dict(zip(NAMES, map(list, zip(*events, strict=True)), strict=True)) | more
    return {name: column for name, column in found.items() if column is not None}


def packed(codec: str, text: bytes | str) -> bytes:
    text = text.encode() if isinstance(text, str) else text
    how = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    return how[codec](text) if codec in how else pa.Codec(codec).compress(text, asbytes=True)


def zipped(members: dict) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(text: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("log.csv")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def linked(to: str, content):
    """A link beside the data to a file or a folder."""

    def make(path):
        place = path.parent.parent / to
        write(place, content)
        os.symlink(place if place.parent == path.parent.parent else place.parent, path)

    return make


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        content(path)
    elif isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def said_in(expected, files, path=None, **config):
    """A row of a table: what is expected; the files, {name: bytes, text, columns or how to make it}, or the text of one; what
    is read of them; config: of the events."""
    return expected, files if isinstance(files, dict) else {"log.csv": files}, path, config


def counted(**more):
    return WHOLE | more


def of_column(expected, name, values, **config):
    return said_in(expected, {"log.parquet": columns(**{name: values})}, **config)


def result_of(tmp_path, files, path, config):
    for name, content in files.items():
        write(tmp_path / name, content)
    where = tmp_path / (path if path is not None else next(iter(files)))
    return read_log(where, EventsConfig(**config), TargetsConfig())
