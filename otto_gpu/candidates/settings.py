"""The section `candidates`: the sources, and how what they name is put together."""

from __future__ import annotations

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from otto_gpu.candidates.recipes import Recipe, packaged_recipes
from otto_gpu.candidates.sources import OWN_KEYS, FurtherSource, Source, settings_of
from otto_gpu.events.settings import MOST_EVENTS
from otto_gpu.needs import Need
from otto_gpu.schema import Name, Section, did_you_mean, merge_packaged

HISTORY, EVERYTHING = "history", "all"  # a source that is always there; the row of all sources in the coverage table
FUSION = "fusion"  # the source that is made of the others
XGBOOST = Need("learned fusion (candidates.fusion)", "xgboost", "cpu")
FAISS = Need("a source of candidates from vectors (candidates.nearest)", "faiss", "cpu")
MOST_WEIGHT = 1_000_000
MOST_DEPTH = 1000  # no source names more


class Nearest(Source):
    """One more source of candidates: the items nearest to the session in the space of some vectors; those of its history
    are left out."""

    vectors: str = Field(description="the name of the vectors")
    size: int = Field(50, ge=1, le=1000, description="how many items it names")
    last: int = Field(
        10,
        ge=1,
        description="vectors without session vectors: the query is a mean of the newest n different items, the newest most",
    )
    exact: bool | None = Field(
        None,
        description="true: a query is compared with every vector; false: a graph finds nearly all of the nearest, on a CPU; "
        "null: the number of vectors decides",
    )

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"vectors": (self.vectors,)}

    def says(self) -> str:
        return f"items near the session's vector by {self.vectors}"


class Fusion(Section):
    """Of all that the sources name, a session's best `keep` candidates stay."""

    keep: int = Field(100, ge=1, le=1000, description="how many candidates of a session stay")
    folds: int = Field(4, ge=2, le=20, description="models, each of which has not seen a part of the validation sessions")
    seed: int = Field(42, ge=0, description="of the folds, which are those of the rankers if seed and number are")
    rounds: int = Field(60, ge=1, description="trees of a model")
    depth: int = Field(4, ge=1, le=20, description="of a tree")
    learning_rate: float = Field(0.15, gt=0, le=1, description="how much a tree adds")
    max_rows: int = Field(1_000_000, ge=1000, description="candidates to train on; of more, those of a share of the sessions")
    min_sessions: int = Field(
        100, ge=20, description="with fewer sessions to learn from, reciprocal ranks decide: fusion by a formula"
    )


