"""The files of otto-de/recsys-dataset in and out: test_sessions.jsonl, test_labels.jsonl and submission.csv.

All ids are the user's own. Integers are JSON integers, strings JSON strings. In submission.csv a row is
`{session}_{type},{aids separated by spaces}`, quoted as CSV asks where an id holds a comma, a quote or a line break.
The labels field is itself such a line with the space as its delimiter: an aid that holds a space, a quote or a line
break, or is empty, stands in quotes, as `csv.reader([field], delimiter=" ")` reads it. Files of integer ids need no
quotes anywhere, and are to the letter what the official scripts read; those scripts take no other ids.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from otto_gpu.errors import UserError
from otto_gpu.events.ids import WHOLE, dense_ids
from otto_gpu.events.labels import Labels
from otto_gpu.events.log import EventLog
from otto_gpu.events.readers.opening import FAULTS, opened
from otto_gpu.run.directory import replacing

HEADER = "session_type,labels"
CHUNK_EVENTS = 500_000  # events, or aids, that are text at the same time
BLOCK_BYTES = 32 << 20


# ---------------------------------------------------------------------------------------------------------- out


def write_sessions(path: Path, history: EventLog) -> None:
    """test_sessions.jsonl: one line per session with events, in the order of the dense ids; ts as in the log, in ms."""
    types = _json_text(pa.array(history.types))
    items = None if history.items is None else _json_text(history.items)
    bounds = np.searchsorted(history.starts, np.arange(0, len(history), CHUNK_EVENTS))
    bounds = np.unique(np.append(bounds, history.n_sessions))
    with replacing(Path(path)) as whole, whole.open("wb") as file:
        for first, last in pairwise(bounds):
            part = history.of_sessions(int(first), int(last))
            sessions, lengths = np.unique(part.session, return_counts=True)
            events = _join(
                '{"aid":', _own(items, part.aid), ',"ts":', pa.array(part.ts).cast(pa.string()),
                ',"type":', types.take(pa.array(part.type)), "}",
            )  # fmt: skip
            ids = _json_text(_own(history.sessions, sessions, as_text=False))
            _write_lines(file, _join('{"session":', ids, ',"events":[', _grouped(events, lengths, ","), "]}"))


def write_labels(
    path: Path, sessions: np.ndarray, labels: Labels, log: EventLog, targets: Sequence[str], next_only: Sequence[str]
) -> None:
    """test_labels.jsonl: one line for each of `sessions` (dense ids, ascending), `{}` where nothing followed.

    The targets of `next_only` are single values, the others lists; a target without labels is left out of its line.
    `log` gives the types and the user's ids. Raises ValueError for labels of other sessions.
    """
    if len(np.setdiff1d(labels.session, sessions)):
        raise ValueError("there are labels of sessions that are not written")
    items = None if log.items is None else _json_text(log.items)
    with replacing(Path(path)) as whole, whole.open("wb") as file:
        for first in range(0, len(sessions), CHUNK_EVENTS // 10):
            chunk = np.asarray(sessions[first : first + CHUNK_EVENTS // 10], np.int32)
            within = slice(np.searchsorted(labels.session, chunk[0]), np.searchsorted(labels.session, chunk[-1], "right"))
            part = Labels(labels.session[within], labels.type[within], labels.aid[within])
            entries = []
            for name in targets:
                session, aid = part.of_type(log.types.index(name))
                lengths = np.bincount(np.searchsorted(chunk, session), minlength=len(chunk))
                values = _grouped(_own(items, aid), lengths, ",")
                key = f",{orjson.dumps(name).decode()}:"
                entry = _join(key, values) if name in next_only else _join(key + "[", values, "]")
                entries.append(pc.if_else(pa.array(lengths > 0), entry, ""))
            ids = _json_text(_own(log.sessions, chunk, as_text=False))
            entries = pc.ascii_ltrim(_join(*entries), ",")
            _write_lines(file, _join('{"session":', ids, ',"labels":{', entries, "}}"))


def write_submission(
    path: Path, sessions: pa.Array, targets: Sequence[str], lists: Mapping[str, np.ndarray], items: pa.Array | None
) -> None:
    """submission.csv: for each session a row per target, sessions as given, targets in their order.

    sessions: the user's ids [n]; lists: per target int32 [n, k], dense ids, best first, -1 where there are fewer;
    items: the user's ids by dense id (None: the dense ids are the user's).
    """
    words = None if items is None else _quoted(_text(items), r'[ "\r\n]|^$')
    sessions = _text(sessions)
    width = max([1, *(lists[name].shape[1] for name in targets)])
    step = max(1, CHUNK_EVENTS // width)
    with replacing(Path(path)) as whole, whole.open("wb") as file:
        file.write(f"{HEADER}\n".encode())
        for first in range(0, len(sessions), step):
            ids = sessions.slice(first, step)
            rows = []
            for name in targets:
                part = lists[name][first : first + step]
                named = part >= 0
                aids = _grouped(_own(words, part[named]), named.sum(axis=1), " ")
                key = _quoted(_join(ids, f"_{name}"), r'[",\r\n]')
                rows.append(_join(key, ",", _quoted(aids, r'[",\r\n]')))
            by_session = np.arange(len(rows) * len(ids)).reshape(len(rows), -1).T.ravel()
            _write_lines(file, pa.concat_arrays(rows).take(pa.array(by_session)))


def _own(dictionary: pa.Array | None, codes: np.ndarray, as_text: bool = True) -> pa.Array:
    """The user's ids for dense ones, which are the user's own where there is no dictionary."""
    if dictionary is not None:
        return dictionary.take(pa.array(codes))
    return pa.array(codes).cast(pa.string()) if as_text else pa.array(codes)


def _text(ids: pa.Array) -> pa.Array:
    return ids.cast(pa.string())


def _json_text(ids: pa.Array) -> pa.Array:
    if pa.types.is_integer(ids.type):
        return _text(ids)
    return pa.array([orjson.dumps(word).decode() for word in ids.to_pylist()], pa.string())


def _quoted(words: pa.Array, where: str) -> pa.Array:
    """Words in which the pattern is found, in quotes; quotes within are doubled."""
    found = pc.match_substring_regex(words, where)
    if not pc.any(found).as_py():
        return words
    return pc.if_else(found, _join('"', pc.replace_substring(words, '"', '""'), '"'), words)


def _join(*parts) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _grouped(words: pa.Array, lengths: np.ndarray, separator: str) -> pa.Array:
    """One text per group: the next lengths[i] words with the separator between them."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), words), separator)


