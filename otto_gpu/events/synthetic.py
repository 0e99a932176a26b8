"""Generated logs shaped like OTTO's, of any size, seeded, in constant memory.

    python -m otto_gpu.events.synthetic --sessions 100000 --seed 42 --out log.parquet

The figures that are matched are those which OTTO published with its data set (12.9M sessions, 216.7M events): lengths of
the sessions, shares of the types, items per session. Everything else is a small model of a shop's visitors: see visitors.py.
"""

from __future__ import annotations

import argparse
import errno
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from otto_gpu.columns import AID, SESSION, TS, TYPE
from otto_gpu.command import Parser, run_command
from otto_gpu.errors import UserError
from otto_gpu.events.log import TYPES, EventLog
from otto_gpu.events.visitors import DAY, HOUR, count, fill, permutation
from otto_gpu.run.directory import replacing

START = 1_659_304_800_000  # Monday 2022-08-01 00:00 in Germany: OTTO's log begins there
ITEMS_PER_SESSION = 1.86 / 12.9
BLOCK = 1 << 16  # sessions at a time: about 1.1M events
FORMATS = ("jsonl", "csv", "parquet")

# Visits by hour of the day (from midnight at the shop) and by day of the week (from Monday).
_HOURS = (8, 5, 3, 2, 2, 4, 9, 16, 24, 30, 34, 36, 36, 37, 38, 39, 41, 44, 49, 56, 61, 56, 38, 19)
_WEEK = (1.0, 0.97, 0.96, 0.96, 0.93, 0.94, 1.12)


# ---------------------------------------------------------------------------------------------------- the tables
def _lengths() -> np.ndarray:
    """int16 [65536]: the session length of every 1/65536 quantile, through OTTO's published percentiles.

    Between two of them log(length) is linear in -log(1 - quantile), as in a Pareto distribution.
    """
    quantiles = np.array([0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.9985])
    lengths = np.array([2, 3.5, 6.5, 15.5, 39.5, 68.5, 166.5, 500.5])
    q = (np.arange(1 << 16) + 0.5) / (1 << 16)
    return np.exp(np.interp(-np.log1p(-q), -np.log1p(-quantiles), np.log(lengths))).astype(np.int16)