class CandidatesConfig(Section):
    """Who names candidates, and how many of them stay."""

    recipes: dict[Name, Recipe] = Field(
        default_factory=lambda: packaged_recipes(),
        description="by name; one without lines changes the packaged recipe of its name: {clicks: {size: 150}}, and the others "
        "stay; given with lines, they are all there are",
    )
    nearest: dict[Name, Nearest] = Field({}, description="further sources by name: the items nearest to a session's vector")
    other_sources: dict[Name, SerializeAsAny[FurtherSource]] = Field(
        {}, description="further sources by name, each with its `kind` and the settings of that kind"
    )
    fusion: Fusion | None = Field(None, description="a model that chooses among what the sources name; null: all of it stays")
    bought: tuple[str, ...] = Field(("carts", "orders"), description="the types that `bought` means")
    type_weights: dict[str, float] = Field({"clicks": 1.0, "carts": 6.0, "orders": 3.0}, description="of a history's events")
    order: dict[str, str] = Field(
        {"clicks": "clicks", "carts": "orders", "orders": "orders"},
        description="target -> the source whose order stands for the hand-set one; other targets: the first recipe",
    )
    most_events: int | None = Field(
        MOST_EVENTS,
        ge=1,
        description="of a longer history recipes and features see so many events only, the newest; null: all",
    )
    history_limit: int = Field(60, ge=0, description="at most so many items of the history, the newest, are candidates")
    fill_to: int = Field(30, ge=1, description="popular items where a session has fewer candidates")
    popular_days: float = Field(7, gt=0, description="what is popular: events of the last days of the known log")
    coverage_depths: tuple[int, ...] = Field(
        (20, 50, 100), min_length=1, description="so many of a source's first candidates: the columns of the coverage table"
    )
    chunk_sessions: int = Field(10_000, ge=1, description="sessions of a part, which are worked on at once")

    @field_validator("type_weights")
    @classmethod
    def _weights_fit(cls, value):
        if not all(0 <= weight <= MOST_WEIGHT for weight in value.values()):
            raise ValueError(f"weights must be 0 to {MOST_WEIGHT:,}: they are summed up in float32")
        return value

    @field_validator("coverage_depths")
    @classmethod
    def _depths_fit(cls, value):
        if list(value) != sorted(set(value)) or value[0] < 1 or value[-1] > MOST_DEPTH:
            raise ValueError(f"depths must be different, ascending, and 1 to {MOST_DEPTH:,}")
        return value

    @field_validator("recipes", mode="before")
    @classmethod
    def _changes(cls, given):
        if not isinstance(given, dict) or not all(isinstance(r, dict) and "lines" not in r for r in given.values()):
            return given
        packaged = packaged_recipes()
        unknown = next((name for name in given if name not in packaged), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} has no lines and is no packaged recipe; {did_you_mean(unknown, packaged)}")
        return merge_packaged(packaged, given)

    @field_validator("other_sources", mode="before")
    @classmethod
    def _by_kind(cls, given):
        return {name: settings_of(name, fields) for name, fields in given.items()} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _recipes_fit(self):
        seen: list[str] = []
        for name, recipe in self.recipes.items():
            for line in recipe.lines:
                if line.recipe is not None and line.recipe not in seen:
                    raise ValueError(
                        f"recipes.{name}: top {line.recipe!r} must be a recipe above it; {did_you_mean(line.recipe, seen)}"
                    )
            seen.append(name)
        if not any(r.output for r in self.recipes.values()):
            raise ValueError("recipes: none of them is an output")
        for name in (*self.recipes, *self.nearest, *self.other_sources):
            if name in (HISTORY, FUSION, EVERYTHING):
                raise ValueError(f"no recipe and no other source may be called {name!r}, which has a meaning of its own")
        for name in self.nearest:
            if name in self.recipes:
                raise ValueError(f"nearest: a recipe is called {name!r} too")
        for name in self.other_sources:
            if name in self.recipes or name in self.nearest:
                raise ValueError(f"other_sources: another source is called {name!r} too")
        sources = self.sources[1:]  # the history names too little to stand for all
        for name in self.order.values():
            if name not in sources:
                raise ValueError(f"order: {name!r} is no recipe with output and no other source; {did_you_mean(name, sources)}")
        return self

    @property
    def outputs(self) -> list[str]:
        return [name for name, recipe in self.recipes.items() if recipe.output]

    @property
    def named_by(self) -> list[str]:
        """Who names candidates, in the order of the columns."""
        return [HISTORY, *self.outputs, *self.nearest, *self.other_sources]

    @property
    def sources(self) -> list[str]:
        """The sources of the candidates that stay: who named them, and the fusion if it chose them."""
        return self.named_by + ([FUSION] if self.fusion else [])

    @property
    def settings(self) -> dict[str, Source]:
        """Of all sources by name, those of recipes that are no output too."""
        return {**self.recipes, **self.nearest, **self.other_sources}

    def of_kind(self, kind: str) -> dict[str, Source]:
        """The sources of a kind by name."""
        if kind in OWN_KEYS:
            return getattr(self, kind)
        return {name: source for name, source in self.other_sources.items() if source.kind == kind}

    def needs(self, what: str) -> dict[str, tuple[str, ...]]:
        """{the key of a source: names of what it asks another section for}; what: as Source.needs says."""
        keys = (*OWN_KEYS, "other_sources")
        found = {f"candidates.{key}.{n}": s.needs().get(what, ()) for key in keys for n, s in getattr(self, key).items()}
        return {key: names for key, names in found.items() if names}

    @property
    def matrices(self) -> list[str]:
        return list(dict.fromkeys(name for names in self.needs("matrices").values() for name in names))

    @property
    def vectors(self) -> list[str]:
        return list(dict.fromkeys(name for names in self.needs("vectors").values() for name in names))

    def says(self, source: str) -> str:
        """What a source names, for people."""
        own = {HISTORY: "items of the history, newest first", FUSION: "the best of what the other sources name"}
        return own[source] if source in own else self.settings[source].says()

    def order_of(self, target: str) -> str:
        return self.order.get(target, self.outputs[0])
