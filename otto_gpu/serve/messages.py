"""What requests and answers look like. Some of it is the run's: the names of its types and targets, the unit of its times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictStr, Tag, create_model
from pydantic_core import core_schema

from otto_gpu.events.settings import EventsConfig, TargetsConfig
from otto_gpu.events.times import YEAR_2200_MS
from otto_gpu.explain import REASONS
from otto_gpu.serve.limits import Limits
from otto_gpu.serve.worker import Events

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
INT64 = 1 << 63
ONE, MANY = "one session", "many sessions"  # which of its two forms a request for lists has


def _integers(**bounds) -> list:
    """What counts as an integer in JSON: 5 and 5.0; true and "5" are none."""
    real = core_schema.float_schema(strict=True, allow_inf_nan=False)
    return [core_schema.int_schema(strict=True, **bounds), core_schema.chain_schema([real, core_schema.int_schema(**bounds)])]


@dataclass(frozen=True)
class Whole:
    """An integer between two bounds."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source, handler):
        message = f"expected an integer from {self.least:,} to {self.most:,}"
        kinds = _integers(ge=self.least, le=self.most)
        return core_schema.union_schema(kinds, custom_error_type="whole", custom_error_message=message)

    def __get_pydantic_json_schema__(self, schema, handler):
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


class _Id:
    """An integer or text that is not empty. Beyond 64 bits it is text: 7 and '7' are one item."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        number = core_schema.float_schema(strict=True, allow_inf_nan=False)  # the parser's kind for integers beyond 64 bits
        other = core_schema.union_schema([core_schema.int_schema(strict=True), number])
        kinds = [
            core_schema.int_schema(strict=True, ge=-INT64, lt=INT64), core_schema.str_schema(strict=True),
            core_schema.no_info_after_validator_function(_integer_or_text, other),
        ]  # fmt: skip
        message = "expected an integer or text"
        return core_schema.union_schema(kinds, custom_error_type="id", custom_error_message=message)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema, handler):
        return {"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1}]}


def _integer_or_text(value: int | float) -> int | str:
    if value != int(value):
        raise ValueError("a fraction")
    return int(value) if -INT64 <= value < INT64 else str(int(value))


class _Code:
    """A value of a column of codes: an integer, text, true or false."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        kinds = [core_schema.bool_schema(strict=True), *_integers(ge=-INT64, lt=INT64), core_schema.str_schema(strict=True)]
        message = "expected an integer, text, true or false"
        return core_schema.union_schema(kinds, custom_error_type="code", custom_error_message=message)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema, handler):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "boolean"}]}


Id = Annotated[int | str, _Id]
Code = Annotated[int | str | bool, _Code]


@dataclass(frozen=True)
class OneOf:
    """One of some words, or of some integers. (A Literal takes false for 0.)"""

    words: tuple[str, ...]
    codes: tuple[int, ...]

    def __get_pydantic_core_schema__(self, source, handler):
        kinds = [core_schema.literal_schema(list(self.words))]
        if self.codes:
            kinds.append(core_schema.chain_schema([_integers()[0], core_schema.literal_schema(list(self.codes))]))
        if {"true", "false"} & set(self.words):  # as events.types has them of a column of booleans
            kinds.append(core_schema.bool_schema(strict=True))
        message = f"expected one of {', '.join(self.words)}"
        return core_schema.union_schema(kinds, custom_error_type="one_of", custom_error_message=message)

    def __get_pydantic_json_schema__(self, schema, handler):
        return {"enum": [*self.words, *self.codes]}


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


# ---------------------------------------------------------------------------------------------------- answers
class Lists(Message):
    lists: dict[str, list[Id]] = Field(description="by target: items, best first, at most k")
    cold: bool = Field(description="the session has no item that the run knows: the lists are popular items")
    unknown_items: int = Field(description="events of items that the run does not know; they were left out")


class ListsOfSession(Lists):
    session: Id


class ListsOfSessions(Message):
    sessions: list[ListsOfSession] = Field(description="in the order of the request")


class Key(Message):
    aid: Id
    in_history: bool = Field(description="false: the source itself named it before")
    matrix: str | None = Field(description="whose neighbour the item is there; null: it is the key itself that gains")
    place: int = Field(description="of the item among the key's neighbours, from 1")
    gain: float = Field(description="what it adds to the source's score")


class Source(Message):
    source: str
    rank: int = Field(description="of the item in the source's list, from 1")
    score: float | None
    because: list[Key] = Field(description=f"keys that gave most, at most {REASONS}")


class Reason(Message):
    aid: Id
    rank: int = Field(description="from 1")
    sources: list[Source] = Field(description="at most two, best rank first; none: a popular item")


class Reasons(Lists):
    """The lists of /recommend, and why each item is there."""

    reasons: dict[str, list[Reason]] = Field(description="by target, in the order of the lists")


class GroupScore(Message):
    group: str
    weight: float
    place: int = Field(description="of the item among the candidates, from 1")


class FeatureContribution(Message):
    feature: str
    meaning: str
    value: float | None
    contribution: float


