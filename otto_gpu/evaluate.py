"""The figures (metrics.py) of a submission in a file. Recall@20 as the OTTO competition defines it, of official files:

python -m otto_gpu.evaluate --test-labels test_labels.jsonl --predictions submission.csv

A wide submission, user_id,article_1,article_2,..., against a CSV of answers:

python -m otto_gpu.evaluate --answers answers.csv --predictions submission.csv --metric mrr --k 5
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import orjson
from pydantic import ValidationError

from otto_gpu.command import Parser, run_command
from otto_gpu.errors import UserError
from otto_gpu.events.official import read_labels, read_predictions
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.wide import read_answers, read_wide
from otto_gpu.metrics import find_hits, score
from otto_gpu.outcome import fit
from otto_gpu.schema import as_user_error

METRICS = get_args(TargetsConfig.model_fields["metric"].annotation)
ANSWERS = "answers"  # the one target of a wide submission


def evaluate_files(
    labels: Path, predictions: Path, targets: TargetsConfig, quirks: bool = False, bootstrap: int = 1000, seed: int = 42
) -> dict:
    """The figures (see `score`) of two official files, and {"warnings": how they do not fit each other}. targets.next_only
    plays no part: the labels are made already. UserError where all lists are of other sessions.

    quirks: behave as the official script where that is odd. The aid 0 as the next click is no click; a type without any
    labels, and a session with labels of a type and predictions of others only, are errors (there: a division by zero
    and a KeyError); without quirks such a type is left out and such a session has no hits.
    """
    official = read_labels(labels, targets.names, zero_is_none=quirks)
    if not len(official.labels) and not quirks:
        raise UserError(f"{labels}: no labels of the types {', '.join(targets.names)}: there is nothing to score")
    given = read_predictions(predictions, targets.names, targets.k, official.sessions, official.items)
    warnings = fit.of_official(official, given, targets, (labels, predictions), strict=not quirks)
    hits = find_hits(official.labels, given.lists, np.arange(len(official.sessions)), targets)
    figures = score(hits, targets, bootstrap, seed) | {"warnings": warnings}
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


def evaluate_wide(
    answers: Path,
    predictions: Path,
    targets: TargetsConfig,
    bootstrap: int = 1000,
    seed: int = 42,
    user: str | None = None,
    item: str | None = None,
) -> dict:
    """The figures (see `score`) of a wide submission; targets: of answers_target. A user without a row has no hits; users
    without answers do not count. Further keys: {"users": with answers, "without_a_row": how many of these, "others": rows of
    users without answers, "columns": [user's, item's] of the answers, "warnings": how the files do not fit each other}. user,
    item: the columns, see read_answers. UserError where all rows are of other users."""
    truth = read_answers(answers, user, item)
    given = read_wide(predictions, targets.k, truth.users, truth.items)
    warnings = fit.of_wide(truth, given, targets.k, (answers, predictions))
    hits = find_hits(truth.labels, {ANSWERS: given.lists}, np.arange(len(truth.users)), targets)
    return score(hits, targets, bootstrap, seed) | {
        "users": len(truth.users),
        "without_a_row": int(np.count_nonzero(~given.rows)),
        "others": given.others,
        "columns": [truth.user, truth.item],
        "warnings": warnings,
    }


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options), options.debug)


def _run(options: argparse.Namespace) -> int:
    wide = options.answers is not None
    for option in ("official_quirks",) if wide else ("user_column", "item_column"):
        if getattr(options, option):
            name = f"--{option.replace('_', '-')}"
            raise UserError(f"{name} goes with {'--test-labels' if wide else '--answers'}: leave it out")
    targets = _targets(f"{ANSWERS}=1" if wide else options.weights, options.k, options.metric)
    for name, what in (("bootstrap", "the number of draws"), ("seed", "a number")):
        if getattr(options, name) < 0:
            raise UserError(f"--{name}: expected {what}, 0 or more, got {getattr(options, name)}")
    if wide:
        figures = evaluate_wide(
            options.answers, options.predictions, targets, options.bootstrap, options.seed, options.user_column,
            options.item_column,
        )  # fmt: skip
    else:
        figures = evaluate_files(
            options.test_labels, options.predictions, targets, options.official_quirks, options.bootstrap, options.seed
        )
    (_show_wide if wide else _show)(figures, targets, sys.stderr if options.json else sys.stdout)
    if options.json:
        print(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m otto_gpu.evaluate",
        description="Recall@k, or another figure, of a submission, with 95 % intervals: against official labels, or of a wide "
        "submission (user_id,article_1,article_2,...) against a CSV of answers.",
    )
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--test-labels", type=Path, metavar="FILE", help="the official test_labels.jsonl")
    truth.add_argument("--answers", type=Path, metavar="FILE", help="CSV with a column of users and one of items")
    parser.add_argument(
        "--predictions", type=Path, required=True, metavar="FILE",
        help="CSV with the header session_type,labels; with --answers a wide one, the users first",
    )  # fmt: skip
    parser.add_argument(
        "--metric", choices=METRICS, default="recall", help="the figure (default recall, as in the competition)"
    )
    parser.add_argument("--k", type=int, default=20, help="how many entries of a row count (default 20)")
    parser.add_argument("--user-column", metavar="NAME", help="of the answers (default: their first column)")
    parser.add_argument(
        "--item-column", metavar="NAME", help="of the answers (default: their other column, or one such as article_id, aid)"
    )
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


def _targets(weights: str, k: int, metric: str) -> TargetsConfig:
    given = {}
    for entry in weights.split(","):
        name, _, weight = entry.partition("=")
        try:
            given[name.strip()] = float(weight)
        except ValueError:
            raise UserError(f"--weights: expected type=number,... such as clicks=0.1,carts=0.9, got {entry!r}") from None
    try:
        return TargetsConfig(types=list(given), next_only=[], weights=given, k=k, metric=metric)
    except ValidationError as error:
        raise as_user_error(error, TargetsConfig, "--weights, --k") from None


def _show(figures: dict, targets: TargetsConfig, stream) -> None:
    from rich.console import Console
    from rich.table import Table

    recalls = figures[targets.metric_name]
    interval = figures["interval"] or {}
    table = Table("type", targets.metric_name, "95 % interval", "labels", "weight")
    rows = [(name, recalls[name], f"{figures['labels'][name]:,}", f"{targets.weights[name]:g}") for name in targets.names]
    rows.append(("weighted", figures["weighted"], "", ""))
    for name, value, labels, weight in rows:
        ends = interval.get(name)
        span = f"{ends[0]:.4f} to {ends[1]:.4f}" if ends and value is not None else "-"
        table.add_row(name, "absent" if value is None else f"{value:.4f}", span, labels, weight)
    console = Console(file=stream)
    console.print(table)
    console.print(f"{figures['sessions']:,} sessions with labels")
    for warning in figures["warnings"]:
        print(f"warning: {warning}", file=stream)
    if figures["absent"]:
        absent = ", ".join(figures["absent"])
        console.print(f"warning: no labels of type {absent}; left out of the weighted score, the other weights raised")
    result = {name: value for name, value in recalls.items() if value is not None} | {"total": figures["weighted"]}
    print(f"Scores: {result}", file=stream)


def _show_wide(figures: dict, targets: TargetsConfig, stream) -> None:
    ends, users = (figures["interval"] or {}).get(ANSWERS), figures["users"]
    span = f" (95 % interval {ends[0]:.4f} to {ends[1]:.4f})" if ends else ""
    value = figures[targets.metric_name][ANSWERS]
    print(f"{targets.metric_name}: {value:.4f}{span}, {users:,} users with answers", file=stream)
    for warning in figures["warnings"]:
        print(f"warning: {warning}", file=stream)


if __name__ == "__main__":
    sys.exit(main())
