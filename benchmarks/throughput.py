"""How many sessions a second get candidates, and how many candidates a second get features? `python -m benchmarks.throughput`

The log is generated; sessions of the test period are what is worked on, with all recipes and the full catalogue. The features
of the matrices and their ranks, which are most of them, are made by merging DataFrames too, for some sessions: both ways must
agree.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import EVENTS_PER_SESSION, alternate, environment, plot_bars, write_json
from otto_gpu.candidates.fuse import Candidates, fuse, popular_items
from otto_gpu.candidates.lookup import Histories, evaluate_recipes
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.cooccurrence.rule import RULES
from otto_gpu.device.arrays import ranges
from otto_gpu.errors import UserError
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.split import split_log
from otto_gpu.events.synthetic import synthetic_log
from otto_gpu.features.catalogue import FeaturesConfig
from otto_gpu.features.compute import FeatureMaker, PeriodState
from otto_gpu.features.matrix import REDUCTIONS
from otto_gpu.features.weightings import WEIGHTINGS, HistoryItems


def by_merging(made: Candidates, period_state: PeriodState, matrices: dict[str, pd.DataFrame]) -> np.ndarray:
    """float32 [m, columns], the families `matrix` and `rank` as DataFrames make them: every candidate beside every item of its
    history, the matrix joined, the weights multiplied, each candidate's rows grouped, then the session's candidates ranked."""
    histories = period_state.histories.chunk(made.sessions)
    items = HistoryItems.of(histories, period_state.item_events, period_state.type_weight)
    rows = pd.DataFrame({"place": np.repeat(np.arange(len(made.sessions)), np.diff(made.pointer)), "aid_y": made.aid})
    rows["row"] = np.arange(len(rows))
    history = pd.DataFrame({"place": np.repeat(np.arange(len(made.sessions)), np.diff(items.pointer)), "aid_x": items.aid})
    history[list(WEIGHTINGS)] = items.weights
    beside = rows.merge(history, on="place")
    out = []
    for matrix in matrices.values():
        joined = beside.merge(matrix, on=["aid_x", "aid_y"], how="left")
        joined[list(WEIGHTINGS)] = joined[list(WEIGHTINGS)].mul(joined["weight"].fillna(0), axis=0)
        grouped = joined.groupby("row")[list(WEIGHTINGS)].agg(list(REDUCTIONS))
        out.append(grouped.reindex(rows["row"], fill_value=0).to_numpy(np.float32))
    features = np.concatenate(out, axis=1)
    means = pd.DataFrame(features[:, :: len(REDUCTIONS)])
    ranks = means.groupby(rows["place"]).rank(method="min", ascending=False)
    return np.concatenate([features, ranks.to_numpy(np.float32)], axis=1)


def merging(
    made: Candidates, period_state: PeriodState, matrices, config: CandidatesConfig, types, repeats: int
) -> dict[str, dict]:
    """Timings of the families `matrix` and `rank` by kernel and by merging. UserError where they do not agree."""
    maker = FeatureMaker(FeaturesConfig(families=("matrix", "rank")), period_state, config.sources, types)
    ours, merged, first = (
        maker.make(made),
        by_merging(made, period_state, matrices),
        len(maker.catalogue) - len(maker.catalogue.ranked),
    )
    # sums in float32 and float64 may order near-ties differently: nearly all ranks must be equal, and all values close
    if not np.allclose(ours[:, :first], merged[:, :first], rtol=1e-4, atol=1e-6) or (ours != merged)[:, first:].mean() > 0.01:
        raise UserError("the features of the matrices by kernel and by merging do not agree")
    ways = {"matrix_kernel": lambda: maker.make(made), "matrix_merged": lambda: by_merging(made, period_state, matrices)}
    found = alternate(ways, repeats)
    return {name: timing | {"rows": len(made), "columns": len(maker.catalogue)} for name, timing in found.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=float, default=1e6, help="about how many events (default: 1e6)")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns (default: 5)")
    parser.add_argument("--merged", type=int, default=2000, help="sessions for the comparison with DataFrames (default: 2000)")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    args = parser.parse_args(argv)
    log = synthetic_log(max(round(args.events / EVENTS_PER_SESSION), 100))
    period = split_log(log, SplitConfig(), TargetsConfig())["test"]
    known, config = period.known, CandidatesConfig()
    matrices = {name: build_matrix(known, rule, device="cpu") for name, rule in RULES.items()}
    stack = MatrixStack.of(matrices)
    popular = popular_items(known, config.popular_days)

    def candidates() -> Candidates:
        histories = Histories.of(period.history, config).chunk(period.sessions)
        named = evaluate_recipes(histories, stack, config, log.types)
        return fuse(period.sessions, histories, {r: named[r] for r in config.outputs}, popular, config, log.types)

    made = candidates()
    maker = FeatureMaker(FeaturesConfig(), PeriodState.of(known, period.history, stack, config), config.sources, log.types)

    def features() -> None:
        for first, last in ranges(made.pointer, FeaturesConfig().chunk_rows):
            maker.make(made.rows(first, last))

    features()  # warm
    found = alternate({"candidates": candidates, "features": features}, args.repeats)
    frames = {name: matrix.to_frame() for name, matrix in matrices.items()}
    found |= merging(
        made.rows(0, min(len(made.sessions), args.merged)), maker.period_state, frames, config, log.types, args.repeats
    )
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
    ratio = found["matrix_merged"]["median_s"] / found["matrix_kernel"]["median_s"]
    print(
        f"features of the matrices, ranks too: {ratio:,.0f} times as fast as by merging DataFrames ({args.merged:,} sessions)"
    )
    if args.out is not None:
        write_json(args.out, {"environment": environment(), "events": len(log), "stages": found})
        ways = {"kernels": found["matrix_kernel"], "merged DataFrames": found["matrix_merged"]}
        stages = {name: {"kernels": found[name]} for name in ("candidates", "features")}
        groups = stages | {f"matrix features, {args.merged:,} sessions": ways}
        plot_bars(args.out.with_suffix(".png"), f"Candidates and features, {len(log):,} events", groups)
    return 0


if __name__ == "__main__":
    sys.exit(main())
