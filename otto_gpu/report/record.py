"""What a finished run wrote about itself, read back: figures, settings, costs, models' logs. No part of the data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from pydantic import ValidationError

from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.columns import TS
from otto_gpu.errors import UserError
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import SPLITS
from otto_gpu.outcome.scores import METRICS, PREVIOUS, SCORES, SessionScores, load_metrics
from otto_gpu.ranking.models import NAMES
from otto_gpu.ranking.settings import BlendConfig, RankingConfig
from otto_gpu.schema import as_user_error


@dataclass(frozen=True)
class Fold:
    """A model: fold, log (per round what its library reported), the best round from 0 and the metric that found it."""

    fold: int
    log: dict[str, dict[str, list[float]]]
    best_round: int
    best_score: float
    importance: dict[str, float]


class Record:
    """A run directory whose submission is done. Raises UserError where it is not."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        if not run_dir.is_dir():
            raise UserError(f"{run_dir}: no such run directory")
        found = load_metrics(run_dir)
        if found is None or not all(split in found for split in SPLITS):
            raise UserError(
                f"{run_dir}: there is no whole {METRICS}: finish the run first (python -m otto_gpu.pipeline --run-dir "
                f"{run_dir} ...)"
            )
        self.metrics = found

    @cached_property
    def config(self) -> dict:
        """The resolved configuration under which the figures were made."""
        if "config" in self.metrics:
            return self.metrics["config"]
        path = self.run_dir / "config.yaml"
        try:
            return yaml.safe_load(path.read_text("utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None

    def _section(self, kind, name: str):
        try:
            return kind.model_validate(self.config[name])
        except ValidationError as error:
            raise as_user_error(error, kind, f"{self.run_dir}: section {name} of the configuration") from None
        except (KeyError, TypeError):
            raise UserError(f"{self.run_dir}: its configuration has no section {name}") from None

    @cached_property
    def targets(self) -> TargetsConfig:
        return self._section(TargetsConfig, "targets")

    @cached_property
    def candidates(self) -> CandidatesConfig:
        return self._section(CandidatesConfig, "candidates")

    @cached_property
    def ranking(self) -> RankingConfig:
        return self._section(RankingConfig, "ranking")

    @cached_property
    def blend(self) -> BlendConfig:
        return self._section(BlendConfig, "blend")

    @property
    def split(self) -> dict:
        """The settings of the split, those among them that split: auto chose."""
        return self.config["split"] | self.metrics["events"].get("split", {}).get("split", {})

    @property
    def name(self) -> str:
        return str(self.config.get("name") or self.run_dir.name)

    @property
    def metric_name(self) -> str:
        return self.targets.metric_name

    def answers(self, figures: dict) -> dict[str, int]:
        """{target: of how many answers its figure is}: for recall those that lists can hold, for means sessions."""
        return figures["labels"] if self.targets.metric == "recall" else figures["sessions_of"]

    def recall(self, figures: dict) -> dict[str, float | None]:
        """{target: recall}, whatever the run's metric is."""
        name = self.targets.figure("recall")
        return figures[name] if name in figures else figures["beside"][name]

    @property
    def keys(self) -> list[str]:
        """What has a score."""
        return [*self.targets.names, "weighted"]

    @property
    def shown_split(self) -> str:
        """The period whose figures stand for the run: test where it has ground truth."""
        return "test" if self.figures("test") is not None else "validation"

    @property
    def periods(self) -> dict[str, str]:
        """{split: what it is called}, the one that stands for the run first."""
        called = {"test": "test period", "validation": "validation period, out of fold"}
        return {self.shown_split: called[self.shown_split]} | called

    def figures(self, split: str) -> dict | None:
        """The score of a period; None where it has no ground truth."""
        figures = self.metrics[split]
        return None if figures.get("labels") is None else figures

    def coverage(self, split: str) -> dict[str, dict]:
        return self.metrics[split]["coverage"]

    @cached_property
    def curves(self) -> dict | None:
        """{"depths": [...], split: {source: {target: coverage at each depth}}}"""
        return _json(self.run_dir / "candidates/coverage_curves.json")

    @cached_property
    def hits(self) -> SessionScores | None:
        return SessionScores.load(self.run_dir / SCORES)

    @cached_property
    def previous(self) -> tuple[dict, SessionScores | None] | None:
        """(metrics, hits) of the results before these; None where there were none."""
        before = load_metrics(self.run_dir / PREVIOUS)
        return None if before is None else (before, SessionScores.load(self.run_dir / PREVIOUS / SCORES))

    @cached_property
    def stages(self) -> dict[str, dict]:
        """{stage: {"seconds", "peak_memory_mb"}}, those that ran before the page is made."""
        costs = dict(self.metrics["stages"])
        last = _json(self.run_dir / "manifests/submission.json")
        if last:
            costs["submission"] = {key: last[key] for key in ("seconds", "peak_memory_mb")}
        return costs

    @property
    def finished(self) -> datetime:
        """When the figures were written."""
        return datetime.fromtimestamp((self.run_dir / METRICS).stat().st_mtime, UTC)

    @cached_property
    def catalogue(self) -> dict[str, dict]:
        """{feature: {"family", "meaning", ...}}"""
        return {column["name"]: column for column in _json(self.run_dir / "features/catalogue.json") or []}

    @cached_property
    def folders(self) -> dict[str, str]:
        """{target that has models: their folder below models/}"""
        return {target: facts["folder"] for target, facts in (_json(self.run_dir / "models" / NAMES) or {}).items()}

    @cached_property
    def models(self) -> dict[str, dict[str, list[Fold]]]:
        """{folder: {group: its models by fold}}; targets without enough positives may share a folder."""
        return {f: self._groups(f) for f in dict.fromkeys(self.folders.values())}

    def _groups(self, folder: str) -> dict[str, list[Fold]]:
        groups = {}
        for group in self.ranking.groups:
            logs = {k: _json(self.run_dir / "models" / folder / group / f"fold-{k}.json") for k in range(self.ranking.folds)}
            made = [
                Fold(k, {s: log.get(s, {}) for s in ("train", "eval")}, log["best_round"], log["best_score"], log["importance"])
                for k, log in logs.items()
                if log
            ]
            if made:
                groups[group] = made
        return groups

    @cached_property
    def search(self) -> dict[tuple[str, str], dict]:
        """{(folder, group): the record of its search}"""
        found = {(f, g): _json(self.run_dir / "models" / f / g / "search.json") for f, gs in self.models.items() for g in gs}
        return {key: record for key, record in found.items() if record}

    @property
    def fusion_learnt(self) -> bool:
        """Whether the fusion is models, and not a formula."""
        return any((self.run_dir / "candidates/fusion").glob("*"))

    @cached_property
    def sizes(self) -> dict[str, int]:
        """{"sessions", "items"}: of the whole log."""
        found = {name: _rows(self.run_dir / "events" / f"{name}.parquet") for name in ("sessions", "items")}
        # beginnings of sessions have ids of their own behind those of the log
        periods = self.metrics["events"]["periods"].values()
        found["sessions"] -= sum(period["sessions"] for period in periods if period.get("prefixes"))
        return found

    @cached_property
    def spans(self) -> dict[str, dict[str, tuple[datetime, datetime] | None]]:
        """{split: {"train", "history": first and last event}}, UTC; None where there are no events or no clock."""
        return {s: {n: _span(self.run_dir / "events" / s / f"{n}.parquet") for n in ("train", "history")} for s in SPLITS}


def _json(path: Path):
    """None where there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; run the pipeline again") from None


def _rows(path: Path) -> int:
    return pq.read_metadata(path).num_rows if path.is_file() else 0


def _span(path: Path) -> tuple[datetime, datetime] | None:
    """By the statistics that Parquet keeps: no event is read."""
    if not path.is_file():
        return None
    file = pq.read_metadata(path)
    column = file.schema.names.index(TS)
    groups = [file.row_group(i).column(column).statistics for i in range(file.num_row_groups)]
    known = [s for s in groups if s is not None and s.has_min_max]
    if not known:
        return None
    first, last = min(s.min for s in known), max(s.max for s in known)
    day_one = 86_400_000 * 365  # times that count from the log's own beginning are no dates
    if first < day_one:
        return None
    return datetime.fromtimestamp(first / 1000, UTC), datetime.fromtimestamp(last / 1000, UTC)
