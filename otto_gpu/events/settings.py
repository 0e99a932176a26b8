"""The sections `events`, `split` and `targets` of the configuration."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from otto_gpu.columns import EVENT_COLUMNS
from otto_gpu.events.zones import is_zone
from otto_gpu.schema import Name, Section

MOST_BYTES = 1 << 30  # places in a piece of text are int32
SPLITS = ("validation", "test")  # the periods that are predicted
MOST_EVENTS = 1000  # of a session are looked at, the newest: twice what OTTO's longest has
# attributes of the items of generated logs
GENERATED_ITEMS = {
    "synthetic_news": {"category_id": "code", "created_at_ts": "time", "words_count": "number", "title": "text"},
}
GENERATED = ("synthetic", *GENERATED_ITEMS)
Delimiter = Annotated[str, Field(min_length=1, max_length=3)] | None
DELIMITER = "between the values of a CSV; null: a comma, or the tab, semicolon or bar that the first row shows"


Column = Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=0, strict=True)]


# what databases and tools write where there is nothing
MISSING = (
    *("NULL", "Null", "null", "(null)", "[null]", "\\N", "None", "NaN", "nan", "NAN", "NA", "N/A", "n/a", "#N/A", "<NA>"),
    *("none", "nil", "NIL", "NaT", "undefined", "(not set)", "(none)", "-"),
)


def _text(value) -> str:
    """A value of YAML as a log has it: true, 1 and 1.0 are no text there; null is ''."""
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class ColumnNames(Section):
    """How the user's log calls its columns: by name or, in files without a header, by place, from 0 on. In JSONL and Parquet
    user.id is the field id of the column user."""

    session: Column | list[Column] = Field(
        "session", description="who acts: integers or text; a list: what stands in several columns together is one id"
    )
    aid: Column = Field("aid", description="the item: integers or text")
    ts: Column = Field("ts", description="the time, in ts_unit")
    type: Column | None = Field("type", description="null: the log has no such column, see default_type")

    @field_validator("session")
    @classmethod
    def _of_several(cls, value):
        if isinstance(value, list) and (not value or len(set(value)) < len(value)):
            raise ValueError("a list names one column or several, each once")
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    @property
    def named(self) -> ColumnNames:
        """With session, aid, ts and type for those that are places: other tables than the log have other places."""
        places = {name for column, name in self.all.items() if isinstance(column, int)}
        return self.model_copy(update={name: name for name in places})

    @property
    def session_name(self) -> str:
        """What a table calls its column of sessions."""
        return self.session if isinstance(self.session, str) else "session"

    @property
    def all(self) -> dict[Column, str]:
        """{column: which of the event's it is}"""
        return {
            column: name
            for name, columns in self
            for column in (columns if isinstance(columns, list) else [columns])
            if column is not None
        }


class EventsConfig(Section):
    """How to read the log. The official OTTO format, a session a line of JSON, has names of its own for its columns."""

    format: Literal["auto", "jsonl", "csv", "parquet", "synthetic", "synthetic_news"] = Field(
        "auto",
        description="auto: as the files' names end or, where these say nothing, as they begin; jsonl: a session a line, as "
        "OTTO's, or an event a line; csv: with any delimiter; synthetic: a generated log of a shop, which takes no data; "
        "synthetic_news: one of a news portal, with attributes of its articles and columns of context",
    )
    columns: ColumnNames = ColumnNames()
    ts_unit: Literal["s", "ms", "us", "ns", "iso"] = Field(
        "ms", description="unit of ts; iso: text such as 2022-08-01T12:00:00Z"
    )
    ts_format: str | None = Field(
        None,
        min_length=1,
        description="of ts as text that ts_unit has no word for, as strptime's: '%d.%m.%Y %H:%M:%S'",
    )
    timezone: str = Field(
        "UTC",
        description="of times without a zone: a name such as Europe/Berlin, or an offset such as +02:00. A time that the "
        "clocks show twice is the first of the two; one that they leave out is read as if they had not been put forward",
    )
    types: dict[str, str | None] | None = Field(
        None,
        description="the log's value -> the event type, or null: such rows are left out, counted apart from bad ones; values "
        "not named here are rejected. '': rows without a type. null: the names of targets.types and their codes 0, 1, ...",
    )
    missing: list[str] = Field(
        list(MISSING),
        description="words that stand for no session or no item: such rows are left out, counted apart from bad ones; '' among "
        "them: rows with an empty one or none as well, which are bad otherwise",
    )
    duplicates: Literal["drop", "keep"] = Field(
        "drop",
        description="of events that stand twice (same session, item, time and type). keep: for times in seconds or days, where "
        "they may be real",
    )
    visit_minutes: float | None = Field(
        None,
        gt=0,
        description="the session is a user, whose events are cut into visits where he pauses for longer: user#1, user#2, ... "
        "For new sessions the last visit counts, under the user's own id",
    )
    default_type: str | None = Field(None, description="the type of every event where the log has no type column")
    extra: list[str] = Field([], description="further columns that travel along in events/")
    context: dict[Name, Literal["code", "number"]] = Field(
        {},
        description="column -> code (categories: integers or text) or number: what the log says of every event besides, such "
        "as the device; in JSONL, keys of the events",
    )
    delimiter: Delimiter = Field(None, description=DELIMITER)
    header: Literal["auto"] | bool = Field(
        "auto",
        description="of a CSV: whether its first row names its columns; auto: where `columns` are names; further files "
        "may lack what the first one has",
    )
    encoding: str = Field(
        "auto",
        description="of text; auto: as each file's mark says, else UTF-8 or, where it is not, cp1252; or one of Python's, such "
        "as latin-1",
    )
    train_file: str | list[str] | None = Field(
        None,
        description="within a data folder: only this file, folder or pattern holds the log; of several the first that is there",
    )
    test_file: str | list[str] | None = Field(
        None,
        description="within a data folder: truncated sessions to predict, where it exists: a file, a folder or a pattern; of "
        "several the first that is there",
    )
    chunk_bytes: int = Field(32 << 20, ge=1 << 10, le=MOST_BYTES, description="size of the pieces in which text is read")
    test_answers: str | None = Field(
        None,
        description="within a data folder: what the sessions of the test file did next, where it exists: a table (CSV, Parquet "
        "or JSONL) with the log's columns of session and item, and of the type where there are several",
    )
    max_rejected: float = Field(0.001, ge=0, le=1, description="share of bad rows above which the run stops")
    before: datetime | None = Field(None, description="drop events at or after this time (UTC), for logs with a thin tail")
    after: datetime | None = Field(
        None, description="drop events before this time (UTC), such as those of clocks that stand at 1970"
    )
    sample_sessions: float = Field(
        1.0, gt=0, le=1, description="read only this share of the sessions, chosen by a hash of the id"
    )
    synthetic_sessions: int = Field(20_000, ge=10, description="of a generated log: how many sessions, or users of the news")
    synthetic_seed: int = Field(42, ge=0, description="of a generated log: another seed, another log")

    @field_validator("types", mode="before")
    @classmethod
    def _keys_are_text(cls, value):
        return {_text(k): v for k, v in value.items()} if isinstance(value, dict) else value

    @field_validator("missing", mode="before")
    @classmethod
    def _words_are_text(cls, value):
        if not isinstance(value, (list, tuple)):
            return value
        # NULL without quotes is YAML's own word for nothing
        return [text for word in value for text in (("", "NULL", "null") if word is None else (_text(word),))]

    @field_validator("ts_format")
    @classmethod
    def _is_format(cls, value: str | None):
        if value is not None:
            moment = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
            try:
                datetime.strptime(moment.strftime(value), value)
            except (ValueError, TypeError) as error:
                raise ValueError(f"not a format of strptime, such as '%d.%m.%Y %H:%M:%S': {error}") from None
            if not {"%Y", "%y", "%c", "%x", "%D", "%s", "%G"} & set(re.findall("%.", value.replace("%%", ""))):
                raise ValueError("a format needs a year: %Y or %y, as in '%d.%m.%Y %H:%M:%S'")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str):
        if not is_zone(value):
            raise ValueError("not a time zone; expected a name such as Europe/Berlin, or an offset such as +02:00")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str):
        try:
            if value != "auto":
                "a".encode(value).decode(value)
            return value
        except (LookupError, UnicodeError):  # what Python has besides encodings of text, such as rot13, is no encoding either
            raise ValueError(f"no encoding is called {value!r}; such as utf-8, utf-16, cp1252, latin-1") from None

    @field_validator("context")
    @classmethod
    def _further(cls, value: dict):
        for name in value:
            if name in EVENT_COLUMNS:
                raise ValueError(f"the log has a column {name!r} already")
        return value

    @model_validator(mode="after")
    def _apart(self):
        columns = self.columns.all
        for name in self.context:
            if name in self.extra:
                raise ValueError(f"{name!r} is named in extra and in context; name it once")
            if name in columns:
                raise ValueError(f"{name!r} is named in columns.{columns[name]} and in context; name it once")
        return self

    @field_validator("before", "after")
    @classmethod
    def _utc(cls, value: datetime | None):
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    @model_validator(mode="after")
    def _in_order(self):
        if self.before is not None and self.after is not None and self.after >= self.before:
            raise ValueError("after must lie before before: between them is what is read")
        return self

    @model_validator(mode="after")
    def _answers_of_what(self):
        if self.test_answers is not None and self.test_file is None:
            raise ValueError("test_answers needs test_file: the sessions that the answers belong to")
        if self.test_answers is not None and self.visit_minutes is not None:
            raise ValueError("test_answers: answers of users say nothing of their visits; leave out visit_minutes")
        return self

    @property
    def generated(self) -> bool:
        return self.format in GENERATED

    def type_names(self, types: list[str]) -> dict[str, str | None]:
        """{the log's value: the event type, None: left out} for a log whose types are `types`."""
        if self.types is not None:
            return self.types
        return {name: name for name in types} | {str(code): name for code, name in enumerate(types)}


