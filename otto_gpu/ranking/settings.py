"""The sections `ranking` and `blend` of the configuration."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_serializer, model_validator

from otto_gpu.events.settings import TargetsConfig
from otto_gpu.needs import Need
from otto_gpu.ranking.rankers import OBJECTIVES, RANKERS
from otto_gpu.schema import Name, Section, did_you_mean

OPTUNA = Need("ranking.search", "optuna", "search")
NVFOREST = Need("scoring by nvforest (ranking.scoring)", "nvforest", "cuda13", ("nvforest", "treelite"))
RECALL = "recall"  # the hand-set order of the candidates, as one more group of the blend

Kind = Literal[tuple(RANKERS)]
OWN = {setting: name for name, kind in RANKERS.items() for setting in kind.own}  # settings that one kind alone has


class Group(Section):
    """Rankers that are alike: one model per target and fold. Their scores count as one in the blend."""

    ranker: Kind | None = Field(None, description="the kind of the models; null: ranking.ranker")
    objective: Literal[tuple(OBJECTIVES)] = Field(
        next(iter(OBJECTIVES)),
        description="binary:logistic (xgboost's default) and binary (lightgbm's) take every row for itself and stop early by "
        "AUC. The others compare the rows of a session and stop by the task's metric: MRR@k, or NDCG@k for all others, which "
        "moves more evenly than recall. Of xgboost: rank:pairwise, rank:ndcg, softmax (cross entropy over the session's rows); "
        "of lightgbm: lambdarank, rank_xendcg (a softmax, too)",
    )
    depth: int = Field(4, ge=1, le=20, description="of a tree (xgboost only)")
    leaves: int = Field(31, ge=2, le=10_000, description="of a tree, which grows leaf by leaf (lightgbm only: num_leaves)")
    leaf_rows: int = Field(20, ge=1, description="rows that a leaf must hold (lightgbm only: min_data_in_leaf)")
    bins: int = Field(64, ge=2, le=1024, description="values that a feature is rounded to (max_bin)")
    learning_rate: float = Field(0.1, gt=0, le=1, description="how much a tree adds")
    columns: int | None = Field(
        128, ge=1, description="columns that a model takes: those with the most gain in a first, small model; null: all"
    )
    colsample: float = Field(0.5, gt=0, le=1, description="share of its columns that a tree sees")
    subsample: float = Field(0.8, gt=0, le=1, description="share of the rows that a tree sees")
    min_child_weight: float = Field(
        5.0, ge=0, description="what a leaf must weigh: the sum of second derivatives (softmax, rank_xendcg: below 1 a session)"
    )
    reg_lambda: float = Field(10.0, ge=0, description="how strongly a leaf's value is drawn to zero (L2)")
    rounds: int = Field(400, ge=1, description="trees at most")
    early_stopping: int = Field(30, ge=1, description="rounds without a better figure on the held-out fold")
    seed: int = Field(0, ge=0, description="of the rows and columns that trees see; added to ranking.seed and the fold")
    params: dict[str, str | float | int | bool] = Field({}, description="further parameters, handed to the ranker as they are")

    @property
    def by_session(self) -> bool:
        """Whether the objective compares the rows of a session with each other only."""
        return OBJECTIVES[self.objective]

    def metric(self, targets: TargetsConfig) -> str:
        """The figure on the held-out fold that says how many rounds are best."""
        if not self.by_session:
            return "auc"
        # recall and hit rate jump from hit to hit, and are the same for most rounds
        return f"{'mrr' if targets.metric == 'mrr' else 'ndcg'}@{targets.k}"

    @property
    def foreign(self) -> set[str]:
        """The settings that are another kind's only."""
        return OWN.keys() - RANKERS[self.ranker or next(iter(RANKERS))].own

    @model_serializer(mode="wrap")
    def _own_settings(self, dump):
        return {name: value for name, value in dump(self).items() if name not in self.foreign}

    def of_kind(self, name: str) -> Group:
        """The same with its kind named, `name` where it names none. ValueError for another kind's objective or setting."""
        group = self.model_copy(update={"ranker": self.ranker or name})
        kind = RANKERS[group.ranker]
        if "objective" not in self.model_fields_set:
            group = group.model_copy(update={"objective": next(iter(kind.objectives))})
        if group.objective not in kind.objectives:
            raise ValueError(f"{group.ranker} has no objective {group.objective!r}: it has {', '.join(kind.objectives)}")
        for setting in sorted(group.foreign & self.model_fields_set):
            own = f"; it has {', '.join(kind.own)}" if kind.own else ""
            raise ValueError(f"{group.ranker} has no setting {setting!r}, which is {OWN[setting]}'s{own}")
        return group


