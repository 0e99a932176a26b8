"""python -m otto_gpu.report RUN          its page and model card once more
python -m otto_gpu.report RUN RUN ...  a page that holds the runs against the first one
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from otto_gpu.command import Parser, run_command
from otto_gpu.errors import UserError
from otto_gpu.run.progress import Reporter

COMPARISON = "comparison.html"


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    return run_command(lambda: _run(given), given.debug)


def _run(given: argparse.Namespace) -> int:
    try:
        (_one if len(given.runs) == 1 else _several)(given.runs, given.out, Reporter())
    except (pa.ArrowException, KeyError) as error:  # of files that the pipeline did not write, or did not finish
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise UserError(f"{', '.join(map(str, given.runs))}: cannot be read as a finished run ({what})") from error
    return 0


def _one(runs: list[Path], out: Path | None, reporter: Reporter) -> None:
    from otto_gpu.report.record import Record
    from otto_gpu.report.stage import CARD, REPORT, write

    record = Record(runs[0])
    card = record.run_dir / CARD if out is None else None
    made = write(record, out or record.run_dir / REPORT, card)
    reporter.show(_score(record))
    for path in made:
        reporter.say(f"written: {path}")


def _score(record) -> Table:
    """The score in short, against the hand-set order and the run before."""
    from otto_gpu.report import words
    from otto_gpu.report.compare import since_before
    from otto_gpu.report.sections.score import of

    split, name, before = record.shown_split, record.metric_name, since_before(record)
    table = Table(title=escape(f"{record.name}, {record.periods[split]}"), title_justify="left")
    changes = {"over the hand-set order": None} | (
        {"over the run before": before[1].found} if before and before[1].found else {}
    )
    for column in ("", name, "95 % interval", *changes):
        table.add_column(column, justify="right" if column else "left")
    figures = record.figures(split)
    if figures is None:
        return table
    changes["over the hand-set order"] = figures["gain_over_hand_set_order"]
    for key in record.keys:
        value = of(figures, name, key)
        cells = [words.share(value), words.ends((figures["interval"] or {}).get(key))]
        cells += [words.signed(f["difference"][key], (f["interval"] or {}).get(key)) for f in changes.values()]
        table.add_row(key, *cells, style="bold" if key == "weighted" else None)
    return table


def _several(runs: list[Path], out: Path | None, reporter: Reporter) -> None:
    from otto_gpu.report.comparison import Comparison, page, shown
    from otto_gpu.report.page import comparison_html
    from otto_gpu.report.record import Record
    from otto_gpu.report.stage import save

    comparison = Comparison([Record(run) for run in runs])
    out = out or Path(COMPARISON)
    save(out, comparison_html(page(comparison)))
    for table in shown(comparison):
        reporter.show(table)
    for told in comparison.partly:
        reporter.say(f"warning: {told}")
    reporter.say(f"written: {out}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m otto_gpu.report",
        description="What happened in a run, on one page, with its model card beside it. With several runs: a page and a table "
        "that hold them against the first one.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the directory of a finished run")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"where the page goes (default: RUN/report.html; of several runs {COMPARISON})"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
