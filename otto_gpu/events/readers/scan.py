"""A compiled scanner for JSONL lines in the plain spelling of the official OTTO format; other lines it leaves alone.

Plain: {"session":S,"events":[{"aid":A,"ts":T,"type":K},...]} in this order of keys, spaces allowed where JSON allows
them. S and A are integers, or strings without escapes; T is an integer; K is one of the known types. Whatever else
a line may be (another order, more keys, escapes, broken), a real JSON parser decides about it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).copy()


_SESSION, _EVENTS, _AID, _TS, _TYPE = (_bytes(f'"{name}"') for name in ("session", "events", "aid", "ts", "type"))
_SPACE, _NEWLINE, _RETURN, _QUOTE, _BACKSLASH, _MINUS = (ord(c) for c in ' \n\r"\\-')
_ZERO, _NINE, _COLON, _COMMA, _OPEN, _CLOSE, _LIST, _END = (ord(c) for c in "09:,{}[]")
_DIGITS = 18  # as many always fit in int64
_ODD = -1


@dataclass
class Scanned:
    """Lines 0.. of the text that were plain, in order: session [n_lines], line int32 [n_lines]; their events: owner
    int32 [n], index into session; aid [n]; ts int64 [n]; type int8 [n], index into the known types. odd: int64
    [n_odd, 3], first byte, end and line of every line that was not plain."""

    session: pa.Array
    line: np.ndarray
    owner: np.ndarray
    aid: pa.Array
    ts: np.ndarray
    type: np.ndarray
    odd: np.ndarray


def scan(text: bytes, text_session: bool, text_aid: bool, types: list[bytes], typed: bool) -> Scanned:
    """text: whole lines in UTF-8. text_session, text_aid: these ids are strings, else integers. types: the known types,
    as they are spelled in the log (with quotes where they have them); typed: events have a type."""
    if not text.endswith(b"\n"):
        text += b"\n"
    n_lines, n_events = text.count(b"\n"), text.count(b"{")
    session, session_text = _column(n_lines, len(text) * text_session)
    aid, aid_text = _column(n_events, len(text) * text_aid)
    line, owner = np.empty(n_lines, np.int32), np.empty(n_events, np.int32)
    ts, kind = np.empty(n_events, np.int64), np.zeros(n_events, np.int8)
    odd = np.empty((n_lines, 3), np.int64)
    ends = np.cumsum([0] + [len(t) for t in types])
    spelled = np.frombuffer(b"".join(types), np.uint8)
    sessions, events, odds = _scan(
        np.frombuffer(text, np.uint8), session, session_text, text_session, aid, aid_text, text_aid,
        line, owner, ts, kind, odd, spelled, ends, typed,
    )  # fmt: skip
    return Scanned(
        _ids(session, session_text, sessions, text_session),
        line[:sessions],
        owner[:events],
        _ids(aid, aid_text, events, text_aid),
        ts[:events],
        kind[:events],
        odd[:odds],
    )


def _column(n: int, n_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers, or where n_bytes > 0 the offsets of text."""
    return np.zeros(n + 1, np.int64), np.empty(n_bytes, np.uint8)


def _ids(values: np.ndarray, text: np.ndarray, n: int, is_text: bool) -> pa.Array:
    if not is_text:
        return pa.array(values[:n])
    used = text[: values[n]].tobytes()  # the buffer was made for the worst case
    array = pa.LargeStringArray.from_buffers(n, pa.py_buffer(values[: n + 1]), pa.py_buffer(used))
    return array.cast(pa.string())


@numba.njit(cache=True, nogil=True)
def _scan(
    text, session, session_text, text_session, aid, aid_text, text_aid, line, owner, ts, kind, odd, spelled, ends, typed
):  # fmt: skip
    sessions = events = odds = 0
    at = number = 0
    while at < len(text):
        start = at
        at, found = _line(
            text, at, sessions, events, session, session_text, text_session, aid, aid_text, text_aid,
            owner, ts, kind, spelled, ends, typed,
        )  # fmt: skip
        if at == _ODD:  # what the line has written so far is overwritten by the next one
            at = start
            while text[at] != _NEWLINE:
                at += 1
            odd[odds, 0], odd[odds, 1], odd[odds, 2] = start, at, number
            odds += 1
            at += 1
        else:
            line[sessions] = number
            sessions += 1
            events = found
        number += 1
    return sessions, events, odds


