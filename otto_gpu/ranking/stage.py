"""The stages `rankers` (models per target, group and fold), `predictions` (scores of every candidate) and `blend`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.candidates.coverage import label_rows
from otto_gpu.candidates.fuse import UNRANKED, Candidates
from otto_gpu.candidates.recipes import CandidatesConfig
from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.columns import AID, SESSION, label, sampled
from otto_gpu.device import Device
from otto_gpu.errors import UserError
from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import SPLITS
from otto_gpu.features.compute import FeatureMaker
from otto_gpu.features.stage import SPLIT, blocks
from otto_gpu.progress import Reporter
from otto_gpu.ranking.blend import best_lists, blended, grid, reciprocal_places
from otto_gpu.ranking.folds import fold_of
from otto_gpu.ranking.settings import RECALL, BlendConfig, Group, RankingConfig
from otto_gpu.run import write_atomically
from otto_gpu.schema import nearest

KEEP_IN_MEMORY = 2 << 30  # bytes of training rows of one target that are read once and kept


def load_ranker(name: str):
    """The registry of rankers: a module with train, load, predict and importance."""
    if name != "xgboost":
        raise UserError(f"ranking.ranker: unknown ranker {name!r}; {nearest(name, ['xgboost'])}")
    from otto_gpu.ranking import xgb

    return xgb


class Samples:
    """The training rows of one target, part by part: (features float32 [m, n], label float32 [m], session int32 [m])."""

    def __init__(self, files: list[Path], target: str, names: tuple[str, ...]):
        self._files, self._target, self._names = files, target, names
        self._kept: list | None = None
        rows = [pq.read_table(f, columns=[sampled(target), label(target)]) for f in files]
        self.positives = sum(int(t[label(target)].to_numpy().sum()) for t in rows)
        self.rows = sum(int(t[sampled(target)].to_numpy().sum()) for t in rows)
        if self.rows * len(names) * 4 <= KEEP_IN_MEMORY:
            self._kept = list(self._read())

    def _read(self) -> Iterator[tuple]:
        for file in self._files:
            table = pq.read_table(file, filters=[(sampled(self._target), "==", 1)])
            features = np.empty((len(table), len(self._names)), np.float32)
            for i, name in enumerate(self._names):
                features[:, i] = table[name].to_numpy()
            yield features, table[label(self._target)].to_numpy().astype(np.float32), table[SESSION].to_numpy()

    def batches(self, keep) -> Iterator[tuple]:
        """keep: function session int32 [m] -> bool [m]. Empty batches are left out."""
        for features, positive, session in self._kept if self._kept is not None else self._read():
            mask = keep(session)
            if mask.any():
                yield features[mask], positive[mask], session[mask]


def train(
    folder: Path, run_dir: Path, config: RankingConfig, targets: TargetsConfig, device: Device, threads: int, reporter: Reporter
) -> dict:
    ranker = load_ranker(config.ranker)
    files = sorted((run_dir / "features" / SPLIT).glob("part-*.parquet"))
    catalogue = json.loads((run_dir / "features/catalogue.json").read_text())
    names = tuple(c["name"] for c in catalogue)
    facts, models = {}, 0
    with reporter.work("rankers", "models", len(targets.names) * len(config.groups) * config.folds) as work:
        for target in targets.names:
            samples = Samples(files, target, names)
            if samples.positives < config.min_positives:
                reporter.say(f"  {target}: {samples.positives} positives, too few to train on: the hand-set order stays")
                work.advance(len(config.groups) * config.folds)
                continue
            for name, group in config.groups.items():
                place = folder / "models" / target / name
                place.mkdir(parents=True, exist_ok=True)
                aucs = []
                for fold in range(config.folds):
                    aucs.append(_train_fold(place, fold, ranker, group, samples, names, config, device, threads))
                    models += 1
                    work.advance()
                aucs = [a for a in aucs if a is not None]
                told = f"eval-auc {np.mean(aucs):.4f} (mean of {len(aucs)} folds)" if aucs else "no model"
                reporter.say(f"  {target}, {name}: {samples.rows:,} rows, {samples.positives:,} positives, {told}")
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models/features.json").write_text(json.dumps(names))
    return {**facts, "models": models}


def _train_fold(
    place: Path, fold: int, ranker, group: Group, samples: Samples, names, config: RankingConfig, device: Device, threads: int
):
    """One model with its log and importance; returns its best AUC, None if the fold cannot be trained."""
    path = place / f"fold-{fold}.ubj"
    log_path = place / f"fold-{fold}.json"
    if not log_path.exists():  # written last: model and log are there together

        def of_fold(inside: bool):
            return lambda session: (fold_of(session, config.folds, config.seed) == fold) == inside

        kinds = [
            {float(v) for _, positive, _ in samples.batches(of_fold(inside)) for v in np.unique(positive)}
            for inside in (False, True)
        ]
        if not all(k == {0.0, 1.0} for k in kinds):
            return None  # one side lacks positives or negatives: neither a model nor an AUC has a meaning
        model, log = ranker.train(
            group, lambda: samples.batches(of_fold(False)), lambda: samples.batches(of_fold(True)), names, device.kind, threads,
            config.seed + fold,
        )  # fmt: skip
        write_atomically(path, lambda p: p.write_bytes(bytes(model.save_raw("ubj"))))
        log["importance"] = ranker.importance(model, names)
        write_atomically(log_path, lambda p: p.write_text(json.dumps(log)))
    log = json.loads(log_path.read_text())
    return max(log["eval"]["auc"])


def load_models(
    run_dir: Path, config: RankingConfig, target: str, device: Device, threads: int
) -> dict[str, dict[int, object]]:
    """{group: {fold: model}} of a target; empty where it has none."""
    ranker = load_ranker(config.ranker)
    result = {}
    for group in config.groups:
        files = {k: run_dir / "models" / target / group / f"fold-{k}.ubj" for k in range(config.folds)}
        models = {k: ranker.load(f, device.kind, threads) for k, f in files.items() if f.is_file()}
        if models:
            result[group] = models
    return result


def predict(
    folder: Path, run_dir: Path, config: RankingConfig, candidates_config: CandidatesConfig, chunk_rows: int,
    targets: TargetsConfig, make_features, device: Device, threads: int, reporter: Reporter,
) -> dict:  # fmt: skip
    """predictions/{split}/{target}/part-*.parquet: session, aid and one float32 score per group.

    make_features(split) -> FeatureMaker.
    """
    ranker = load_ranker(config.ranker)
    models = {t: load_models(run_dir, config, t, device, threads) for t in targets.names}
    rows = 0
    for split in SPLITS:
        files = parts(run_dir, split)
        maker: FeatureMaker | None = None
        for target in targets.names:
            (folder / "predictions" / split / target).mkdir(parents=True, exist_ok=True)
        with reporter.work(f"scoring, {split}", "candidates", sum(pq.read_metadata(f).num_rows for f in files)) as work:
            for file in files:
                paths = {t: folder / "predictions" / split / t / file.name for t in targets.names}
                candidates, _ = load_part(file, candidates_config.sources, ())
                if not all(p.exists() for p in paths.values()):
                    if maker is None and any(models.values()):
                        maker = make_features(split)
                    scores = {t: np.empty((len(candidates), len(g) + 1), np.float32) for t, g in models.items()}
                    for first, last in blocks(candidates, chunk_rows):
                        block = candidates.rows(first, last)
                        part = slice(candidates.pointer[first], candidates.pointer[last])
                        features = maker.make(block) if maker is not None else None
                        fold = fold_of(block.session, config.folds, config.seed) if split == SPLIT else None
                        for target, groups in models.items():
                            for g, of_fold in enumerate(groups.values()):
                                scores[target][part, g] = _score(ranker, of_fold, features, fold)
                            scores[target][part, -1] = hand_set_score(block, candidates_config.order_of(target))
                        work.advance(len(block))
                    for target, path in paths.items():
                        _save_scores(path, candidates, scores[target], [*models[target], RECALL])
                else:
                    work.advance(len(candidates))
                rows += len(candidates)
    return {"candidates": rows}


def _score(ranker, models: dict[int, object], features: np.ndarray, fold: np.ndarray | None) -> np.ndarray:
    """Out-of-fold where the rows' folds are given (the mean of the others where a fold has no model), else the mean."""
    if fold is None:
        return np.mean([ranker.predict(m, features) for m in models.values()], axis=0, dtype=np.float64)
    out = np.empty(len(features), np.float32)
    for k in np.unique(fold):
        mine = fold == k
        # the model of fold k has not seen fold k; without it no other model may speak, all have seen these sessions
        out[mine] = ranker.predict(models[k], features[mine]) if k in models else 0.0
    return out


