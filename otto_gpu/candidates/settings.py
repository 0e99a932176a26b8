"""What of the section `candidates` goes beyond recipes: sources from vectors, and learned fusion."""

from __future__ import annotations

from pydantic import Field

from otto_gpu.schema import Section

FUSION = "fusion"  # the source that is made of the others


class Nearest(Section):
    """One more source of candidates: the items nearest to the session in the space of some vectors; those of its history
    are left out."""

    vectors: str = Field(description="the name of the vectors")
    size: int = Field(50, ge=1, le=1000, description="how many items it names")
    last: int = Field(
        10,
        ge=1,
        description="vectors without session vectors: the query is a mean of the newest n different items, the newest most",
    )


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
