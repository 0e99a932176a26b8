"""Recall@k as the OTTO competition defines it, with confidence intervals, and the CLI for official files:

python -m otto_gpu.evaluate --test-labels test_labels.jsonl --predictions submission.csv

The recall of a type is the number of its labels among the first k entries of the lists, over the number that could be
there: sum over sessions of |first k and truth| / sum over sessions of min(|truth|, k). The score is the weighted sum of
the recalls. (otto-de/recsys-dataset, src/evaluate.py.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from pydantic import ValidationError

from otto_gpu.command import Parser, run_command
from otto_gpu.errors import UserError
from otto_gpu.events.labels import Labels
from otto_gpu.events.official import read_labels, read_predictions
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.schema import explain

DRAWN_AT_ONCE = 4_000_000  # numbers per batch of bootstrap draws: 32 MB


def count_hits(
    labels: Labels, lists: Mapping[str, np.ndarray], sessions: np.ndarray, targets: TargetsConfig
) -> tuple[np.ndarray, np.ndarray]:
    """(hits, truth), both int32 [S, T] for the S sessions with labels (ascending) and the T targets.

    lists: per target int32 [n, k or more or fewer], best first, below 0 where there is nothing; sessions: int32 [n],
    whose row is whose, in any order. Only the first targets.k entries count; an item that stands there twice hits
    once; a session without a row has no hits. truth is min(number of labels, k).
    """
    scored = np.unique(labels.session)
    hits = np.zeros((len(scored), len(targets.names)), np.int32)
    truth = np.zeros_like(hits)
    order = np.argsort(sessions, kind="stable")
    ordered = np.append(np.asarray(sessions)[order], -1)  # the last one is nobody's, for labels beyond all lists
    for t, name in enumerate(targets.names):
        session, aid = labels.of_type(targets.code(name))
        slot = np.searchsorted(ordered[:-1], session)
        listed = ordered[slot] == session
        row = order[slot[listed]]
        found = np.zeros(len(row), bool)
        for column in lists[name].T[: targets.k]:
            found |= column[row] == aid[listed]
        place = np.searchsorted(scored, session)
        hits[:, t] = np.bincount(place[listed], found, minlength=len(scored))
        truth[:, t] = np.minimum(np.bincount(place, minlength=len(scored)), targets.k)
    return hits, truth


def recall(hits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 [T] from hits and truth [S, T]; nan for a target without any labels."""
    return _ratio(hits.sum(axis=0, dtype=np.float64), truth.sum(axis=0, dtype=np.float64))


def score(hits: np.ndarray, truth: np.ndarray, targets: TargetsConfig, bootstrap: int = 1000, seed: int = 42) -> dict:
    """The figures of count_hits' arrays: {"recall@k": {target: recall}, "weighted", "interval": {target and "weighted":
    [low, high]}, "sessions": S, "labels": {target: sum of truth}, "absent": [targets without labels]}.

    Absent targets are None, and the weighted score is that of the others, their weights raised to the same sum.
    Intervals: 95 % percentile bootstrap over sessions with `bootstrap` draws (0: None).
    """
    names = targets.names
    point = recall(hits, truth)
    count = truth.sum(axis=0)
    drawn = _resample(np.hstack([hits, truth]), bootstrap, seed)
    recalls = _ratio(drawn[:, : len(names)], drawn[:, len(names) :])
    return {
        f"recall@{targets.k}": _named(names, point),
        "weighted": _number(_weighted(point, targets)),
        "interval": _intervals(names, recalls, _weighted(recalls, targets)),
        "sessions": len(truth),
        "labels": {name: int(n) for name, n in zip(names, count, strict=True)},
        "absent": [name for name, n in zip(names, count, strict=True) if n == 0],
    }


