"""What the sessions of a test file did next, from a file of its own: the test period's labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.errors import UserError
from otto_gpu.events.attributes import own_ids, places_of
from otto_gpu.events.flat import read_flat
from otto_gpu.events.labels import Labels
from otto_gpu.events.log import EventLog
from otto_gpu.events.own import joined, own_ids_of
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.typed import as_words
from otto_gpu.events.types import TypeValues

KEY = "events.test_answers"


@dataclass(frozen=True)
class Answers:
    """session, aid: the user's own ids (integers or text); type: int8 codes; once: bool, rows of types of which a session has
    one answer (targets.next_only)."""

    session: pa.Array
    aid: pa.Array
    type: np.ndarray
    once: np.ndarray

    def labels(self, log: EventLog, asked: np.ndarray, file: Path, say: Callable[[str], None]) -> tuple[Labels, dict[str, int]]:
        """(the labels, {"answers": read, "other_sessions", "not_next": left out}), in the ids of the log, whose items hold all
        of the answers'. asked: bool [n_sessions], the sessions of the test file; answers of others are left out. UserError
        where none are left."""
        session = places_of(self.session, log.sessions)
        there = np.append(asked, False)[session]
        if not there.any():
            raise UserError(
                f"{file}: no session of the test file is there ({KEY}): it has sessions such as {self.session[0].as_py()!r}"
            )
        counts = {"answers": len(there), "other_sessions": int((~there).sum()), "not_next": 0}
        if lacking := counts["other_sessions"]:
            say(f"  {file.name}: {lacking:,} of {len(there):,} answers are of sessions that the test file lacks: left out")
        # of what a session has one answer, the first row is it
        _, first = np.unique(session * (int(self.type.max()) + 1) + self.type, return_index=True)
        repeated = self.once & there
        repeated[first] = False
        if repeated.any():
            counts["not_next"] = int(repeated.sum())
            say(f"  {file.name}: {counts['not_next']:,} more answers of a type of which only the next event is asked: left out")
        there &= ~repeated
        labels = Labels.from_arrays(session[there], self.type[there], places_of(self.aid, log.items)[there])
        if silent := int(asked.sum()) - len(np.unique(labels.session)):
            say(f"  {file.name}: {silent:,} of {int(asked.sum()):,} sessions of the test file have no answer")
        return labels, counts


def read_answers(file: Path, events: EventsConfig, targets: TargetsConfig) -> Answers:
    """Rows of types that are no targets are left out; UserError for what is wrong with a column or a row."""
    columns = events.columns.named
    sessions = columns.session if isinstance(columns.session, list) else [columns.session]
    wanted = dict.fromkeys(sessions, "events.columns.session") | {columns.aid: "events.columns.aid"}
    # of one type only, it goes without saying
    only = events.default_type or (targets.types[0] if len(targets.types) == 1 else None)
    optional = () if columns.type is None or only is None else (columns.type,)
    if columns.type is not None:
        wanted[columns.type] = "events.columns.type"
    found = read_flat(file, KEY, wanted, events.delimiter, optional)
    aid = _ids(file, found[columns.aid], columns.aid)
    if len(sessions) > 1:
        parts = [own_ids_of(found[name], f"{file}: column {name!r} ({KEY})", any_kind=True).ids for name in sessions]
        session = _ids(file, joined(parts).dictionary_decode(), ", ".join(sessions))
    else:
        session = _ids(file, found[sessions[0]], sessions[0])
    if columns.type in found:
        code = _codes(file, found[columns.type], columns.type, events, targets)
    else:
        code = np.full(len(session), targets.code(only), np.int8)
    rows = np.flatnonzero(np.isin(code, [targets.code(name) for name in targets.names]))
    if not len(rows):
        raise UserError(f"{file}: no row has a type of the targets {', '.join(targets.names)} ({KEY})")
    once = np.isin(code, [targets.code(name) for name in targets.next_only])
    return Answers(session.take(pa.array(rows)), aid.take(pa.array(rows)), code[rows], once[rows])


def _ids(file: Path, column: pa.Array, name: str) -> pa.Array:
    ids, there = own_ids(file, column, name, KEY)
    if not there.all():
        raise UserError(f"{file}: row {int(np.flatnonzero(~there)[0]) + 1} of the table has no {name!r} ({KEY})")
    return ids


def _codes(file: Path, column: pa.Array, name: str, events: EventsConfig, targets: TargetsConfig) -> np.ndarray:
    """int8 [n]: the codes of the log's values, or of the types' names."""
    values = {name: name for name in targets.types} | events.type_names(targets.types)
    words = as_words(column, f"{file}: column {name!r}")
    of = TypeValues(events.model_copy(update={"types": values}), targets)
    place = np.append(of.places(words.dictionary), len(values))[pc.fill_null(words.indices, -1).to_numpy(zero_copy_only=False)]
    unknown = np.flatnonzero(place == len(values))
    if len(unknown):
        given = words[int(unknown[0])].as_py()
        raise UserError(
            f"{file}: row {int(unknown[0]) + 1} of the table: unknown type {given!r} ({KEY}); known: {', '.join(values)}"
        )
    return of.codes(place)
