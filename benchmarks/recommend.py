"""How quickly does a finished run answer for new sessions, many at a time and one by one? `python -m benchmarks.recommend`

A generated log is run with a catalogue of about a hundred columns, the size that is served; the sessions of its test period are
asked for again. The answers must be those of the pipeline.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import environment, write_json
from otto_gpu.config import load_config
from otto_gpu.errors import UserError
from otto_gpu.events.stage import load_ids, load_period
from otto_gpu.pipeline import run_pipeline
from otto_gpu.recommend import Recommender
from otto_gpu.run.progress import Reporter

# two rules' features of 20, beside those of the session and the recipes: about a hundred columns, for one group of rankers
SERVED = ("features.families=[matrix,session,recall,rank]", "features.rules=[time_decay,then_bought]")
ROOT = Path(__file__).resolve().parents[1]


def measured(run_dir: Path, batch: int, single: int, repeats: int) -> dict:
    """Sessions a second in batches, milliseconds of single sessions; UserError where an answer is not the pipeline's."""
    began = time.perf_counter()
    recommender = Recommender.load(run_dir, device="cpu")
    loaded = time.perf_counter() - began
    history = load_period(run_dir, "test").history
    history = history.where(history.session <= np.unique(history.session)[:batch][-1]).to_frame()
    history["session"] = load_ids(run_dir, "sessions").to_pandas()[history["session"].to_numpy()].to_numpy()
    history["aid"] = load_ids(run_dir, "items").to_pandas()[history["aid"].to_numpy()].to_numpy()
    made = recommender.recommend(history)  # compiled, and compared
    made.write(run_dir / "again.csv")
    ours, theirs = ((run_dir / name).read_text().splitlines() for name in ("again.csv", "submission.csv"))
    if not set(ours) <= set(theirs):
        raise UserError(f"{len(set(ours) - set(theirs))} of {len(ours)} lists are not those of the pipeline")
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        recommender.recommend(history)
        seconds.append(time.perf_counter() - began)
    parts = [part for _, part in list(history.groupby("session"))[:single]]
    recommender.recommend(parts[0])
    each = []
    for part in parts:
        began = time.perf_counter()
        recommender.recommend(part)
        each.append(1000 * (time.perf_counter() - began))
    return {
        "columns": len(recommender.maker.catalogue),
        "trees": sum(
            model.num_boosted_rounds() for e in recommender.models.ensembles.values() for g in e.groups.values()
            for model in g.values()
        ),
        "load_s": round(loaded, 2),
        "sessions": len(made), "seconds": [round(s, 4) for s in seconds],
        "sessions_per_s": round(len(made) / float(np.median(seconds))),
        "single_ms": {name: round(float(np.percentile(each, q)), 2) for name, q in (("p50", 50), ("p95", 95), ("p99", 99))},
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    changes = [f"events.synthetic_sessions={args.sessions}", *(() if args.all_columns else SERVED), *args.set]
    with TemporaryDirectory() as folder:
        run_dir = args.run_dir or Path(folder)
        run_pipeline(load_config("demo", changes), run_dir=run_dir, device="cpu", reporter=Reporter())
        found = measured(run_dir, args.batch, args.single, args.repeats)
    single = found["single_ms"]
    print(f"batches: {found['sessions_per_s']:,} sessions/s; {found['columns']} columns, {found['trees']} trees")
    print(f"one session: {single['p50']} ms in the middle, 95 % within {single['p95']}, 99 % within {single['p99']} ms")
    write_json(args.out, {"settings": changes, "environment": environment(), **found})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recommend", description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=59_524, help="of the generated log (default: 1M events)")
    parser.add_argument("--batch", type=int, default=10_000, help="sessions asked for at once")
    parser.add_argument("--single", type=int, default=500, help="sessions asked for one by one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--all-columns", action="store_true", help="the whole catalogue instead of about 100 columns")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the config")
    parser.add_argument("--run-dir", type=Path, help="keep the run here")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/recommend.json", metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
