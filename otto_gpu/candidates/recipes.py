"""Recipes, as data: which key items of a history ask which matrix, how deep, how weighted."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import Field, model_validator

from otto_gpu.candidates.sources import Source
from otto_gpu.schema import Section

KEYS = ("all", "bought", "last_of_each_day", "first_of_each_day", "last_day", "only", "top", "running")


class Boost(Section):
    """What i's neighbour j gains is multiplied by 1 + weight x (E[i, j] + E[j, i]), E a second matrix, 0 where a row does not
    keep the item."""

    matrix: str = Field(description="the second matrix")
    weight: float = Field(1.0, gt=0, description="what an entry of it counts")


class Line(Section):
    """The keys' first `depth` neighbours gain weight, newest key first.

    keys: all (items of the history) | bought | last_of_each_day | first_of_each_day | last_day (items of the last day
    with events) | only (the single item of a one-item history) | top (the first `last` of another recipe's list) |
    running (this recipe's `last` highest scores so far; items of the history among them unless they are left out).
    The i-th of n keys (from 0) gives: weight x (fade + (1 - fade)(n - i)/n) - step x i, or, with `decay`, weight x decay^i -
    step x i; at least floor (at 0 or below: nothing), over n if `per_key`. Its j-th neighbour gains that x
    max(1 - neighbour_step x j, neighbour_floor), the first `head` neighbours twice; with `use: weight` times its weight in the
    key's row, with `boost` times what a second matrix says of the two. What gains nothing is not named.
    """

    keys: Literal[KEYS] = Field(description="the key items")
    matrix: str | None = Field(None, description="null: the keys themselves gain")
    depth: int = Field(1000, ge=1, description="so many neighbours of a key gain")
    last: int | None = Field(None, ge=1, description="only the newest (top, running: the best) n keys")
    hours: float | None = Field(None, gt=0, description="only keys within so many hours of the session's last event")
    recipe: str | None = Field(None, description="for top: whose list")
    weight: float = Field(1.0, gt=0, description="what the first key gives")
    fade: float = Field(1.0, ge=0, le=1, description="towards the last key what it gives falls to this share")
    decay: float | None = Field(
        None, gt=0, le=1, description="instead of fade: every key gives this share of what the key before it gives"
    )
    step: float = Field(0.0, ge=0, description="so much less from key to key")
    floor: float = Field(0.0, ge=0, description="a key gives so much at least")
    per_key: bool = Field(False, description="what a key gives is divided by the number of keys")
    head: int = Field(0, ge=0, description="so many of a key's first neighbours gain twice")
    neighbour_step: float = Field(0.0, ge=0, description="so much less, as a share, from neighbour to neighbour")
    neighbour_floor: float = Field(0.0, ge=0, description="a neighbour gains this share at least")
    use: Literal["rank", "weight"] = Field(
        "rank", description="rank: only a neighbour's place counts; weight: what it gains is multiplied by its weight"
    )
    boost: Boost | None = Field(None, description="what it gains is multiplied by what a second matrix says of the two items")

    @model_validator(mode="after")
    def _sense(self):
        if (self.keys == "top") != (self.recipe is not None):
            raise ValueError("keys: top and recipe go together")
        if self.keys in ("top", "running") and self.last is None:
            raise ValueError(f"keys: {self.keys} needs last, the number of items to take")
        if self.decay is not None and self.fade != 1:
            raise ValueError("fade and decay are two ways to say how much later keys give: set one of them")
        if self.matrix is None and (self.use == "weight" or self.boost):
            raise ValueError("use: weight and boost are about a matrix's neighbours: name the matrix")
        return self

    @property
    def matrices(self) -> list[str]:
        return [name for name in (self.matrix, self.boost and self.boost.matrix) if name]


class LongHistory(Section):
    """From `items` different items on, the history itself is scored, and the lines weigh only `line_share`.

    An event counts (2^t - 1) x its type's weight, t linear from `oldest` for the oldest event to 1 for the newest.
    """

    items: int = Field(ge=1, description="different items that make a history long")
    oldest: float = Field(0.1, ge=0, le=1, description="t of the oldest event")
    line_share: float = Field(0.15, ge=0, le=1, description="what the lines still weigh")


class Recipe(Source):
    """Lines whose gains add up: the items with the highest scores are what the recipe names."""

    lines: tuple[Line, ...] = Field(min_length=1, description="applied one after the other")
    size: int = Field(50, ge=1, le=1000, description="how many items the recipe names")
    history: Literal["first", "scored", "left_out"] = Field(
        "scored",
        description="items of the history: first, newest first, before all others; scored like any other; left_out of the list",
    )
    long_history: LongHistory | None = Field(None, description="what changes for sessions of many items; null: nothing")
    output: bool = Field(True, description="false: only other recipes use it, its items are no candidates")

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"matrices": tuple(name for line in self.lines for name in line.matrices)}

    def says(self) -> str:
        return "what key items of the history bring by the matrices"


@cache
def packaged_recipes() -> dict[str, Recipe]:
    text = resources.files("otto_gpu.candidates").joinpath("recipes.yaml").read_text("utf-8")
    return {name: Recipe(**fields) for name, fields in yaml.safe_load(text).items()}
