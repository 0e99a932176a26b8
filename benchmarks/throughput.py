"""How many sessions a second get candidates, and how many candidates a second get features? `python -m benchmarks.throughput`

The log is generated; the test period's sessions are what is worked on, with all recipes and the full catalogue.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure import alternate, environment, write_json
from otto_gpu.candidates.fuse import Candidates, fuse, popular_items
from otto_gpu.candidates.lookup import Histories, evaluate_recipes
from otto_gpu.candidates.recipes import CandidatesConfig
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.cooccurrence.rule import RULES
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.split import split_log
from otto_gpu.events.synthetic import synthetic_log
from otto_gpu.features.catalogue import FeaturesConfig
from otto_gpu.features.compute import FeatureMaker, Knowledge
from otto_gpu.features.stage import blocks

EVENTS_PER_SESSION = 16.8  # of the generated log


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=float, default=1e6, help="about how many events (default: 1e6)")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns (default: 5)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args(argv)
    log = synthetic_log(max(round(args.events / EVENTS_PER_SESSION), 100))
    period = split_log(log, SplitConfig(), TargetsConfig())["test"]
    known, config = period.known, CandidatesConfig()
    stack = MatrixStack.of({name: build_matrix(known, rule, device="cpu") for name, rule in RULES.items()})
    popular = popular_items(known, config.popular_days)

    def candidates() -> Candidates:
        histories = Histories.of(period.history, config).chunk(period.sessions)
        named = evaluate_recipes(histories, stack, config, log.types)
        return fuse(period.sessions, histories, {r: named[r] for r in config.outputs}, popular, config, log.types)

    made = candidates()
    maker = FeatureMaker(FeaturesConfig(), Knowledge.of(known, period.history, stack, config), config.sources, log.types)

    def features() -> None:
        for first, last in blocks(made, FeaturesConfig().chunk_rows):
            maker.make(made.rows(first, last))

    features()  # warm
    found = alternate({"candidates": candidates, "features": features}, args.repeats)
    found["candidates"] |= {"sessions": len(period.sessions), "per_session": len(made) / len(period.sessions)}
    found["candidates"]["sessions_per_s"] = len(period.sessions) / found["candidates"]["median_s"]
    found["features"] |= {
        "rows": len(made),
        "columns": len(maker.catalogue),
        "rows_per_s": len(made) / found["features"]["median_s"],
    }
    lengths = np.diff(period.history.starts)[period.sessions]
    size = f"{len(period.sessions):,} sessions of {lengths.mean():.1f} events"
    for name, rate, unit in (("candidates", "sessions_per_s", "sessions"), ("features", "rows_per_s", "candidates")):
        r = found[name]
        print(f"{name}: {r[rate]:,.0f} {unit}/s (median {r['median_s']:.2f} s, {r['min_s']:.2f} to {r['max_s']:.2f}); {size}")
    if args.out is not None:
        write_json(args.out, {"environment": environment(), "events": len(log), "stages": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