def paired_interval(
    hits_a: np.ndarray, hits_b: np.ndarray, truth: np.ndarray, targets: TargetsConfig, bootstrap: int = 1000, seed: int = 42
) -> dict:
    """How much better a is than b on the same sessions (hits and truth int32 [S, T]): {"difference": {target and
    "weighted": a - b}, "interval": the same keys: [low, high]}; each draw resamples the sessions for both at once."""
    names = targets.names
    a, b = recall(hits_a, truth), recall(hits_b, truth)
    drawn = _resample(np.hstack([hits_a, hits_b, truth]), bootstrap, seed)
    drawn_a, drawn_b, drawn_truth = np.split(drawn, 3, axis=1)
    recalls_a, recalls_b = _ratio(drawn_a, drawn_truth), _ratio(drawn_b, drawn_truth)
    weighted = _weighted(recalls_a, targets) - _weighted(recalls_b, targets)
    difference = _named(names, a - b) | {"weighted": _number(_weighted(a, targets) - _weighted(b, targets))}
    return {"difference": difference, "interval": _intervals(names, recalls_a - recalls_b, weighted)}


def _ratio(hits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.divide(hits, truth, out=np.full(np.shape(hits), np.nan), where=np.asarray(truth) > 0)


def _weighted(recalls: np.ndarray, targets: TargetsConfig) -> np.ndarray:
    """[...] from recalls [..., T]: the weighted sum; weights of absent (nan) targets go to the others in proportion."""
    weights = np.array([targets.weights[name] for name in targets.names])
    present = ~np.isnan(recalls) @ weights
    return _ratio(np.nan_to_num(recalls) @ weights * weights.sum(), present)


def _resample(rows: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """float64 [draws, columns]: the column sums of resampled rows (int [S, columns]).

    Sessions with equal rows are alike, and there are few kinds of them: how often each kind is drawn is multinomial.
    """
    names = [str(i) for i in range(rows.shape[1])]
    table = pa.table([np.ascontiguousarray(column) for column in rows.T], names=names)
    kinds = table.group_by(names, use_threads=False).aggregate([([], "count_all")])
    counts = kinds["count_all"].to_numpy()
    values = np.column_stack([kinds[name].to_numpy() for name in names]).astype(np.float64)
    sums = np.zeros((draws, rows.shape[1]))
    if len(rows) == 0:
        return sums
    random = np.random.default_rng(seed)
    step = max(1, DRAWN_AT_ONCE // len(counts))
    for first in range(0, draws, step):
        drawn = random.multinomial(len(rows), counts / len(rows), size=min(step, draws - first))
        sums[first : first + step] = drawn @ values
    return sums


def _intervals(names: list[str], recalls: np.ndarray, weighted: np.ndarray) -> dict | None:
    if not len(recalls):
        return None
    columns = np.column_stack([recalls, weighted])
    ends = []
    for column in columns.T:
        known = column[~np.isnan(column)]
        ends.append([float(end) for end in np.percentile(known, [2.5, 97.5])] if len(known) else None)
    return dict(zip([*names, "weighted"], ends, strict=True))


def _number(value) -> float | None:
    return None if np.isnan(value) else float(value)


def _named(names: list[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values, strict=True)}


# ------------------------------------------------------------------------------------------------------------ CLI


def evaluate_files(
    labels: Path, predictions: Path, targets: TargetsConfig, quirks: bool = False, bootstrap: int = 1000, seed: int = 42
) -> dict:
    """The figures (see `score`) of two official files. targets.next_only plays no part: the labels are made already.

    quirks: behave as the official script where that is odd. The aid 0 as the next click is no click; a type without any
    labels, and a session with labels of a type and predictions of others only, are errors (there: a division by zero
    and a KeyError); without quirks such a type is left out and such a session has no hits.
    """
    official = read_labels(labels, targets.names, zero_is_none=quirks)
    if not len(official.labels) and not quirks:
        raise UserError(f"{labels}: no labels of the types {', '.join(targets.names)}: there is nothing to score")
    given = read_predictions(predictions, targets.names, targets.k, official.sessions, official.items)
    hits, truth = count_hits(official.labels, given.lists, np.arange(len(official.sessions)), targets)
    figures = score(hits, truth, targets, bootstrap, seed)
    if quirks:
        if figures["absent"]:
            raise UserError(
                f"{labels}: no labels of type {figures['absent'][0]}, where the official script divides by zero: "
                "leave out --official-quirks to score the other types"
            )
        lost = given.rows.any(axis=1)[official.labels.session]
        lost &= ~given.rows[official.labels.session, official.labels.type]
        if lost.any():
            first = np.flatnonzero(lost)[0]
            session = official.sessions[int(official.labels.session[first])].as_py()
            raise UserError(
                f"{predictions}: session {session} has no row of type {targets.names[official.labels.type[first]]}, where the "
                "official script stops: add the row, or leave out --official-quirks to count it as empty"
            )
    return figures


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options), options.debug)


def _run(options: argparse.Namespace) -> int:
    targets = _targets(options.weights, options.k)
    for name, what in (("bootstrap", "the number of draws"), ("seed", "a number")):
        if getattr(options, name) < 0:
            raise UserError(f"--{name}: expected {what}, 0 or more, got {getattr(options, name)}")
    figures = evaluate_files(
        options.test_labels, options.predictions, targets, options.official_quirks, options.bootstrap, options.seed
    )
    _show(figures, targets, sys.stderr if options.json else sys.stdout)
    if options.json:
        print(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m otto_gpu.evaluate", description="Recall@k and weighted score of a submission, with 95 % intervals."
    )
    parser.add_argument("--test-labels", type=Path, required=True, metavar="FILE", help="the official test_labels.jsonl")
    parser.add_argument(
        "--predictions", type=Path, required=True, metavar="FILE", help="CSV with the header session_type,labels"
    )
    parser.add_argument("--k", type=int, default=20, help="how many entries of a row count (default 20)")
    parser.add_argument(
        "--weights", default="clicks=0.1,carts=0.3,orders=0.6", metavar="TYPE=W,...",
        help="the types to score and their weights (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--official-quirks", action="store_true",
        help="aid 0 as the next click is no click; a type without labels, or a session without a row, is an error",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout, the table on stderr")
    parser.add_argument(
        "--bootstrap", type=int, default=1000, metavar="N", help="draws for the intervals (default 1000, 0: none)"
    )
    parser.add_argument("--seed", type=int, default=42, help="of the draws (default 42)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _targets(weights: str, k: int) -> TargetsConfig:
    given = {}
    for entry in weights.split(","):
        name, _, weight = entry.partition("=")
        try:
            given[name.strip()] = float(weight)
        except ValueError:
            raise UserError(f"--weights: expected type=number,... such as clicks=0.1,carts=0.9, got {entry!r}") from None
    try:
        return TargetsConfig(types=list(given), next_only=[], weights=given, k=k)
    except ValidationError as error:
        raise explain(error, TargetsConfig, "--weights, --k") from None


def _show(figures: dict, targets: TargetsConfig, stream) -> None:
    from rich.console import Console
    from rich.table import Table

    recalls = figures[f"recall@{targets.k}"]
    interval = figures["interval"] or {}
    table = Table("type", f"recall@{targets.k}", "95 % interval", "labels", "weight")
    rows = [(name, recalls[name], f"{figures['labels'][name]:,}", f"{targets.weights[name]:g}") for name in targets.names]
    rows.append(("weighted", figures["weighted"], "", ""))
    for name, value, labels, weight in rows:
        ends = interval.get(name)
        span = f"{ends[0]:.4f} to {ends[1]:.4f}" if ends and value is not None else "-"
        table.add_row(name, "absent" if value is None else f"{value:.4f}", span, labels, weight)
    console = Console(file=stream)
    console.print(table)
    console.print(f"{figures['sessions']:,} sessions with labels")
    if figures["absent"]:
        absent = ", ".join(figures["absent"])
        console.print(f"warning: no labels of type {absent}; left out of the weighted score, the other weights raised")
    result = {name: value for name, value in recalls.items() if value is not None} | {"total": figures["weighted"]}
    print(f"Scores: {result}", file=stream)


if __name__ == "__main__":
    sys.exit(main())