@numba.njit(cache=True, nogil=True)
def _line(
    text, at, nth, events, session, session_text, text_session, aid, aid_text, text_aid, owner, ts, kind, spelled, ends, typed
):  # fmt: skip
    """(first byte of the next line or _ODD, number of events so far). The last byte of the text is a newline, which
    nothing but a line's end takes, so no loop here can run past it."""
    at = _key(text, _symbol(text, at, _OPEN), _SESSION)
    at = _id(text, at, nth, session, session_text, text_session)
    at = _key(text, _symbol(text, at, _COMMA), _EVENTS)
    at = _symbol(text, at, _LIST)
    if at == _ODD:
        return _ODD, events
    closed = _symbol(text, at, _END)
    while closed == _ODD:
        at = _key(text, _symbol(text, at, _OPEN), _AID)
        at = _id(text, at, events, aid, aid_text, text_aid)
        at = _key(text, _symbol(text, at, _COMMA), _TS)
        at, ts[events] = _integer(text, at)
        if typed:
            at = _key(text, _symbol(text, at, _COMMA), _TYPE)
            at, kind[events] = _word(text, at, spelled, ends)
        at = _symbol(text, at, _CLOSE)
        if at == _ODD:
            return _ODD, events
        owner[events] = nth
        events += 1
        closed = _symbol(text, at, _END)
        if closed == _ODD:
            at = _symbol(text, at, _COMMA)
    at = _symbol(text, closed, _CLOSE)
    if at == _ODD:
        return _ODD, events
    at = _spaces(text, at)
    if text[at] == _RETURN:
        at += 1
    return (at + 1 if text[at] == _NEWLINE else _ODD), events


@numba.njit(cache=True, nogil=True, inline="always")
def _spaces(text, at):
    while text[at] == _SPACE:
        at += 1
    return at


@numba.njit(cache=True, nogil=True)
def _symbol(text, at, symbol):
    if at == _ODD:
        return _ODD
    at = _spaces(text, at)
    return at + 1 if text[at] == symbol else _ODD


@numba.njit(cache=True, nogil=True)
def _key(text, at, key):
    """A key and its colon."""
    if at == _ODD:
        return _ODD
    at = _spaces(text, at)
    for i in range(len(key)):
        if text[at + i] != key[i]:
            return _ODD
    return _symbol(text, at + len(key), _COLON)


@numba.njit(cache=True, nogil=True)
def _integer(text, at):
    if at == _ODD:
        return _ODD, 0
    at = _spaces(text, at)
    negative = text[at] == _MINUS
    if negative:
        at += 1
    first, value = at, 0
    while _ZERO <= text[at] <= _NINE and at - first <= _DIGITS:
        value = value * 10 + (text[at] - _ZERO)
        at += 1
    digits = at - first
    if digits == 0 or digits > _DIGITS or (digits > 1 and text[first] == _ZERO):
        return _ODD, 0
    return at, -value if negative else value


@numba.njit(cache=True, nogil=True)
def _id(text, at, nth, values, copied, is_text):
    if not is_text:
        at, values[nth] = _integer(text, at)
        return at
    at = _symbol(text, at, _QUOTE)
    if at == _ODD:
        return _ODD
    to = values[nth]
    while text[at] != _QUOTE:
        if text[at] == _BACKSLASH or text[at] < _SPACE:
            return _ODD
        copied[to] = text[at]
        to += 1
        at += 1
    values[nth + 1] = to
    return at + 1


@numba.njit(cache=True, nogil=True)
def _word(text, at, spelled, ends):
    """One of the words spelled[ends[i]:ends[i + 1]], and its i."""
    if at == _ODD:
        return _ODD, 0
    at = _spaces(text, at)
    for i in range(len(ends) - 1):
        size = ends[i + 1] - ends[i]
        same = True
        for j in range(size):
            if text[at + j] != spelled[ends[i] + j]:
                same = False
                break
        if same and not _ZERO <= text[at + size] <= _NINE:  # the type 1 is not the beginning of 12
            return at + size, i
    return _ODD, 0
