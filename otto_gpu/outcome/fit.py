"""Whether files that are scored against each other belong together, in words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from otto_gpu.errors import UserError
from otto_gpu.events.official import OfficialLabels, Predictions
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.wide import Answers, WideLists

NUMBERED = "are both files of the same split, and their ids the same?"


def of_official(labels: OfficialLabels, given: Predictions, targets: TargetsConfig, files: tuple, strict: bool = True) -> list:
    """Warnings, the gravest first. files: of the labels and of the lists. strict: UserError where all lists are of
    sessions without labels, in whose place a warning stands otherwise."""
    asked = np.unique(labels.labels.session)
    without = int(np.count_nonzero(~given.rows[asked].any(axis=1)))
    told = _sessions(
        len(asked), without, len(given.others), files, ("sessions with labels", "sessions"),
        (_one(labels.sessions.take(pa.array(asked))), _one(given.others)), strict,
    )  # fmt: skip
    for code, name in enumerate(targets.names):
        n = int(np.count_nonzero(labels.labels.type == code))
        if n and without < len(asked) and not given.rows[:, code].any():
            told.append(f"no list is of type {name}, which has {n:,} labels: all of them count as misses")
    n, example = given.untyped
    if n:
        told.append(f"{n:,} lists are of types that are not scored, such as {example!r} (scored: {', '.join(targets.names)})")
    if labels.others:
        others = ", ".join(f"{name} ({count:,})" for name, count in sorted(labels.others.items()))
        told.append(f"labels of types that are not scored: {others}; see --weights")
    told += _items(given.named, given.known, _one(labels.items))
    told += _lengths(given.longest, targets.k, list(given.lists.values()))
    if given.repeated:
        told.append(f"{given.repeated:,} lists are replaced by a later one of the same session and type")
    if labels.repeated:
        told.append(f"{labels.repeated:,} lines of labels are replaced by a later one of the same session")
    return told


def of_wide(answers: Answers, given: WideLists, k: int, files: tuple) -> list[str]:
    """As of_official, for users with answers."""
    without = int(np.count_nonzero(~given.rows))
    told = _sessions(
        len(answers.users), without, given.others, files, ("users with answers", "users"), (_one(answers.users), given.other)
    )
    told += _items(given.named, int(np.count_nonzero(given.lists >= 0)), _one(answers.items))
    return told + _lengths(given.places, k, [given.lists])


def _sessions(
    asked: int, without: int, others: int, files: tuple, called: tuple[str, str], such: tuple, strict: bool = True
) -> list[str]:
    """called: those who are asked, and all; such: one of those that are asked, one of those that are not."""
    they, who = called
    alone = f"those of {files[1]} are of {others:,} other {who}, such as {such[1]}" if others else f"{files[1]} holds none"
    if asked and without == asked:
        line = f"none of the {asked:,} {they} of {files[0]}, such as {such[0]}, has a list: {alone}"
        line += f"; {NUMBERED}" if others else ""
        if strict and others:
            raise UserError(line)
        return [line]
    told = []
    if without:
        told.append(f"{without:,} of {asked:,} {they} ({without / asked:.1%}) have no list: they count as misses")
    if others:
        told.append(f"{others:,} {who}, such as {such[1]}, have a list and are not among the {they}: not counted")
    return told


def _items(named: int, known: int, one) -> list[str]:
    if not named or known:
        return []
    return [f"none of the {named:,} items in the lists is anybody's answer, such as {one} is: are the items' ids the same?"]


def _lengths(longest: int, k: int, lists: list[np.ndarray]) -> list[str]:
    told = []
    if 0 < longest < k:
        told.append(f"no list holds more than {longest:,} items, of the {k:,} that would count")
    twice = 0
    for array in lists:
        ordered = np.sort(array, axis=1)
        twice += int(np.count_nonzero(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)))
    if twice:
        told.append(f"{twice:,} lists name an item twice: it hits once, and takes up two places")
    return told


def _one(ids: pa.Array):
    return ids[0].as_py() if len(ids) else None
