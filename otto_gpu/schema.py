"""The base of every part of the configuration: immutable, validated when made, unknown keys refused.

Each section is declared beside the code that it configures; ``config.py`` puts the sections together.
"""

from __future__ import annotations

import difflib
import re
from types import UnionType
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from otto_gpu.errors import UserError


def _name(given: str) -> str:
    if not re.fullmatch(r"[^\s./\\<>[\]][^/\\<>[\]]{0,99}", given) or not given.isprintable():
        raise ValueError("a name is 1 to 100 signs, none of them / \\ < > [ ] and the first no dot: it names files and columns")
    return given


# of a type, a rule, a recipe, a group, vectors
Name = Annotated[str, AfterValidator(_name)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def merge_packaged(packaged: dict[str, Section], given):
    """`given` by the user for a mapping that is packaged: per name fields to change, a whole new part, or null to leave it out.
    The other parts stay; what is no mapping goes on to validation as it is."""
    if given is packaged or not isinstance(given, dict):
        return given
    made: dict[str, Any] = dict(packaged)
    for name, fields in given.items():
        if fields is None:
            made.pop(name, None)
        elif isinstance(fields, dict) and name in packaged:
            made[name] = {**packaged[name].model_dump(), **fields}
        else:
            made[name] = fields
    return made


def dump_with_removed(packaged: dict[str, Section], dumped: dict) -> dict:
    """A dumped mapping with null for what is packaged and left out: read again by `changed`, it is the same."""
    return {**dumped, **{name: None for name in packaged if name not in dumped}}


def did_you_mean(name: str, known) -> str:
    """`; did you mean 'x'?` where a known name is close, else the list of what is known."""
    known = sorted(str(k) for k in known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def as_user_error(error: ValidationError, model: type[BaseModel], source: str) -> UserError:
    """One line for one thing that is wrong, with the key's full path and, if it is unknown, its neighbour."""
    # an unknown key goes first: a misspelled one is often missing under its right name as well
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    own = first["loc"][:-2] if first["loc"][-1:] == ("[key]",) else first["loc"]  # of a mapping's name, the mapping
    path = ".".join(str(part) for part in own)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, first["loc"][:-1])
        fields = owner.model_fields if owner else ()
        return UserError(f"{source}: unknown key '{path}'; {did_you_mean(first['loc'][-1], fields)}{more}")
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = f", got {value!r}" if isinstance(value, (str, int, float, bool, type(None))) and path else ""
    return UserError(f"{source}: {path or 'the configuration'}: {message}{shown}{more}")


def _model_at(model: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The section at a path; what follows a mapping's or a list's name is a key or a place in it, not a field."""
    kind: Any = model
    for part in loc:
        section = _section(kind)
        if section is None:
            kind = next((inner for inner in getattr(kind, "__args__", ()) if _holds_section(inner)), None)
        else:
            field = section.model_fields.get(part)
            kind = field.annotation if field else None
    return _section(kind)


def _section(kind) -> type[BaseModel] | None:
    """A section, also where it may be None."""
    options = [a for a in getattr(kind, "__args__", ()) if a is not type(None)] if isinstance(kind, UnionType) else [kind]
    found = [a for a in options if isinstance(a, type) and issubclass(a, BaseModel)]
    return found[0] if found else None


def _holds_section(kind) -> bool:
    return _section(kind) is not None or any(_holds_section(inner) for inner in getattr(kind, "__args__", ()))
