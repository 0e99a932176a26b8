"""Learned fusion: a small model over what all sources say about a candidate chooses the best ones of every session.

Recipes add up weights that were set by hand, each for itself; gradient-boosted trees weigh the ranks and scores of all
sources against each other, and against how much the item is wanted at the time. There is one model per fold of the sessions:
in the validation period a session is judged by the model that has not seen it, in the test period by the mean of all, so
that the rankers, which learn from the one period, meet the same in the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numba
import numpy as np
from numba import njit, prange

from otto_gpu.candidates.fuse import UNRANKED, Candidates, ranks_in_session
from otto_gpu.candidates.settings import FUSION, XGBOOST, Fusion
from otto_gpu.columns import recall_rank, recall_score
from otto_gpu.device import CPU
from otto_gpu.device.arrays import arrays_of, order_by, pointers, to_host
from otto_gpu.device.bisect import first_after
from otto_gpu.device.boosters import check_device
from otto_gpu.device.hashing import FOLDS, uniform
from otto_gpu.device.kernel import Kernel
from otto_gpu.run.directory import write_atomically

if TYPE_CHECKING:
    from otto_gpu.device import Device
    from otto_gpu.events.log import EventLog

UNNAMED = 1000  # the rank that stands for none: every source names fewer
DAMPING = 60  # of reciprocal ranks (Cormack et al. 2009)
WINDOWS = {"hour": 3_600_000, "day": 86_400_000}  # milliseconds
MINUTE_MS = 60_000


class CandidateFeatures:
    """What the model knows about candidates: `of(candidates)` float32 [m, n], `names(sources)` their n names.

    How much the item is wanted: its share of all known events and of those of the log's last day (the test period knows a
    longer log: shares are the same in both); its events in the hour and the day before the session's last event; minutes
    since its first and its newest event until then (-1: none). Worked out, and left, on the device.
    """

    def __init__(self, known: EventLog, history: EventLog, device: Device = CPU):
        self._device = device
        there = known.on(device)
        self._times = there.ts[order_by(there.aid, there.ts)]
        counts = np.bincount(there.aid, minlength=known.n_items)
        self._pointer = pointers(counts)
        latest = there.aid[there.ts >= known.span[1] - WINDOWS["day"]]
        latest = np.bincount(latest, minlength=known.n_items)
        self._shares = np.column_stack([c / max(int(c.sum()), 1) for c in (counts, latest)]).astype(np.float32)
        self._history = history

    def for_sessions(self, history: EventLog) -> CandidateFeatures:
        """The same, asked about the sessions of another log."""
        other = copy(self)
        other._history = history
        return other

    @staticmethod
    def names(sources) -> list[str]:
        wanted = ["share_known", "share_last_day", *(f"events_{w}" for w in WINDOWS), "age_minutes", "quiet_minutes"]
        return [*map(recall_rank, sources), *map(recall_score, sources), "sources", "reciprocal_ranks", *wanted]

    def of(self, candidates: Candidates) -> np.ndarray:
        now = self._history.ts[self._history.starts[candidates.sessions + 1] - 1]
        candidates, now = self._device.to_device((candidates, now))
        xp, n = self._device.arrays(), len(candidates.sources)
        out = xp.empty((len(candidates), len(self.names(candidates.sources))), np.float32)
        there = candidates.ranks >= 0
        out[:, :n] = np.where(there, candidates.ranks, UNNAMED)
        out[:, n : 2 * n] = candidates.scores
        out[:, 2 * n] = there.sum(axis=1)
        out[:, 2 * n + 1] = reciprocal_ranks(candidates)
        out[:, 2 * n + 2 : 2 * n + 4] = self._shares[candidates.aid]
        windows = np.array(list(WINDOWS.values()))
        _demand(candidates.pointer, candidates.aid, now, self._pointer, self._times, windows, out[:, 2 * n + 4 :])
        return out


@njit(cache=True)
def session_demand(s, first, last, candidates, now, pointer, times, windows, out):
    """The body for one session's candidates first..last-1 (CPU and CUDA)."""
    for r in range(first, last):
        begin = pointer[candidates[r]]
        end = first_after(times, begin, pointer[candidates[r] + 1], now[s])
        for w in range(len(windows)):
            out[r, w] = end - first_after(times, begin, end, now[s] - windows[w])
        out[r, len(windows)] = (now[s] - times[begin]) / MINUTE_MS if end > begin else -1
        out[r, len(windows) + 1] = (now[s] - times[end - 1]) / MINUTE_MS if end > begin else -1