def _starts(start: int, days: int) -> tuple[np.ndarray, np.ndarray]:
    """(edges in ms after start, share of the sessions that begin before each edge), both float64 [24 * days + 1].

    The last quarter of an hour stays free, so that 500 events still fit behind the last start.
    """
    first = datetime.fromtimestamp((start + DAY // 2) / 1000, UTC).weekday()  # noon: the same date in every near time zone
    # at first every visitor is a new one; and of those who come at last, fewer have time for the two events of a session
    new = [_WEEK[(first + d) % 7] * (1 + math.exp(-d / 4)) * (1 - 0.5 * math.exp((d + 1 - days) / 2)) for d in range(days)]
    weights = np.outer(new, _HOURS).ravel()
    edges = np.arange(24 * days + 1, dtype=np.float64) * HOUR
    edges[-1] -= HOUR / 4
    return edges, np.append(0, np.cumsum(weights)) / weights.sum()


def _check(sessions: int, seed: int, items: int | None, days: int, start: int = START, block: int = BLOCK) -> int:
    """The number of items; UserError for what no log can be made of."""
    limits = {"sessions": (sessions, 1, 2**31 - 1), "seed": (seed, 0, 2**64 - 1), "days": (days, 1, 3650)}
    limits |= {"start": (start, 0, 10**14), "block": (block, 1, 2**24)}
    if items is not None:
        limits["items"] = (items, 1, 2**31 - 1)
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise UserError(f"synthetic log: {name} must be {low} to {high}, got {value}")
    return max(100, round(sessions * ITEMS_PER_SESSION)) if items is None else items


# ----------------------------------------------------------------------------------------------------------- API
def generate(
    sessions: int, seed: int = 42, items: int | None = None, days: int = 28, start: int = START, block: int = BLOCK
) -> Iterator[dict[str, np.ndarray]]:
    """Blocks of events of `block` sessions each: session int32, aid int32, ts int64 (ms), type int8 (0, 1, 2 = click,
    cart, order), sorted by session and ts, no event twice. Sessions are 0..sessions-1, by their start; aids 0..items-1.

    items: None takes OTTO's ratio (0.144 a session, 100 at least). start: ms, midnight at the shop; all events lie in the
    `days` days from there. The same arguments give the same events for any `block` and any number of threads.
    Raises UserError for numbers out of range.
    """
    items = _check(sessions, seed, items, days, start, block)
    return _blocks(sessions, seed, items, days, start, block)


def _blocks(sessions, seed, items, days, start, block):
    key = np.uint64(seed)
    ids = permutation(key, items)
    lengths = _lengths()
    end = start + days * DAY
    edges, edge_share = _starts(start, days)
    hour_share = np.array(_HOURS) / sum(_HOURS)
    hours = np.append(0, np.cumsum(hour_share)[:-1])
    for first in range(0, sessions, block):
        offsets = np.empty(min(block, sessions - first) + 1, np.int64)
        count(key, first, lengths, offsets)
        columns = {SESSION: np.int32, AID: np.int32, TS: np.int64, TYPE: np.int8}
        out = {name: np.empty(offsets[-1], dtype) for name, dtype in columns.items()}
        fill(key, first, sessions, ids, start, end, hours, hour_share, edges, edge_share, offsets, *out.values())
        yield out


def synthetic_log(
    sessions: int, seed: int = 42, items: int | None = None, types: tuple[str, ...] = TYPES, days: int = 28, start: int = START
) -> EventLog:
    """The generated log in memory; `types` are the names of click, cart and order. Raises UserError as `generate`."""
    if len(types) != 3:
        raise UserError(f"synthetic log: types must name click, cart and order, got {len(types)} names")
    n_items = _check(sessions, seed, items, days)
    blocks = list(generate(sessions, seed, n_items, days, start))
    columns = (np.concatenate([b[name] for b in blocks]) for name in (SESSION, AID, TS, TYPE))
    return EventLog(*columns, n_sessions=sessions, n_items=n_items, types=tuple(types))


def write_log(
    path: str | Path,
    sessions: int,
    seed: int = 42,
    items: int | None = None,
    format: str = "parquet",
    days: int = 28,
    start: int = START,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes the log to `path` and returns the number of events; the file appears under its name when it is whole.

    jsonl: the official OTTO format. csv: session, aid, ts, type (names). parquet: the same columns, type as int8 code.
    progress(sessions done, events done) is called after every block. Raises UserError for numbers out of range, an
    unknown format or a path that cannot be written.
    """
    if format not in FORMATS:
        raise UserError(f"synthetic log: unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    blocks = generate(sessions, seed, items, days, start)
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "not a regular file")
        with replacing(path) as whole, whole.open("wb") as file:
            done = _write(blocks, file, format, progress)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written: {reason}; name a file in a folder that you may write to") from error
    return done


def _write(blocks, file, format, progress) -> int:
    """Makes the next block while one thread writes the last."""
    done, waiting = 0, None
    with _Writer(file, format) as writer, ThreadPoolExecutor(1) as background:
        for columns in blocks:
            if waiting is not None:
                waiting.result()
            waiting = background.submit(writer.write, columns)
            done += len(columns[SESSION])
            if progress is not None:
                progress(int(columns[SESSION][-1]) + 1, done)
        waiting.result()
    return done


class _Writer:
    def __init__(self, file, format: str):
        schema = pa.schema({SESSION: pa.int32(), AID: pa.int32(), TS: pa.int64(), TYPE: pa.int8()})
        self.file, self.format = file, format
        self.sink = None
        if format == "parquet":
            # measured: dictionaries of ids and times cost time and save nothing; differences of rising numbers do
            rising = dict.fromkeys((SESSION, TS), "DELTA_BINARY_PACKED")
            settings = {"compression": "zstd", "compression_level": 1, "use_dictionary": [TYPE], "column_encoding": rising}
            self.sink = pq.ParquetWriter(file, schema, **settings)
        elif format == "csv":
            options = pa.csv.WriteOptions(quoting_style="none")
            self.sink = pa.csv.CSVWriter(file, schema.set(3, pa.field(TYPE, pa.string())), write_options=options)

    def write(self, columns: dict[str, np.ndarray]) -> None:
        if self.format == "jsonl":
            self.file.write(_jsonl(columns))
            return
        table = pa.table(columns)
        if self.format == "csv":
            table = table.set_column(3, TYPE, _names(columns[TYPE]))
        self.sink.write_table(table)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        if self.sink is not None:
            self.sink.close()


def _names(codes: np.ndarray) -> pa.Array:
    return pa.array(TYPES).take(pa.array(codes))


def _jsonl(columns: dict[str, np.ndarray]) -> memoryview:
    """The block's lines, put together by Arrow: no Python object per event."""
    join = pc.binary_join_element_wise
    aid, ts = (pa.array(columns[name]).cast(pa.string()) for name in (AID, TS))
    events = join('{"aid":', aid, ',"ts":', ts, ',"type":"', _names(columns[TYPE]), '"}', "")
    session = columns[SESSION]
    first = np.flatnonzero(np.append(True, session[1:] != session[:-1])).astype(np.int32)
    of_session = pa.ListArray.from_arrays(pa.array(np.append(first, np.int32(len(session)))), events)
    number = pa.array(session[first]).cast(pa.string())
    lines = join('{"session":', number, ',"events":[', pc.binary_join(of_session, ","), "]}\n", "")
    _, ends, text = lines.buffers()
    return memoryview(text)[: np.frombuffer(ends, np.int32)[len(lines)]]


# ----------------------------------------------------------------------------------------------------------- CLI
class _Lines:
    """Progress where the output is no terminal: a line every 5 seconds."""

    def __init__(self, sessions: int):
        self.clock, self.sessions = time.monotonic, sessions
        self.begun = self.said = self.clock()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __call__(self, sessions: int, events: int) -> None:
        now = self.clock()
        if now - self.said < 5:
            return
        self.said, spent = now, now - self.begun
        left = spent * (self.sessions - sessions) / sessions
        print(
            f"{sessions:,} of {self.sessions:,} sessions, {events:,} events, {events / spent:,.0f} events/s, {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


class _Bar:
    """Progress on a terminal."""

    def __init__(self, sessions: int):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        text = "{task.completed:,.0f} of {task.total:,.0f} sessions, {task.fields[events]:,} events, {task.fields[rate]}"
        self.bar = Progress(BarColumn(), TextColumn(text), TimeRemainingColumn(), console=Console(stderr=True))
        self.task = self.bar.add_task("", total=sessions, events=0, rate="")

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *_):
        self.bar.stop()

    def __call__(self, sessions: int, events: int) -> None:
        rate = f"{events / (self.bar.tasks[0].elapsed or 1e-9):,.0f} events/s"
        self.bar.update(self.task, completed=sessions, events=events, rate=rate)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code (2: the user's error, said in one line)."""
    parser = Parser(prog="python -m otto_gpu.events.synthetic", description=__doc__.split("\n")[0])
    parser.add_argument("--sessions", type=int, required=True, help="how many sessions (OTTO: 12.9 million)")
    parser.add_argument("--seed", type=int, default=42, help="another seed, another log (default: 42)")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--format", choices=FORMATS, help="default: by the ending of --out, else parquet")
    parser.add_argument("--days", type=int, default=28, help="how many days the log covers (default: 28)")
    parser.add_argument("--items", type=int, help="how many items (default: 0.144 a session, as OTTO; 100 at least)")
    args = parser.parse_args(argv)
    return run_command(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    ending = args.out.suffix.lstrip(".").lower()
    format = args.format or (ending if ending in FORMATS else "parquet")
    _check(args.sessions, args.seed, args.items, args.days)
    with (_Bar if sys.stderr.isatty() else _Lines)(args.sessions) as progress:
        events = write_log(args.out, args.sessions, args.seed, args.items, format, args.days, progress=progress)
    print(f"{args.out}: {args.sessions:,} sessions, {events:,} events")
    return 0


if __name__ == "__main__":
    sys.exit(main())