def _write_lines(file: BinaryIO, lines: pa.Array) -> None:
    """The bytes of an Arrow text array lie one after the other: with a line end on each they are the file."""
    lines = _join(lines, "\n")
    if len(lines):
        _, offsets, text = lines.buffers()
        ends = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
        file.write(memoryview(text)[ends[0] : ends[-1]])


# ----------------------------------------------------------------------------------------------------------- in


@dataclass(frozen=True)
class OfficialLabels:
    """labels: dense ids, types by their place in what was asked for; sessions, items: the user's ids by dense id, both
    sorted; `sessions` names every session of the file, also those that nothing followed. others: {type that was not asked for:
    its labels}; repeated: lines of a session that has a later one."""

    labels: Labels
    sessions: pa.Array
    items: pa.Array
    others: dict[str, int] = field(default_factory=dict)
    repeated: int = 0


@dataclass(frozen=True)
class Predictions:
    """lists: per target int32 [n_sessions, k], best first, -1 for items that are not in the dictionary and where there
    are fewer; rows: bool [n_sessions, n_targets], which rows the file holds. others: the user's own ids of the sessions, as
    text, that are not in the dictionary; untyped: rows of types that were not asked for, and one of them; repeated: rows of a
    session and type that has a later one; longest: items of the longest row; named, known: items of the lists, and how many
    of them the dictionary has."""

    lists: dict[str, np.ndarray]
    rows: np.ndarray
    others: pa.Array
    untyped: tuple[int, str] = (0, "")
    repeated: int = 0
    longest: int = 0
    named: int = 0
    known: int = 0


