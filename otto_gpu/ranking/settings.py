"""The sections `ranking` and `blend` of the configuration."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Literal

from pydantic import Field, field_validator

from otto_gpu.schema import Name, Section

RECALL = "recall"  # the hand-set order of the candidates, as one more group of the blend


class Group(Section):
    """Rankers that are alike: one model per target and fold. Their scores count as one in the blend."""

    objective: Literal["binary:logistic", "rank:pairwise", "rank:ndcg"] = Field(
        "binary:logistic",
        description="rank: rows of a session against each other, judged by NDCG@20; binary: every row for itself, by AUC",
    )
    depth: int = Field(4, ge=1, le=20, description="of a tree")
    bins: int = Field(64, ge=2, le=1024, description="values that a feature is rounded to (XGBoost's max_bin)")
    learning_rate: float = Field(0.1, gt=0, le=1, description="how much a tree adds")
    columns: int | None = Field(
        128, ge=1, description="columns that a model takes: those with the most gain in a first, small model; null: all"
    )
    colsample: float = Field(0.5, gt=0, le=1, description="share of its columns that a tree sees")
    subsample: float = Field(0.8, gt=0, le=1, description="share of the rows that a tree sees")
    min_child_weight: float = Field(5.0, ge=0, description="what a leaf must weigh (XGBoost's sum of second derivatives)")
    reg_lambda: float = Field(10.0, ge=0, description="how strongly a leaf's value is drawn to zero (L2)")
    rounds: int = Field(400, ge=1, description="trees at most")
    early_stopping: int = Field(30, ge=1, description="rounds without a better figure on the held-out fold")
    seed: int = Field(0, ge=0, description="of the rows and columns that trees see; added to ranking.seed and the fold")
    params: dict[str, str | float | int | bool] = Field({}, description="further parameters, handed to the ranker as they are")

    @property
    def by_session(self) -> bool:
        """Whether the objective compares the rows of a session with each other only."""
        return self.objective.startswith("rank:")

    @property
    def metric(self) -> str:
        """The figure on the held-out fold that says how many rounds are best."""
        return "ndcg@20" if self.by_session else "auc"


Parameter = Literal["depth", "bins", "learning_rate", "colsample", "subsample", "min_child_weight", "reg_lambda"]


class Search(Section):
    """Better settings for every target and group, tried out-of-fold (Optuna, TPE); the group's own are the first trial."""

    seconds: float = Field(600.0, gt=0, description="per target and group; a trial that has begun is finished")
    trials: int | None = Field(None, ge=1, description="stop after so many, if the seconds are not over before")
    parameters: tuple[Parameter, ...] = Field(
        ("depth", "learning_rate", "colsample", "subsample", "min_child_weight", "reg_lambda"),
        min_length=1,
        description="of the group, that are searched",
    )
    startup: int = Field(8, ge=1, description="trials at random before the sampler draws conclusions")
    seed: int = Field(42, ge=0, description="of the trials")


class RankingConfig(Section):
    """The rankers: a model per target, group and fold of the validation period's sessions."""

    ranker: str = Field("xgboost", description="by name, from the registry of rankers")
    folds: int = Field(4, ge=2, le=20, description="parts of the sessions; a model sees all but one, and is judged on that")
    seed: int = Field(42, ge=0, description="of the folds and of the models")
    groups: dict[Name, Group] = Field({"binary": Group()}, min_length=1, description="by name; given, they are all there are")
    min_positives: int = Field(30, ge=2, description="a target with fewer positives has no rankers: the hand-set order stays")
    transfer: bool = Field(
        False, description="such a target gets rankers that are trained on the rows of all targets, with the target as a column"
    )
    batch_rows: int = Field(100_000, ge=1, description="rows handed to the ranker at a time, at least one session's")
    kept_mb: int = Field(
        4096,
        ge=0,
        description="a target's rows are kept in memory up to so many MB, and as much of what is prepared for the folds; "
        "more is read again, and a fold that alone takes more is trained from disk. On CUDA what is prepared may take half of "
        "the GPU's free memory instead, and a fold that takes more is trained from the host's memory",
    )
    scoring: Literal["auto", "xgboost", "nvforest", "forest"] = Field(
        "auto",
        description="how trees are scored on CUDA: by XGBoost's prediction, by nvForest or by a kernel of our own (trees up to "
        "depth 8; deeper ones by XGBoost); auto: xgboost. On the CPU the kernel scores shallow trees and XGBoost the others",
    )
    cascade: dict[str, tuple[str, ...]] = Field(
        {}, description="target -> earlier targets, whose out-of-fold scores are columns of its rows"
    )
    search: Search | None = Field(None, description="look for better settings of the groups; null: they stay as they are")

    @field_validator("groups")
    @classmethod
    def _names(cls, groups):
        if RECALL in groups:
            raise ValueError(f"the group name {RECALL!r} means the hand-set order and cannot be given")
        return groups

    @field_validator("cascade")
    @classmethod
    def _no_circles(cls, cascade):
        try:
            TopologicalSorter(cascade).prepare()
        except CycleError as error:
            raise ValueError(f"targets wait for each other: {' -> '.join(reversed(error.args[1]))}") from None
        return cascade


class BlendConfig(Section):
    """How the groups' scores become one order, target by target: by weights that are chosen out-of-fold."""

    steps: int = Field(4, ge=1, le=20, description="the grid: every group's weight is a multiple of 1/steps, together 1")
    caution: float = Field(
        0.25,
        ge=0,
        description="weights away from equal ones cost caution x sqrt(hits) x distance, in hits (0: the most hits win)",
    )
    damping: float = Field(10.0, gt=0, description="a group's place p (from 0) in a session counts 1/(p + damping)")