@njit(parallel=True, cache=True)
def _every_session(rows, candidates, now, pointer, times, windows, out):
    for s in prange(len(rows) - 1):
        session_demand(np.int64(s), rows[s], rows[s + 1], candidates, now, pointer, times, windows, out)


_demand = Kernel(_every_session, session_demand)


def fusion_scores(
    candidates: Candidates, models: Models | None, inputs: CandidateFeatures, sessions: np.ndarray | None = None
) -> np.ndarray:
    """float32 [m], by which the best are chosen: the models' scores or, where too few sessions were there to learn from,
    reciprocal ranks. sessions: as that of Models.score."""
    return reciprocal_ranks(candidates) if models is None else models.score(inputs.of(candidates), sessions)


def reciprocal_ranks(candidates: Candidates) -> np.ndarray:
    """float32 [m]: the sum of 1/(DAMPING + 1 + rank) over the sources that name a candidate."""
    ranks = candidates.ranks.astype(np.float32)
    return np.where(ranks >= 0, 1 / (DAMPING + 1 + ranks), 0).sum(axis=1, dtype=np.float32)


def folds_and_draws(sessions: np.ndarray, config: Fusion) -> tuple[np.ndarray, np.ndarray]:
    """(fold int64, a number in [0, 1) that is independent of it) of every session; the fold is that of the rankers."""
    drawn = uniform(config.seed, np.full(len(sessions), FOLDS), sessions) * config.folds
    fold = drawn.astype(np.int64)
    return fold, drawn - fold


class Models:
    """One model per fold. score(inputs, sessions): sessions int32 [m] of the validation period, None in the test period."""

    def __init__(self, boosters: list, config: Fusion):
        self._boosters, self._config = boosters, config

    def score(self, inputs: np.ndarray, sessions: np.ndarray | None) -> np.ndarray:
        """float32 [m]: margins, out-of-fold where the sessions are given, else the mean of all folds."""
        if sessions is None:
            return np.mean([_margins(b, inputs) for b in self._boosters], axis=0, dtype=np.float64).astype(np.float32)
        fold, _ = folds_and_draws(sessions, self._config)
        out = np.empty(len(inputs), np.float32)
        for k in np.unique(fold):
            out[fold == k] = _margins(self._boosters[k], inputs[arrays_of(inputs).asarray(fold == k)])
        return out


def _margins(booster, inputs: np.ndarray) -> np.ndarray:
    return to_host(booster.inplace_predict(inputs, predict_type="margin", validate_features=False))


def _with_a_positive(candidates: Candidates, positive: np.ndarray) -> np.ndarray:
    """bool [S]"""
    found = np.concatenate([[0], np.cumsum(positive)])[candidates.pointer]
    return np.diff(found) > 0


Parts = Iterable[tuple[Candidates, dict[str, np.ndarray]]]  # (candidates, {target: bool [m], which are ground truth})


def training_size(parts: Parts) -> tuple[int, int]:
    """(sessions with ground truth among their candidates, candidates of all sessions)."""
    sessions, rows = 0, 0
    for candidates, labels in parts:
        sessions += int(_with_ground_truth(candidates, labels).sum())
        rows += len(candidates)
    return sessions, rows


def _with_ground_truth(candidates: Candidates, labels: dict[str, np.ndarray]) -> np.ndarray:
    """bool [S]"""
    hits = sum(labels.values(), np.zeros(len(candidates), np.int64))
    return np.diff(np.concatenate([[0], np.cumsum(hits)])[candidates.pointer]) > 0