def read_labels(path: Path, targets: Sequence[str], zero_is_none: bool = False) -> OfficialLabels:
    """Reads test_labels.jsonl. Types that are not asked for are ignored; of several lines for a session the last
    counts, as officially. zero_is_none: the official quirk, a single value 0 counts as no label.

    Raises UserError with file and line for what is no such file.
    """
    lines, sessions, owner, kinds, counts, aids = [], [], [], [], [], []
    wanted, others = set(targets), Counter()
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                record = orjson.loads(line)
                session, given = record["session"], record["labels"]
                for code, name in enumerate(targets):
                    value = given.get(name)
                    if value is None or (zero_is_none and value == 0):
                        continue
                    value = value if isinstance(value, list) else [value]
                    owner.append(len(sessions))
                    kinds.append(code)
                    counts.append(len(value))
                    aids.extend(value)
                for name in given.keys() - wanted:
                    others[name] += len(given[name]) if isinstance(given[name], list) else 1
            except (ValueError, KeyError, TypeError, AttributeError):
                expected = '{"session": id, "labels": {"clicks": aid, "carts": [aids], "orders": [aids]}}'
                raise UserError(f"{path}:{number}: expected a line like {expected}, got {_shown(line)}") from None
            sessions.append(session)
            lines.append(number)
    owner = np.repeat(np.array(owner, np.int64), counts)
    line_of = np.array(lines, np.int64)
    session, own_sessions = _ids(path, "session", sessions, line_of)
    aid, own_items = _ids(path, "aid", aids, line_of[owner])
    last = np.zeros(len(own_sessions), np.int64)
    last[session] = np.arange(len(session))  # of repeated indices numpy keeps the last value
    counts_now = last[session[owner]] == owner
    kind = np.repeat(np.array(kinds, np.int8), counts)
    labels = Labels.from_arrays(session[owner][counts_now], kind[counts_now], aid[counts_now])
    return OfficialLabels(labels, own_sessions, own_items, dict(others), len(session) - len(own_sessions))


def read_predictions(path: Path, targets: Sequence[str], k: int, sessions: pa.Array, items: pa.Array) -> Predictions:
    """Reads the first k aids of every row of submission.csv whose session is in `sessions` and whose type is a target.

    sessions, items: the user's ids by dense id (integers or strings: integers must be integers in the file too). Of
    several rows for a session and type the last counts, as officially. Raises UserError with file and line.
    """
    lists = {name: np.full((len(sessions), k), -1, np.int32) for name in targets}
    rows = np.zeros((len(sessions), len(targets)), np.int32)
    others, untyped, example, longest, named = [], 0, "", 0, 0
    broken = lambda: _explain(path, targets, sessions, items)  # noqa: E731
    with _opened(path) as file:
        header = file.readline().decode("utf-8-sig", "replace").strip()
        if header != HEADER:
            raise UserError(f"{path}:1: expected the header {HEADER}, got {_shown(header.encode())}")
        try:
            for batch in _batches(file):
                keys, labels = batch.columns
                typed = pc.match_substring(keys, "_")
                if not pc.all(typed).as_py():
                    raise broken()
                # the longest name first: `add_carts` must not be taken for a session that ends in `_add`
                left = np.ones(len(keys), bool)
                for name in sorted(targets, key=len, reverse=True):
                    here = left & pc.ends_with(keys, f"_{name}").to_numpy(zero_copy_only=False)
                    left &= ~here
                    own = pc.utf8_slice_codeunits(keys.filter(pa.array(here)), 0, -len(name) - 1)
                    place = _places(own, sessions)
                    found = place >= 0
                    others.append(pc.unique(own.filter(pa.array(~found))))
                    wanted = labels.filter(pa.array(here)).filter(pa.array(found))
                    lists[name][place[found]], most, n = _aid_lists(wanted, items, k)
                    longest, named = max(longest, most), named + n
                    np.add.at(rows[:, list(targets).index(name)], place[found], 1)
                if left.any():
                    untyped, example = untyped + int(left.sum()), example or keys[int(np.argmax(left))].as_py()
        except pa.ArrowInvalid as error:
            raise broken() from error
    return Predictions(
        lists, rows > 0, pc.unique(pa.chunked_array(others, pa.string())), (untyped, example),
        int(np.maximum(rows - 1, 0).sum()), longest, named, sum(int(np.count_nonzero(a >= 0)) for a in lists.values()),
    )  # fmt: skip


