"""The kinds of sources of candidates by name: a new one is a file and a line here.

A kind's file has `load(inputs, sources)`, which makes a Loaded (loaded.py) of all sources of the kind at the time of a period,
and, unless they stand under a key of their own, `Settings`, a class of FurtherSource: what `candidates.other_sources` takes of
this kind. It is imported when the kind is first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from pydantic import Field, ValidationError

from otto_gpu.schema import Section, as_user_error, did_you_mean

KINDS = {
    "recipes": "otto_gpu.candidates.sources.recipes",
    "nearest": "otto_gpu.candidates.sources.nearest",
}
OWN_KEYS = ("recipes", "nearest")  # of the section candidates; the sources of all other kinds are its other_sources


class Source(Section):
    """The settings of a source; every one has a size, the most items that it names for a session."""

    def needs(self) -> dict[str, tuple[str, ...]]:
        """What it asks of other sections: names of `matrices`, of `vectors`, of columns of the `items`, of `context`."""
        return {}

    def says(self) -> str:
        """What it names, for people."""
        return ""


class FurtherSource(Source):
    """One more source; further settings are those of its kind."""

    kind: str = Field(description="which of the further kinds of sources it is")
    size: int = Field(50, ge=1, le=1000, description="how many items it names")


def further_kinds() -> dict[str, type[FurtherSource]]:
    """{kind: the class of its settings} of what other_sources takes."""
    return {kind: importlib.import_module(file).Settings for kind, file in KINDS.items() if kind not in OWN_KEYS}


def settings_of(name: str, given: Any) -> Any:
    """A source's settings by its kind; ValueError, one line, for what is none."""
    if not isinstance(given, dict):
        return given
    known, kind = further_kinds(), given.get("kind")
    if kind not in known:
        further = did_you_mean(str(kind), known) if known else "there are no further kinds yet"
        own = f" ({' and '.join(OWN_KEYS)} have sections of their own)"
        raise ValueError(f"{name}: unknown kind {kind!r}; {further}{own}")
    try:
        return known[kind].model_validate(given)
    except ValidationError as error:
        raise ValueError(str(as_user_error(error, known[kind], name))) from None