class ItemsConfig(Section):
    """A table of what is known of the items, a row an item: CSV, Parquet or JSONL (an object a line). Items that no event has
    may be there too; the values of any may be missing."""

    file: str = Field(min_length=1, description="its name in the data folder (beside the log, where that is one file)")
    id: str = Field("aid", description="the column that names the item, as the log does")
    columns: dict[Name, Literal["code", "number", "time", "text"]] = Field(
        {}, description="column -> code (categories: integers or text), number, time or text; others are not read"
    )
    time_unit: Literal["s", "ms", "us", "ns", "iso"] = Field("ms", description="of the columns of kind time")
    delimiter: Delimiter = Field(None, description=DELIMITER)

    @model_validator(mode="after")
    def _apart(self):
        if self.id in self.columns:
            raise ValueError(f"columns: {self.id!r} names the item and is no attribute")
        return self


class SplitConfig(Section):
    """Three periods: train, validation (its labels train the rankers) and test.

    by time: a session belongs to a period if its first event lies in it. The periods begin at `test_start` and
    `validation_start` where given, else `test_days` before the log's last event and `validation_days` before that.
    by session: shares of the sessions, drawn at random.

    cut: what is known of a period's sessions, and what is asked. random: 1..n-1 of a session's n events are known, what follows
    is asked. last: all but the last event, which is asked. every: each event but the first is asked, given those before it (of
    a longer session the last 1,000, each given the newest 1,000); a period is learnt from without its histories, which hold
    each other's answers. time: for everybody with events before the period's start, what follows within `test_days` or
    `validation_days`. With random (OTTO's), events of items that are unknown before the period go; with the others they stay,
    also as answers.

    The word `auto` in the section's place (or `auto: true` beside seed, numbers of sessions, or another cut or by than the
    defaults) looks at the log and chooses.
    """

    auto: bool = Field(
        False,
        description="look at the log and choose cut, by, how long the periods are (or their shares), and a thin tail to leave "
        "out; what was chosen and why is told, and kept in events/summary.json and at the end of the run's config.yaml",
    )
    cut: Literal["random", "last", "every", "time"] = Field(
        "random", description="of a period's sessions; time: a moment for everybody, for users over months (needs by: time)"
    )
    by: Literal["time", "session"] = Field("time", description="session: for logs without an absolute clock")
    test_days: float = Field(7, gt=0, le=100_000, description="by time: the test period's length, up to the log's last event")
    validation_days: float = Field(
        7, gt=0, le=100_000, description="by time: the validation period's length, up to the test period"
    )
    test_start: datetime | None = Field(
        None,
        description="by time: where the test period begins (UTC), instead of test_days (which "
        "say how long it lasts where cut is time)",
    )
    validation_start: datetime | None = Field(
        None, description="by time: where the validation period begins (UTC), instead of validation_days"
    )
    test_fraction: float = Field(0.1, gt=0, lt=1, description="by session: the test period's share of the sessions")
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="by session: the validation period's share; both together leave some to learn from"
    )
    max_test_sessions: int | None = Field(None, ge=1, description="evaluate on a random sample of the last period's sessions")
    max_validation_sessions: int | None = Field(
        None, ge=1, description="train rankers on a random sample of the validation period's sessions"
    )
    seed: int = Field(42, ge=0, description="of the places where sessions are cut, and of what is drawn")

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value):
        return {"auto": True} if value == "auto" else value

    @field_validator("test_start", "validation_start")
    @classmethod
    def _utc(cls, value: datetime | None):
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    @model_validator(mode="after")
    def _order(self):
        if self.auto:
            chosen = [f"{name}_{what}" for name in SPLITS for what in ("days", "start", "fraction")]
            for name in chosen:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"auto chooses {name}: leave it out, or set auto to false")
        if self.test_start and self.validation_start and self.validation_start >= self.test_start:
            raise ValueError("validation_start must lie before test_start")
        if self.by == "session" and self.test_fraction + self.validation_fraction >= 1:
            raise ValueError("test_fraction + validation_fraction must be below 1")
        if self.cut == "time" and self.by != "time":
            raise ValueError("cut: time is a moment for everybody: it needs by: time")
        return self