def _batches(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    names = HEADER.split(",")
    try:
        reader = pyarrow.csv.open_csv(
            file,
            pyarrow.csv.ReadOptions(column_names=names, block_size=BLOCK_BYTES, use_threads=False),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):  # a header and nothing else: no predictions
            return
        raise
    yield from reader


def _places(own: pa.Array, dictionary: pa.Array) -> np.ndarray:
    """int32 [n]: where each text stands in the dictionary, -1 if it does not. Whole numbers are integers: 27.0 is 27."""
    if pa.types.is_integer(dictionary.type):
        wide = pa.uint64() if dictionary.type == pa.uint64() else pa.int64()
        try:
            own, dictionary = own.cast(wide), dictionary.cast(wide)
        except pa.ArrowInvalid:
            own, dictionary = pc.replace_substring_regex(own, WHOLE, r"\1").cast(wide), dictionary.cast(wide)
    return pc.index_in(own, value_set=dictionary.cast(own.type)).fill_null(-1).to_numpy()


def _aid_lists(fields: pa.Array, items: pa.Array, k: int) -> tuple[np.ndarray, int, int]:
    """(int32 [n, k] for n texts of aids with spaces between them; the aids of the longest; how many stand in the lists)."""
    lists, longest, named = np.full((len(fields), k), -1, np.int32), 0, 0
    quoted = pc.match_substring(fields, '"').to_numpy(zero_copy_only=False)
    for inside in (False, True) if quoted.any() else (False,):
        rows = np.flatnonzero(quoted == inside)
        if inside:  # rare, as only string ids can need it
            words = pa.array([_split_quoted(field) for field in fields.take(pa.array(rows)).to_pylist()], pa.list_(pa.string()))
        else:
            words = pc.split_pattern(fields.take(pa.array(rows)), " ")
        offsets = words.offsets.to_numpy()
        flat = words.values.slice(offsets[0], offsets[-1] - offsets[0])
        row = np.repeat(np.arange(len(rows)), np.diff(offsets))
        if not inside:  # an empty field, and two spaces, split into empty words: no aids
            real = pc.binary_length(flat).to_numpy() > 0
            flat, row = flat.filter(pa.array(real)), row[real]
        place = np.arange(len(row)) - np.searchsorted(row, np.arange(len(rows)))[row]
        top = place < k
        longest, named = max(longest, int(place.max(initial=-1)) + 1), named + int(np.count_nonzero(top))
        lists[rows[row[top]], place[top]] = _places(flat.filter(pa.array(top)), items)
    return lists, longest, named


def _split_quoted(field: str) -> list[str]:
    return next(csv.reader([field], delimiter=" "), [])


def _explain(path: Path, targets: Sequence[str], sessions: pa.Array, items: pa.Array) -> UserError:
    """Reads the file again, slowly, to name the first line that is wrong."""
    with _opened(path) as file:
        rows = csv.reader(io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline=""))
        next(rows)
        for row in rows:
            if not row:
                continue
            where = f"{path}:{rows.line_num}"
            if len(row) != 2:
                return UserError(f"{where}: expected two fields, {HEADER}, got {len(row)}")
            session, line, kind = row[0].rpartition("_")
            if not line:
                return UserError(f"{where}: expected a session and a type such as 12_{targets[0]}, got {row[0]!r}")
            if kind not in targets:
                continue
            if pa.types.is_integer(sessions.type) and not _is_integer(session):
                return UserError(f"{where}: expected an integer session, as in the labels, got {session!r}")
            if pa.types.is_integer(items.type):
                bad = [aid for aid in row[1].split() if not _is_integer(aid)]
                if bad:
                    return UserError(f"{where}: expected integer aids, as in the labels, got {bad[0]!r}")
    return UserError(f"{path}: expected a CSV file in UTF-8 with the columns {HEADER}")


def _is_integer(text: str) -> bool:
    text = re.sub(WHOLE, r"\1", text)
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and -(2**63) <= int(text) < 2**64


def _ids(path: Path, name: str, values: list, lines: np.ndarray) -> tuple[np.ndarray, pa.Array]:
    """Dense ids, with an error that names the line of the first value of another kind than the first."""
    if not values:
        return np.empty(0, np.int32), pa.array([], pa.int64())
    kind = type(values[0])
    if kind not in (int, str) or set(map(type, values)) != {kind}:
        wanted = {int: "an integer", str: "a string"}.get(kind)
        at = 0 if wanted is None else next(i for i, value in enumerate(values) if type(value) is not kind)
        expected = f"{wanted}, as on the lines before" if wanted else "an integer or a string"
        raise UserError(f"{path}:{lines[at]}: expected the {name} to be {expected}, got {values[at]!r}")
    try:
        wide = kind is int and max(values) >= 2**63
        return dense_ids(pa.array(values, pa.uint64() if wide else None), name)
    except (pa.ArrowInvalid, OverflowError):
        raise UserError(f"{path}: the {name} ids must fit 64 bits") from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Unpacked, where it is packed."""
    try:
        with opened(path) as file:
            yield file
    except FAULTS as error:
        if isinstance(error, pa.ArrowException):  # of a CSV: who reads it says more
            raise
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= 60 else text[:60] + "...")
