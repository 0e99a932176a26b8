"""Settings of a group by trial: Optuna's TPE sampler proposes, the held-out folds judge, by the mean of the figure that stops
the group's models early.

models/{target}/{group}/search.json holds the trials in their order. It is written after each one, so that a search that was
killed goes on with the next. Every trial is drawn by a sampler of its own seed from what the trials before it found: a search
that was killed and one that was not propose the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from otto_gpu.ranking.settings import OPTUNA, Group, Search
from otto_gpu.run.directory import write_atomically

try:
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
except ImportError as error:
    raise OPTUNA.missing() from error

# where each setting is searched; the first trial, the group's own settings, may lie outside
RANGES = {
    "depth": IntDistribution(2, 8),
    "leaves": IntDistribution(4, 127, log=True),
    "leaf_rows": IntDistribution(5, 500, log=True),
    "bins": CategoricalDistribution((16, 32, 64, 128, 256)),
    "learning_rate": FloatDistribution(0.03, 0.3, log=True),
    "colsample": FloatDistribution(0.05, 1.0, log=True),
    "subsample": FloatDistribution(0.4, 1.0),
    "min_child_weight": FloatDistribution(1.0, 100.0, log=True),
    "reg_lambda": FloatDistribution(0.1, 100.0, log=True),
}


def best_settings(path: Path, search: Search, group: Group, judge: Callable[[Group], list[float]]) -> tuple[Group, dict]:
    """(the group with the settings that did best, the search's record: {"trials": [{"params", "score", "folds", "seconds"}],
    "best": place of the best trial}).

    judge: the figure per held-out fold of a group's settings. path: the record, taken up where it exists.
    """
    record = json.loads(path.read_text()) if path.exists() else {"trials": [], "best": None}
    trials = record["trials"]
    while not trials or not _over(search, trials):
        params = _proposed(search, group, trials)
        began = time.monotonic()
        folds = judge(group.model_copy(update=params))
        score = sum(folds) / len(folds)
        trials.append({"params": params, "score": score, "folds": folds, "seconds": round(time.monotonic() - began, 3)})
        record["best"] = max(range(len(trials)), key=lambda i: trials[i]["score"])
        write_atomically(path, lambda p: p.write_text(json.dumps(record, indent=1)))
    return group.model_copy(update=trials[record["best"]]["params"]), record


def _over(search: Search, trials: list[dict]) -> bool:
    return sum(t["seconds"] for t in trials) >= search.seconds or (search.trials is not None and len(trials) >= search.trials)


def _proposed(search: Search, group: Group, trials: list[dict]) -> dict:
    """The next trial's settings; of the first trial those that the group has."""
    if not trials:
        return {name: getattr(group, name) for name in search.of(group)}
    ranges = {name: RANGES[name] for name in search.of(group)}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=search.startup, seed=search.seed + len(trials))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in trials:
        with suppress(ValueError):  # outside the ranges, as the group's own settings may be
            study.add_trial(optuna.trial.create_trial(params=trial["params"], distributions=ranges, value=trial["score"]))
    return study.ask(ranges).params