Parameter = Literal[
    "depth", "leaves", "leaf_rows", "bins", "learning_rate", "colsample", "subsample", "min_child_weight", "reg_lambda"
]


class Search(Section):
    """Better settings for every target and group, tried out-of-fold (Optuna, TPE); the group's own are the first trial."""

    seconds: float = Field(600.0, gt=0, description="per target and group; a trial that has begun is finished")
    trials: int | None = Field(None, ge=1, description="stop after so many, if the seconds are not over before")
    parameters: tuple[Parameter, ...] = Field(
        ("depth", "leaves", "leaf_rows", "learning_rate", "colsample", "subsample", "min_child_weight", "reg_lambda"),
        min_length=1,
        description="of the group, that are searched; of a group whose kind has no such setting, the others",
    )
    startup: int = Field(8, ge=1, description="trials at random before the sampler draws conclusions")
    seed: int = Field(42, ge=0, description="of the trials")

    def of(self, group: Group) -> list[str]:
        """What is searched of the settings that the group's kind has."""
        return [name for name in self.parameters if name not in group.foreign]


class RankingConfig(Section):
    """The rankers: a model per target, group and fold of the validation period's sessions."""

    ranker: str = Field("xgboost", description=f"the kind of models of groups that name none: {' or '.join(RANKERS)}")
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
        "more is read again, and a fold that alone takes more is trained from disk (by lightgbm from memory, to which its rows "
        "then go through a file). On CUDA what is prepared may take half of "
        "the GPU's free memory instead, and a fold that takes more is trained from the host's memory",
    )
    scoring: Literal["auto", "xgboost", "nvforest", "forest"] = Field(
        "auto",
        description="how trees are scored on CUDA: by XGBoost's prediction, by nvForest or by a kernel of our own (trees up to "
        "depth 8; deeper ones by XGBoost); auto: xgboost. LightGBM's trees are scored by the kernel, deeper ones on the host. "
        "On the CPU the kernel scores shallow trees and their library the others",
    )
    cascade: dict[str, tuple[str, ...]] = Field(
        {}, description="target -> earlier targets, whose out-of-fold scores are columns of its rows"
    )
    search: Search | None = Field(None, description="look for better settings of the groups; null: they stay as they are")

    def metrics(self, targets: TargetsConfig) -> dict[str, str]:
        """{group: the figure that says how many rounds are best}"""
        return {name: group.metric(targets) for name, group in self.groups.items()}

    @property
    def needs(self) -> list[Need]:
        """Of the models of all groups."""
        return list(dict.fromkeys(RANKERS[group.ranker].need for group in self.groups.values()))

    @field_validator("ranker")
    @classmethod
    def _known(cls, ranker):
        if ranker not in RANKERS:
            raise ValueError(f"unknown ranker {ranker!r}; {did_you_mean(ranker, RANKERS)}")
        return ranker

    @field_validator("groups")
    @classmethod
    def _of_their_kinds(cls, groups, info: ValidationInfo):
        if RECALL in groups:
            raise ValueError(f"the group name {RECALL!r} means the hand-set order and cannot be given")
        made = {}
        for name, group in groups.items():
            try:
                made[name] = group.of_kind(info.data.get("ranker", next(iter(RANKERS))))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return made

    @model_validator(mode="after")
    def _something_to_search(self):
        for name, group in self.groups.items():
            if self.search is not None and not self.search.of(group):
                raise ValueError(f"search.parameters: {group.ranker}, the kind of the group {name!r}, has none of these")
        return self

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