class TargetsConfig(Section):
    """The event types in the order of their codes, what is predicted and how the score adds up (OTTO's by default)."""

    types: list[Name] = Field(
        ["clicks", "carts", "orders"], min_length=1, max_length=16, description="the event types; their codes are 0, 1, ..."
    )
    next_only: list[str] = Field(["clicks"], description="types whose ground truth is the next event only, not all later ones")
    weights: dict[str, float] = Field(
        {"clicks": 0.1, "carts": 0.3, "orders": 0.6},
        description="target -> its share of the score; types that are not named are no targets",
    )
    k: int = Field(20, ge=1, le=1000, description="how many items a list names, and how many of them count")
    metric: Literal["recall", "hit_rate", "mrr", "ndcg"] = Field(
        "recall",
        description="the figure that chooses and stands for the run, at k. recall: OTTO's, the hits of all sessions over what "
        "their lists could hold; hit_rate: the share of sessions with a hit; mrr: the mean of 1/place of the first hit; ndcg: "
        "the mean of the discounted gain over the best possible one",
    )
    click_zero_is_no_click: bool = Field(
        False, description="the official label maker takes aid 0 as the next click for no click"
    )

    @model_validator(mode="after")
    def _known(self):
        if len(set(self.types)) != len(self.types):
            raise ValueError("types: a type is named twice")
        for name in [*self.next_only, *self.weights]:
            if name not in self.types:
                raise ValueError(f"{name!r} is not one of the types {self.types}")
        if not self.weights or min(self.weights.values()) < 0 or sum(self.weights.values()) <= 0:
            raise ValueError("weights: at least one target with a weight above 0 is needed, none below 0")
        return self

    @property
    def names(self) -> list[str]:
        """The targets, in the order of their type codes."""
        return [t for t in self.types if t in self.weights]

    def code(self, name: str) -> int:
        return self.types.index(name)

    def figure(self, metric: str) -> str:
        """What a metric's figure is called in files and on pages: mrr@5."""
        return f"{metric}@{self.k}"

    @property
    def metric_name(self) -> str:
        """The name of the figure that counts: recall@20."""
        return self.figure(self.metric)
