"""The base of every part of the configuration: immutable, validated when made, unknown keys refused.

Each section is declared beside the code that it configures; ``config.py`` puts the sections together.
"""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from otto_gpu.errors import UserError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def nearest(name: str, known) -> str:
    """`; did you mean 'x'?` where a known name is close, else the list of what is known."""
    known = sorted(str(k) for k in known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def explain(error: ValidationError, model: type[BaseModel], source: str) -> UserError:
    """One line for the first thing that is wrong, with the key's full path and, if it is unknown, its neighbour."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        owner = _model_at(model, first["loc"][:-1])
        fields = owner.model_fields if owner else ()
        return UserError(f"{source}: unknown key '{path}'; {nearest(first['loc'][-1], fields)}{more}")
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = f", got {value!r}" if isinstance(value, (str, int, float, bool, type(None))) and path else ""
    return UserError(f"{source}: {path or 'the configuration'}: {message}{shown}{more}")


def _model_at(model: type[BaseModel] | None, loc: tuple[Any, ...]) -> type[BaseModel] | None:
    for part in loc:
        if model is None:
            return None
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            model = _find_model(field.annotation)
            # a mapping or a list of models: the next part of the path is its key
    return model


def _find_model(annotation) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _find_model(inner)
        if found is not None:
            return found
    return None
