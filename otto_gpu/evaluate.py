"""Recall@k as the OTTO competition defines it (metrics.py), of official files:

python -m otto_gpu.evaluate --test-labels test_labels.jsonl --predictions submission.csv
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import orjson
from pydantic import ValidationError

from otto_gpu.command import Parser, run_command
from otto_gpu.errors import UserError
from otto_gpu.events.official import read_labels, read_predictions
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.metrics import count_hits, score
from otto_gpu.schema import explain


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