class ForTarget(Message):
    place: int = Field(description="of the item among the candidates, from 1")
    blend: list[GroupScore]
    bias: float | None = Field(description="the models' score of anything; null: the target has no models")
    features: list[FeatureContribution] = Field(description="what moved the models' score most")


class Explanation(Message):
    aid: Id
    candidate: bool = Field(description="whether any source named it; otherwise it is a popular item, or in no list")
    in_history: int = Field(description="events of it in the session")
    sources: list[Source]
    targets: dict[str, ForTarget]


class Health(Message):
    ready: bool
    run: str
    version: str
    device: str
    uptime_seconds: float
    targets: list[str]
    types: list[str]
    ts_unit: str = Field(description="as events.ts_unit, or text: in the log's own format (events.ts_format)")
    k: int = Field(description="items of a list where a request does not say")
    items: int = Field(description="that the run knows")
    waiting: int = Field(description="requests that wait")
    limits: dict[str, float]


# --------------------------------------------------------------------------------------------------- requests
@dataclass(frozen=True)
class Messages:
    """The models that are made for a run."""

    recommend: Any
    explain: type[Message]
    reasons: type[Message]
    examples: type[Message]


def messages_of(events: EventsConfig, targets: TargetsConfig, limits: Limits, k: int) -> Messages:
    """k: items of a list where a request does not say; the most is limits.k, or k."""
    event = create_model("Event", __base__=Message, **_event_fields(events, targets))
    of_session = Annotated[list[event], Field(max_length=limits.session_events)]
    length = (Annotated[int, Whole(1, max(limits.k, k))], Field(k, description="items of a list"))
    history = (of_session, Field(description="the session's events, in any order; none: a cold start"))
    one = create_model("OneSession", __base__=Message, events=history, k=length)
    session = create_model("Session", __base__=Message, session=(Id, ...), events=history)
    sessions = (Annotated[list[session], Field(max_length=limits.sessions)], ...)
    many = create_model("ManySessions", __base__=Message, sessions=sessions, k=length)
    either = Annotated[Annotated[one, Tag(ONE)] | Annotated[many, Tag(MANY)], Discriminator(_one_or_many)]
    target = (Literal[tuple(targets.names)] | None, Field(None, description="null: all of them"))
    why = create_model("Why", __base__=Message, events=history, aid=(Id, ...), target=target)
    example = create_model("Example", __base__=Message, session=(Id, ...), events=(list[event], ...))
    examples = create_model("Examples", __base__=Message, sessions=(list[example], Field(description="of the test period")))
    return Messages(either, why, one, examples)


def _one_or_many(value: Any) -> str:
    return MANY if isinstance(value, dict) and "sessions" in value else ONE


def _event_fields(events: EventsConfig, targets: TargetsConfig) -> dict[str, tuple]:
    fields: dict[str, tuple] = {"aid": (Id, Field(description="the item")), "ts": _time(events)}
    values = dict.fromkeys(filter(None, [*targets.types, *events.type_names(targets.types)]))
    codes = [int(v) for v in values if v.isdecimal() and str(int(v)) == v]
    default = ... if events.default_type is None else events.default_type
    kind = Annotated[str | int | bool, OneOf(tuple(values), tuple(codes))]
    fields["type"] = (kind, Field(default, description="a type's name, or the log's value for it"))
    for name, field in context_fields(events).items():
        kind = Code | None if events.context[name] == "code" else Annotated[float, Field(strict=True)] | None
        told = "what the run does not know is as if it were missing" if events.context[name] == "code" else "a number"
        fields[field] = (kind, Field(None, alias=name, description=told))
    return fields


def context_fields(events: EventsConfig) -> dict[str, str]:
    """{column of events.context: the field of an event that holds it}; not every column's name could be a field's."""
    return {name: f"context_{i}" for i, name in enumerate(events.context)}


def _time(events: EventsConfig) -> tuple:
    unit, zone = told_unit(events), f"without a zone it is {events.timezone}"
    if unit == "text":
        return StrictStr, Field(description=f"in the log's format, {events.ts_format}; {zone}")
    if unit == "iso":
        return StrictStr, Field(description=f"such as 2022-08-01T12:00:00Z; {zone}")
    end, about = YEAR_2200_MS * PER_SECOND[unit] // 1000, Field(description=f"{unit} since 1970 (UTC)")
    kind = (
        Annotated[float, Field(strict=True, ge=0, lt=end)] if unit == "s" else Annotated[int, Whole(0, end - PER_SECOND[unit])]
    )
    return kind, about


def told_unit(events: EventsConfig) -> str:
    """Of the times of requests: events.ts_unit, or text, where the log has a format of its own."""
    return events.ts_unit if events.ts_format is None else "text"


def columns_of(sessions: list[list[Any]], config: EventsConfig) -> Events:
    """Of validated events, a list for each session."""
    fields = context_fields(config)
    made = Events(len(sessions), context={name: [] for name in fields})
    for place, events in enumerate(sessions):
        made.session += [place] * len(events)
        made.aid += [event.aid for event in events]
        made.ts += [event.ts for event in events]
        made.type += [str(event.type) for event in events]
        for name, field in fields.items():
            made.context[name] += [getattr(event, field) for event in events]
    return made
