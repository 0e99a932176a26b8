"""Wide submissions in and out, a row per user and a column per place, `user_id,article_1,article_2,...`, and answers to score
them with: a CSV with a column of users and one of items. Ids are the user's own, integers or text.
"""

from __future__ import annotations

import csv
import io
import lzma
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from otto_gpu.errors import UserError
from otto_gpu.events.ids import dense_ids
from otto_gpu.events.labels import Labels
from otto_gpu.events.readers.opening import opened
from otto_gpu.run.directory import replacing

ROWS = 100_000  # that are text at the same time
ITEM_NAMES = ("aid", "item", "item_id", "article", "article_id", "click_article_id", "product_id")


def write_wide(path: Path, sessions: pa.Array, lists: np.ndarray, items: pa.Array, column: str, prefix: str) -> None:
    """A row per session, as given. sessions: the user's ids [n]; lists: int32 [n, k], dense ids, best first, below 0 where
    there are fewer (an empty field); items: the user's ids by dense id; column: what the sessions are called."""
    names = [column, *(f"{prefix}{place}" for place in range(1, lists.shape[1] + 1))]
    with replacing(Path(path)) as whole, whole.open("wb") as file:
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(names)
        file.write(header.getvalue().encode())
        for first in range(0, len(sessions), ROWS):
            part = lists[first : first + ROWS]
            own = [items.take(pa.array(c, mask=c < 0)) for c in part.T]
            table = pa.table([sessions.slice(first, ROWS), *own], names=names)
            pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed"))


@dataclass(frozen=True)
class Answers:
    """labels: dense ids, all of type 0; users, items: the user's own ids by dense id, sorted; user, item: the columns."""

    labels: Labels
    users: pa.Array
    items: pa.Array
    user: str
    item: str


@dataclass(frozen=True)
class WideLists:
    """lists: int32 [n_users, k], best first, -1 for items that nobody's answer is and where there are fewer; rows: bool
    [n_users], who has a row; others: how many rows are of users without answers, and one of them; places: how many columns of
    items there are; named: items of the lists."""

    lists: np.ndarray
    rows: np.ndarray
    others: int
    other: str | None
    places: int
    named: int


def read_answers(path: Path, user: str | None = None, item: str | None = None) -> Answers:
    """A CSV with a line per answer; a user may have several. user, item: the columns' names; where they are not given, the user
    is in the first column, and the item in the only other one or in one with a usual name. Raises UserError."""
    table = _read(path)
    names = table.column_names
    if len(names) < 2:
        raise UserError(
            f"{path}:1: expected a header with a column of users and one of items, as user_id,item, got {names[0]!r}"
        )
    user = _column(path, names, user, "--user-column", names[:1])
    if item == user:
        raise UserError(f"{path}:1: {user!r} cannot be both the column of users and that of items: see --user-column")
    others = [name for name in names if name != user]
    item = _column(path, names, item, "--item-column", others if len(others) == 1 else [n for n in others if n in ITEM_NAMES])
    for name in (user, item):
        empty = np.flatnonzero(pc.equal(table[name], "").to_numpy())
        if len(empty):
            raise UserError(f"{path}:{empty[0] + 2}: column {name} is empty; expected an id")
    if not len(table):
        raise UserError(f"{path}: no answers: there is nothing to score")
    users, own_users = dense_ids(_ids(table[user]), user)
    items, own_items = dense_ids(_ids(table[item]), item)
    labels = Labels.from_arrays(users, np.zeros(len(users), np.int8), items)
    return Answers(labels, own_users, own_items, user, item)


def read_wide(path: Path, k: int, users: pa.Array, items: pa.Array) -> WideLists:
    """The first k items of every row of a submission whose user is in `users`. The first column holds the users, the others
    the items from the best on; an empty field is no item. Raises UserError: no such file, or a user who stands there twice."""
    table = _read(path)
    if table.num_columns < 2:
        raise UserError(
            f"{path}:1: expected a header like user_id,article_1,article_2,..., got {','.join(table.column_names)[:80]!r}"
        )
    place = _places(table.column(0), users)
    known = place >= 0
    lists, rows = np.full((len(users), k), -1, np.int32), np.bincount(place[known], minlength=len(users))
    if (rows > 1).any():
        twice = users[int(np.argmax(rows > 1))].as_py()
        raise UserError(f"{path}: {table.column_names[0]} {twice} has {rows.max()} rows; expected one row a user")
    named = 0
    for p in range(min(k, table.num_columns - 1)):
        lists[place[known], p] = _places(table.column(p + 1), items)[known]
        named += int(np.count_nonzero(pc.not_equal(table.column(p + 1), "").to_numpy()[known]))
    other = None if known.all() else table.column(0)[int(np.argmin(known))].as_py()
    return WideLists(lists, rows > 0, int(np.count_nonzero(~known)), other, table.num_columns - 1, named)


def _column(path: Path, names: list[str], given: str | None, option: str, found: list[str]) -> str:
    if given is not None and given not in names:
        raise UserError(f"{path}:1: there is no column {given!r}, which {option} names; its columns: {', '.join(names)}")
    if given is None and len(found) != 1:
        raise UserError(f"{path}:1: which of its columns is meant is not clear: name it with {option} ({', '.join(names)})")
    return given if given is not None else found[0]


def _read(path: Path) -> pa.Table:
    """All columns as text."""
    try:
        with opened(path) as file:
            header = file.readline().decode("utf-8-sig", "strict").strip()
            names = next(csv.reader([header]), [])
            if not names or not all(names) or len(set(names)) != len(names):
                raise UserError(f"{path}:1: expected a header with a name for every column, got {header[:80]!r}")
            return pyarrow.csv.read_csv(
                file,
                pyarrow.csv.ReadOptions(column_names=names),
                pyarrow.csv.ParseOptions(newlines_in_values=True),
                pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
            )
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        if "Empty CSV" in str(error):  # a header and nothing else
            return pa.table({name: pa.array([], pa.string()) for name in names})
        raise UserError(f"{path}: not a CSV with the columns of its header: {str(error).splitlines()[0]}") from None


def _ids(column: pa.ChunkedArray) -> pa.Array:
    """Integers where all of them are."""
    column = column.combine_chunks()
    with suppress(pa.ArrowInvalid):
        return pc.replace_substring_regex(column, r"^(-?\d+)\.0+$", r"\1").cast(pa.int64())
    return column


def _places(column: pa.ChunkedArray, dictionary: pa.Array) -> np.ndarray:
    """int64 [n]: where each text stands in the dictionary, -1 if it does not. Integers compare as numbers (07, 7,
    7.0)."""
    if pa.types.is_integer(dictionary.type):
        column = pc.replace_substring_regex(column, r"^(-?\d+)\.0+$", r"\1")
        column = pc.replace_substring_regex(column, r"^(-?)0+(\d+)$", r"\1\2")
    found = pc.index_in(column, value_set=dictionary.cast(pa.string()))
    return pc.fill_null(found, -1).to_numpy().astype(np.int64)
