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
        10, ge=1, description="vectors without session vectors: the query is the mean of the newest n different items"
    )


class Fusion(Section):
    """Of all that the sources name, a session's best `keep` candidates stay."""

    keep: int = Field(100, ge=1, le=1000, description="how many candidates of a session stay")
    folds: int = Field(4, ge=2, le=20)
    seed: int = Field(42, ge=0, description="of the folds, which are those of the rankers if seed and number are")
    rounds: int = Field(60, ge=1)
    depth: int = Field(4, ge=1, le=20)
    learning_rate: float = Field(0.15, gt=0, le=1)
    max_rows: int = Field(1_000_000, ge=1000, description="candidates to train on; of more, those of a share of the sessions")
    min_sessions: int = Field(
        100, ge=20, description="with fewer sessions to learn from, reciprocal ranks decide: fusion by a formula"
    )
