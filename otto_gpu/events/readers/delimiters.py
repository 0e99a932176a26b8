"""Which sign stands between the values of a CSV, where it is not set."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from otto_gpu.errors import UserError
from otto_gpu.events.readers.opening import HEAD

DELIMITERS = (",", "\t", ";", "|", "::", "\x01")  # the last is Hive's
TABS = ("tsv", "tab")
LINES = 20  # that are looked at
ONE_SIGN = "\x1f"  # what stands for a delimiter of several signs, of which parsers know nothing


def cells_of(line: str, delimiter: str) -> list[str]:
    """The values of one row, with the spaces around them; csv.Error for what is no row."""
    if len(delimiter) > 1:
        line, delimiter = line.replace(delimiter, ONE_SIGN), ONE_SIGN
    # a quote after a space opens one too
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace='" ' in line or ' "' in line), [])


def order_of(file: Path) -> tuple[str, ...]:
    """The delimiters, the likeliest first."""
    tabs = any(suffix[1:].lower() in TABS for suffix in file.suffixes[-2:])
    return ("\t", *(d for d in DELIMITERS if d != "\t")) if tabs else DELIMITERS


def plainly(lines: list[str], order: tuple[str, ...] = DELIMITERS, width: int = 2) -> str | None:
    """The delimiter that makes at least `width` values of each of these lines, as many of the first as of the others; None
    where none does."""
    for delimiter in order:
        try:
            widths = {len(cells_of(line, delimiter)) for line in lines}
        except csv.Error:
            continue
        if len(widths) == 1 and min(widths) >= width:
            return delimiter
    return None


def delimiter_of(file: Path, lines: list[str], fits: Callable[[list[str]], bool], width: int = 2) -> str:
    """Of the first lines: the one that makes a header of the first which `fits`, else the one that makes at least `width`
    values of each."""
    order = order_of(file)
    for delimiter in order:
        try:
            cells = cells_of(lines[0], delimiter)
        except csv.Error:
            continue
        if len(cells) > 1 and fits(cells):
            return delimiter
    return plainly(lines, order, max(2, width)) or plainly(lines[:1], order) or order[0]


def first_lines(text: bytes) -> list[str]:
    """The first rows of some text that are not blank, without the last one where it may be cut."""
    lines = text[:HEAD].splitlines()
    lines = lines[: -1 if len(text) > HEAD and len(lines) > 1 else None]
    return [line.decode(errors="replace") for line in lines[: 2 * LINES] if line.strip()][:LINES] or [""]


def header_of(file: Path, line: str, delimiter: str) -> list[str]:
    try:
        return cells_of(line, delimiter)
    except csv.Error:  # a null, an open quote: hardly text
        raise UserError(f"{file}: the first line is no header of a CSV; see events.format") from None