def hand_set_score(candidates: Candidates, source: str) -> np.ndarray:
    """float32 [m]: orders like the source's ranks; who is not ranked stands behind, in the order of mention."""
    rank = candidates.ranks[:, candidates.sources.index(source)].astype(np.float32)
    place = np.arange(len(candidates)) - np.repeat(candidates.pointer[:-1], np.diff(candidates.pointer))
    return -np.where(rank == UNRANKED, np.float32(np.iinfo(np.int16).max) + place, rank).astype(np.float32)


def _save_scores(path: Path, candidates: Candidates, scores: np.ndarray, groups: list[str]) -> None:
    columns = {SESSION: candidates.session, AID: candidates.aid}
    columns |= {g: np.ascontiguousarray(scores[:, i]) for i, g in enumerate(groups)}
    write_atomically(path, lambda p: pq.write_table(pa.table(columns), p, compression="zstd"))


class Scores:
    """A part of predictions/{split}/{target}: sessions int32 [S], pointer int64 [S + 1], aid int32 [m], scores [m, groups]."""

    def __init__(self, path: Path):
        table = pq.read_table(path)
        session = table[SESSION].to_numpy()
        first = np.flatnonzero(np.diff(session, prepend=-1))
        self.session = session
        self.sessions = session[first]
        self.pointer = np.append(first, len(session)).astype(np.int64)
        self.aid = np.array(table[AID])
        self.groups = tuple(table.column_names[2:])
        self.scores = np.stack([table[g].to_numpy() for g in self.groups], axis=1)