def train(
    place: Path,
    parts: Parts,
    rows: int,
    weights: dict[str, float],
    inputs: CandidateFeatures,
    sources,
    config: Fusion,
    device: Device,
) -> Models:
    """The models of all folds, kept in the folder `place` as fold-{k}.ubj; if all are there, none is trained.

    They learn which candidates are ground truth of any target, from the sessions that have such ones. rows: candidates of
    all parts; weights: {target: how much its ground truth counts}. The same bits for any parts and any number of threads,
    and a session's labels have no part in the model of its fold. MissingExtra where XGBoost is not installed.
    """
    xgboost = load_xgboost()
    paths = [place / f"fold-{k}.ubj" for k in range(config.folds)]
    if not all(p.exists() for p in paths):
        place.mkdir(parents=True, exist_ok=True)
        table = _training_rows(parts, config.max_rows / max(rows, 1), weights, inputs, config)
        names = CandidateFeatures.names(sources)
        # a model's bits hang on its number of threads: every one gets a single thread, and they share the machine
        workers = 1 if device.kind == "cuda" else min(numba.get_num_threads(), config.folds)
        with ThreadPoolExecutor(workers) as pool:
            made = pool.map(lambda k: _train_fold(xgboost, k, *table, names, config, device), range(config.folds))
            for path, model in zip(paths, made, strict=True):
                write_atomically(path, lambda p, model=model: p.write_bytes(model))
    return load_models(place, config, device)


def load_models(place: Path, config: Fusion, device: Device) -> Models | None:
    """The models that train() left in the folder; None where it left none."""
    if not place.is_dir():
        return None
    xgboost = load_xgboost()
    boosters = []
    for k in range(config.folds):
        boosters.append(xgboost.Booster())
        boosters[-1].load_model(place / f"fold-{k}.ubj")
        boosters[-1].set_param({"device": device.kind, "nthread": numba.get_num_threads()})
    return Models(boosters, config)


def _training_rows(parts: Parts, share: float, weights: dict[str, float], inputs: CandidateFeatures, config: Fusion):
    """(inputs float32 [m, n], gain float64 [m]: the weights of the targets whose ground truth it is, fold int64 [m])."""
    gathered = []
    for candidates, labels in parts:
        fold, drawn = folds_and_draws(candidates.sessions, config)
        sizes = np.diff(candidates.pointer)
        chosen = np.repeat(_with_ground_truth(candidates, labels) & (drawn < share), sizes)
        gain = sum((weights[t] * mask for t, mask in labels.items()), np.zeros(len(candidates)))
        gathered.append((to_host(inputs.of(candidates.where(chosen))), gain[chosen], np.repeat(fold, sizes)[chosen]))
    return tuple(np.concatenate(column) for column in zip(*gathered, strict=True))


def _train_fold(xgboost, k: int, inputs, gain, fold, names: list[str], config: Fusion, device: Device) -> bytearray:
    mine = fold != k
    inputs, gain = device.to_device(inputs[mine]), gain[mine]
    positive = gain > 0
    weight = np.where(positive, gain / np.mean(gain[positive]), 1.0)  # as many positives as there are, whatever their gains
    data = xgboost.QuantileDMatrix(inputs, label=positive, weight=weight, feature_names=names, max_bin=64, nthread=1)
    params = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "device": device.kind,
        "nthread": 1,
        "max_depth": config.depth,
        "learning_rate": config.learning_rate,
        "min_child_weight": 5,
        "reg_lambda": 10,
        "subsample": 0.8,
        "colsample_bytree": 0.7,
        "max_bin": 64,
        "seed": config.seed + k,
    }
    model = xgboost.train(params, data, config.rounds)
    check_device(model, device.kind)
    return model.save_raw("ubj")


def mark_best(candidates: Candidates, score: np.ndarray, keep: int) -> Candidates:
    """The same candidates with the source `fusion`, which names the best `keep` of each session; ties: mentioned first."""
    rank = ranks_in_session(candidates.pointer, score)
    named = rank < keep
    return candidates.with_source(FUSION, np.where(named, score, 0), np.where(named, rank, UNRANKED).astype(np.int16))


def is_marked(candidates: Candidates) -> np.ndarray:
    """bool [m]: which of mark_best()'s candidates the fusion names."""
    return candidates.ranks[:, -1] != UNRANKED


def with_fusion_of(candidates: Candidates, chosen: Candidates) -> Candidates:
    """choose() again, from what it kept: candidates of the same sessions, all of `chosen` among them, in the same order."""
    one, other = ((c.session.astype(np.int64) << 32) | c.aid for c in (candidates, chosen))
    scores, ranks = np.zeros(len(candidates), np.float32), np.full(len(candidates), UNRANKED, np.int16)
    mask = np.isin(one, other)
    scores[mask], ranks[mask] = chosen.scores[:, -1], chosen.ranks[:, -1]
    return candidates.with_source(FUSION, scores, ranks)


def load_xgboost():
    try:
        import xgboost
    except ImportError:
        raise XGBOOST.missing() from None
    return xgboost
