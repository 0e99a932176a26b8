"""The reference of the configuration, written from its schema: `python -m otto_gpu.reference > docs/configuration.md`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from inspect import cleandoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from otto_gpu.candidates.sources import FurtherSource, further_kinds
from otto_gpu.config import Config
from otto_gpu.schema import Name, Section

NAME = "NAME"  # stands for a name that the user gives
KINDS = {
    bool: "true or false", int: "integer", float: "number", str: "text", Path: "path", datetime: "time", NoneType: "null",
    Name: "name",
}  # fmt: skip
# what is packaged is told where it is, and not told again
PACKAGED = {
    "matrices.rules": "the 20 of [rules.yaml](../otto_gpu/cooccurrence/rules.yaml)",
    "candidates.recipes": "those of [recipes.yaml](../otto_gpu/candidates/recipes.yaml)",
}
INTRODUCTION = """\
# Configuration

Every key of a config, in the order of the pipeline. Written by `make docs` from the schema by which every config is checked:
keys that are not here are refused, with the nearest one that is.

    python -m otto_gpu.pipeline --config my.yaml --data events.csv      # a file, or the name of one in configs/
    python -m otto_gpu.pipeline --config otto --set ranking.folds=5     # one key changed for one run

What a config leaves out has its default. Where a key holds settings of its own, those that are given are changed and the others
stay, unless it says otherwise. `NAME` stands for a name of your own or a packaged one, `[]` for each entry of a list. A run
keeps its whole configuration as `config.yaml`; [configs/](../configs) holds examples.
"""


@dataclass(frozen=True)
class Part:
    """A section of the schema and the dotted path at which it stands; an empty one for the whole."""

    path: str
    model: type[Section]

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def parts() -> Iterator[Part]:
    """Every section once, a section before those in it."""
    open_ = [Part("", Config)]
    while open_:
        part = open_.pop(0)
        yield part
        open_ = [*_inner(part), *open_]


def _inner(part: Part) -> list[Part]:
    found = []
    for key, field in part.model.model_fields.items():
        if inner := _section(field.annotation, part.at(key)):
            found.append(inner)
            if inner.model is FurtherSource:
                found += [Part(f"{inner.path}, kind {kind}", model) for kind, model in further_kinds().items()]
    return found


def _section(kind: Any, path: str) -> Part | None:
    """The section that values of this kind hold, at its path."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return Part(path, kind)
    steps = {dict: f".{NAME}", tuple: "[]", list: "[]"}
    inside = path + steps.get(get_origin(kind), "")
    return next((part for inner in get_args(kind) if (part := _section(inner, inside))), None)


# ---------------------------------------------------------------------------------------------------------- a row


def kind_of(kind: Any) -> str:
    """A type in words."""
    inner = get_args(kind)
    if get_origin(kind) is Annotated and kind not in KINDS:
        return kind_of(inner[0])
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(kind_of, inner)))
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if get_origin(kind) is dict:
        return f"name → {kind_of(inner[1])}"
    if get_origin(kind) is list or (get_origin(kind) is tuple and inner[-1] is Ellipsis):
        return f"list of {kind_of(inner[0])}"
    if get_origin(kind) is tuple:
        return f"[{', '.join(map(kind_of, inner))}]"
    return "settings" if isinstance(kind, type) and issubclass(kind, Section) else KINDS[kind]


def bounds_of(field: FieldInfo) -> str:
    """What values are allowed, in words; empty where all of the type are."""
    said = {name: value for one in field.metadata for name, value in _limits(one).items() if value is not None}
    words = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}", "pattern": "like `{}`"}
    told = [text.format(_number(said[name])) for name, text in words.items() if name in said]
    low, high = said.get("min_length"), said.get("max_length")
    if low is not None and low == high:
        told.append(f"of length {low}")
    elif low is not None:
        told.append(f"{low} to {high} of them" if high is not None else "not empty")
    return ", ".join(told)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _limits(constraint: Any) -> dict[str, Any]:
    names = ("ge", "gt", "le", "lt", "pattern", "min_length", "max_length")
    return {name: getattr(constraint, name, None) for name in names}


def default_of(path: str, field: FieldInfo) -> str:
    """As a config would say it; of settings only what differs from the defaults of their own."""
    if path in PACKAGED:
        return PACKAGED[path]
    if field.default is PydanticUndefined:
        return "must be given"
    if isinstance(field.default, Section):
        return "as below"
    return f"`{_flow(_plain(field.default))}`"


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("\n...\n").strip()


def meaning_of(field: FieldInfo) -> str:
    """The field's own description, else that of the section that it is; empty where there is neither."""
    part = _section(field.annotation, "")
    return field.description or cleandoc(part.model.__doc__ or "" if part else "").split("\n\n")[0]


# ------------------------------------------------------------------------------------------------------- the page


def anchor(path: str) -> str:
    """The link to a section's heading, as GitHub makes it."""
    return "#" + "".join(c for c in path.lower() if c.isalnum() or c == "_")


def table(part: Part) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in part.model.model_fields.items():
        inner = _section(field.annotation, part.at(key))
        name = f"[`{key}`]({anchor(inner.path)})" if inner else f"`{key}`"
        kind = ", ".join(filter(None, (kind_of(field.annotation), bounds_of(field))))
        cells = (name, kind, default_of(part.at(key), field), meaning_of(field).replace("<", "&lt;"))
        rows.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def page() -> str:
    """The whole document, Markdown."""
    found = [INTRODUCTION]
    for part in parts():
        if part.path:
            found.append(f"{'#' * min(part.path.count('.') + 2, 4)} {part.path}\n")
            found.append(cleandoc(part.model.__doc__) + "\n")
        found.append(table(part) + "\n")
    return "\n".join(found)