def score_parts(run_dir: Path, split: str, target: str) -> Iterator[Scores]:
    for path in sorted((run_dir / "predictions" / split / target).glob("part-*.parquet")):
        yield Scores(path)


def blend(folder: Path, run_dir: Path, config: BlendConfig, targets: TargetsConfig, n_items: int, reporter: Reporter) -> dict:
    """blend.json: {target: {"groups", "weights", "tried": [{"weights", "recall"}]}}, by recall@k on the out-of-fold scores."""
    labels = Labels.load(run_dir / "labels" / f"{SPLIT}.parquet")
    result = {}
    for target in targets.names:
        code = targets.code(target)
        session, _ = labels.of_type(code)
        truth = np.minimum(np.unique(session, return_counts=True)[1], targets.k).sum()
        groups, hits = (RECALL,), None
        for part in score_parts(run_dir, SPLIT, target):
            groups = part.groups
            choices = grid(len(groups), config.steps)
            hits = np.zeros(len(choices), np.int64) if hits is None else hits
            hits += _hits_of_choices(part, labels, code, n_items, choices, targets.k, config.damping)
        choices = grid(len(groups), config.steps)
        recalls = [
            None if not truth or hits is None else round(float(h / truth), 6) for h in (hits if hits is not None else choices)
        ]
        best = (
            int(np.argmax(hits)) if hits is not None and truth else len(choices) - 1
        )  # the last one: the hand-set order alone
        tried = [{"weights": list(w), f"recall@{targets.k}": r} for w, r in zip(choices, recalls, strict=True)]
        result[target] = {"groups": list(groups), "weights": list(choices[best]), "tried": tried}
        weights = ", ".join(f"{g} {w:g}" for g, w in zip(groups, choices[best], strict=True))
        reporter.say(
            f"  {target}: {weights}"
            + (f"; out-of-fold recall@{targets.k} {recalls[best]:.4f}" if recalls[best] is not None else "")
        )
    (folder / "blend.json").write_text(json.dumps(result, indent=1))
    return {}


def _hits_of_choices(part: Scores, labels: Labels, code: int, n_items: int, choices, k: int, damping: float) -> np.ndarray:
    """int64 [choices]: how much ground truth each combination of weights has among its k best."""
    candidates = Candidates(part.sessions, part.pointer, part.aid, part.scores, np.empty((0, 0)), ())
    positive = label_rows(candidates, labels, code, n_items)
    places = reciprocal_places(part.pointer, part.scores, damping)
    rows = np.arange(len(part.aid), dtype=np.int32)
    hits = np.zeros(len(choices), np.int64)
    for c, weights in enumerate(choices):
        best = best_lists(part.pointer, rows, blended(places, weights), k)
        hits[c] = positive[best[best >= 0]].sum()
    return hits


def ranked_lists(
    run_dir: Path, split: str, target: str, weights: dict[str, float], k: int, damping: float
) -> tuple[np.ndarray, np.ndarray]:
    """(sessions int32 [S], lists int32 [S, k] padded with -1): a target's final lists under the blend's weights."""
    sessions, lists = [np.empty(0, np.int32)], [np.empty((0, k), np.int32)]
    for part in score_parts(run_dir, split, target):
        places = reciprocal_places(part.pointer, part.scores, damping)
        score = blended(places, [weights.get(g, 0.0) for g in part.groups])
        sessions.append(part.sessions)
        lists.append(best_lists(part.pointer, part.aid, score, k))
    return np.concatenate(sessions), np.concatenate(lists)
