"""A matrix rule, as data: which ordered pairs (x, y) of events of one session count, and how much.

The order in which a rule is applied (the engines and the tests' oracle follow it):

0. `matrices.most_events`: of every session its newest events, before anything else: what is said of a session below, its
   first event and its length, is said of these. The log's first and last ts stay those of the whole log. (Pairs grow with the
   square of a session's length: without a bound one crawler costs more than all others.)
1. events: only those of the last `since_days` days of the log (ts >= the log's last ts - the days); only sessions whose
   first event in the log, before any filter, lies in the last `new_sessions_days` days (likewise); where `left` and
   `right` are the same types, only events of these types; then only each session's last `tail` events. What is left is
   numbered 0, 1, ... in its session: its position.
2. x: events of the `left` types; with `left_first` only position 0.
   y: events of the `right` types; with `right_first_seen` only the first event of its item among those left by 1.
3. pairs: two different events of one session, of different items unless `self_pairs`, within the gaps.
4. duplicates: with `once_per`, one pair per session and (aid_x, aid_y), or (aid_x, aid_y, type of y): the `latest` (x
   latest, then y latest, by position), or the `closest` in time (ties: the latest of them).
5. the weights of the pairs are added up per (aid_x, aid_y); each x keeps the `keep` heaviest y (ties: smaller aid).
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from math import ceil, floor
from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import Field, field_validator, model_validator

from otto_gpu.schema import Section

DAY_MS = 86_400_000
FAR_SECONDS = 10**12  # more than from 1970 to the last time that is taken
FAR = 1 << 61  # beyond every position and time, and still far from where int64 ends


class PositionGap(Section):
    """lo <= position of y - position of x <= hi, or, if `abs`, its absolute value."""

    lo: int = Field(1, ge=1, description="1: the next event")
    hi: int = Field(ge=1, description="lo or more")
    abs: bool = Field(True, description="false: only y after x")

    @model_validator(mode="after")
    def _order(self):
        if self.hi < self.lo:
            raise ValueError("hi must be at least lo")
        return self


class TimeGap(Section):
    """lo < ts of y - ts of x < hi in seconds, both exclusive; if `abs`, its absolute value. null: no bound.

    A forward gap (`abs: false`) without `lo` still asks for y at or after x: lo < 0 does not exist.
    """

    lo: float | None = Field(None, ge=0, le=FAR_SECONDS, description="seconds; farther apart than that")
    hi: float | None = Field(None, gt=0, le=FAR_SECONDS, description="seconds; nearer than that")
    abs: bool = Field(True, description="false: only y at or after x")

    @model_validator(mode="after")
    def _order(self):
        if self.lo is not None and self.hi is not None and self.hi <= self.lo:
            raise ValueError("hi must be above lo")
        return self

    @property
    def lo_ms(self) -> float | None:
        return None if self.lo is None else self.lo * 1000

    @property
    def hi_ms(self) -> float | None:
        return None if self.hi is None else self.hi * 1000


class PairWeight(Section):
    """What one pair adds to the matrix: the product of what is given; nothing given: 1."""

    half_life_hours: float | None = Field(None, gt=0, description="0.5^(|ts_y - ts_x| / h)")
    recency: tuple[float, float] | None = Field(
        None, description="linear in ts_x: a at the log's first event, b at its last (a log of one time: a)"
    )
    type_y: dict[str, float] | None = Field(None, description="by the type of y; a type that is not named weighs 1")

    @field_validator("type_y")
    @classmethod
    def _types_positive(cls, value):
        if value is not None and min(value.values(), default=1) <= 0:
            raise ValueError("weights must be above 0")
        return value

    @field_validator("recency")
    @classmethod
    def _recency_positive(cls, value):
        if value is not None and min(value) <= 0:
            raise ValueError("weights must be above 0")
        return value


class MatrixRule(Section):
    """Which ordered pairs (x, y) of events of one session count, and how much: y becomes a neighbour of x.

    In this order: `since_days` and `new_sessions_days`; the types, where `left` and `right` are the same; `tail`; then what x
    and y may be, the gaps, `once_per`; what is left is added up by pair of items, and `keep` of it stays.
    """

    left: tuple[str, ...] | None = Field(None, description="types of x; null: all")
    right: tuple[str, ...] | None = Field(None, description="types of y; null: all")
    since_days: float | None = Field(None, gt=0, le=100_000, description="only events of the log's last days")
    new_sessions_days: float | None = Field(
        None, gt=0, le=100_000, description="only sessions that began in the log's last days"
    )
    tail: int | None = Field(None, ge=1, description="only each session's last events, so many")
    left_first: bool = Field(False, description="x is the session's first event only")
    right_first_seen: bool = Field(False, description="y is the first event of its item in the session only")
    gap_positions: PositionGap | None = Field(None, description="how many events apart; null: any")
    gap_seconds: TimeGap | None = Field(None, description="how long apart; null: any")
    self_pairs: bool = Field(False, description="also two events of the same item")
    once_per: Literal["pair", "pair_and_type"] | None = Field(
        "pair",
        description="a session counts once per pair of items, or per pair and type of y; null: every pair of events counts",
    )
    which: Literal["latest", "closest"] = Field("latest", description="the pair of events that once_per lets count")
    weight: PairWeight = PairWeight()
    keep: Annotated[int, Field(ge=1, le=1000, description="how many neighbours of an item stay, the heaviest")]

    @field_validator("left", "right")
    @classmethod
    def _some_type(cls, value):
        if value is not None and (not value or len(set(value)) != len(value)):
            raise ValueError("name at least one type, each once; null means all")
        return value

    @model_validator(mode="after")
    def _sense(self):
        if self.which == "closest" and self.once_per is None:
            raise ValueError("which: closest needs once_per")
        return self

    def codes(self, side: Literal["left", "right"], types: tuple[str, ...]) -> tuple[int, ...]:
        """The side's types as codes of a log with these types. A type that the log does not know picks nothing."""
        names = getattr(self, side)
        return tuple(range(len(types))) if names is None else tuple(types.index(n) for n in names if n in types)

    def mask(self, side: Literal["left", "right"], types: tuple[str, ...]) -> np.ndarray:
        """bool [types]: `codes` as a mask."""
        mask = np.zeros(len(types), bool)
        mask[list(self.codes(side, types))] = True
        return mask

    def gaps(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """((low, high, near), (above, below, close)): partners of x are those low..high positions after it, but for those
        `near` or nearer to it, with above < dt < below in ms, but for |dt| <= close (-1: no such hole). Times are whole
        milliseconds, so a bound between two of them is rounded. What is left is one run of events less one hole around x.
        """
        low, high, near = -FAR, FAR, 0
        if gap := self.gap_positions:
            low, high, near = (-gap.hi, gap.hi, gap.lo - 1) if gap.abs else (gap.lo, gap.hi, 0)
        above, below, close = -FAR, FAR, -1
        if gap := self.gap_seconds:
            below = FAR if gap.hi is None else ceil(gap.hi_ms)
            lo = -1 if gap.lo is None else floor(gap.lo_ms)
            above, close = (-below, lo) if gap.abs else (lo, -1)
        return (low, high, near), (above, below, close)

    def type_weights(self, types: tuple[str, ...]) -> list[float]:
        given = self.weight.type_y or {}
        return [float(given.get(t, 1.0)) for t in types]


@cache
def _packaged() -> dict[str, MatrixRule]:
    text = resources.files("otto_gpu.cooccurrence").joinpath("rules.yaml").read_text("utf-8")
    return {name: MatrixRule(**fields) for name, fields in yaml.safe_load(text).items()}


RULES: dict[str, MatrixRule] = _packaged()
