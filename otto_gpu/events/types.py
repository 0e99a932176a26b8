"""The log's values of the type, in the forms that tools write them, as codes of the types."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otto_gpu.errors import UserError
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.schema import did_you_mean

UNKNOWN, LEFT = -1, -2  # codes of values that are not known, and of those that are left out on purpose
MISSING = ""  # in events.types: rows without a type
MOST_SHOWN = 12
YES, NO = ("t", "yes", "y", "on", "1"), ("f", "no", "n", "off", "0")  # where events.types says true and false


class TypeValues:
    """What events.types says of values. left: the values that are left out, in the order of the configuration."""

    def __init__(self, config: EventsConfig, targets: TargetsConfig):
        codes = {name: code for code, name in enumerate(targets.types)}
        given = config.type_names(targets.types)
        for value, name in given.items():
            if config.columns.type is not None and name is not None and name not in codes:
                raise UserError(f"events.types: {value} -> {name!r} is not one of targets.types; {did_you_mean(name, codes)}")
        self.left = [value for value, name in given.items() if name is None]
        self._values = list(given)
        self._words = pa.array(self._values, pa.string())
        self._codes = np.array([LEFT if n is None else codes.get(n, UNKNOWN) for n in given.values()] + [UNKNOWN], np.int8)
        self._forms = {}
        for i, value in reversed(list(enumerate(self._values))):
            self._forms[plain_form(value)] = i
        for word, others in (("true", YES), ("false", NO)):
            for other in others if word in self._forms else ():
                self._forms.setdefault(other, self._forms[word])
        if set(self._values) == {"0", "1"}:
            self._forms |= {"true": self._values.index("1"), "false": self._values.index("0")}

    def places(self, words: pa.Array) -> np.ndarray:
        """int64 [n]: which of the values each word (text, none null) is, len(values) where it is none. A word that is no value
        as it stands is the one that it spells otherwise: 1.0 is 1, True is true, spaces around it do not count."""
        place = pc.fill_null(pc.index_in(words, self._words), len(self._values)).to_numpy().astype(np.int64)
        for i in np.flatnonzero(place == len(self._values)):
            place[i] = self._forms.get(plain_form(words[int(i)].as_py() or ""), len(self._values))
        return place

    def codes(self, places: np.ndarray) -> np.ndarray:
        """int8 [n] of places: codes of the types, UNKNOWN or LEFT."""
        return self._codes[places]

    def value(self, place: int) -> str:
        return self._values[place]

    @property
    def missing(self) -> int:
        """The code of rows without a type; UNKNOWN where the configuration does not speak of them."""
        return int(self._codes[self._values.index(MISSING)]) if MISSING in self._values else UNKNOWN


def plain_form(word: str) -> str:
    """One spelling of what is written in several ways: without spaces around it, whole numbers without a fraction, true and
    false in small letters."""
    word = word.strip(" \t\r\n\0\xa0")
    if word.lower() in ("true", "false", *YES, *NO):
        return word.lower()
    return re.sub(r"^([+-]?\d+)\.0*$", r"\1", word)


def known_types(value, config: EventsConfig) -> str:
    """For a value that is no type: those known, the nearest one, and how to leave it out."""
    known = [v for v in config.types or () if v != MISSING]
    listed = ", ".join(known[:MOST_SHOWN]) + (", ..." if len(known) > MOST_SHOWN else "")
    near = did_you_mean(str(value), known)
    near = f"; {near}" if near.startswith("did") else ""
    said = "value" if value is None else value
    return f"events.types knows {listed}{near}; to leave such rows out: events.types: {{{said}: null}}"
