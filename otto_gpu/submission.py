"""The stage `submission`: the final lists in the user's own ids, the run's figures, and the table that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
from rich.table import Table

from otto_gpu.evaluate import count_hits, paired_interval, score
from otto_gpu.events.labels import Labels
from otto_gpu.events.official import write_submission
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import SPLITS, load_ids
from otto_gpu.progress import Reporter
from otto_gpu.ranking.settings import RECALL, BlendConfig
from otto_gpu.ranking.stage import ranked_lists
from otto_gpu.run import versions

OUTPUTS = ("submission.csv", "metrics.json")


def run(
    folder: Path, run_dir: Path, targets: TargetsConfig, config: BlendConfig, stages: dict[str, dict], reporter: Reporter
) -> dict:
    blend = json.loads((run_dir / "blend.json").read_text())
    coverage = json.loads((run_dir / "candidates/coverage.json").read_text())
    weights = {t: dict(zip(b["groups"], b["weights"], strict=True)) for t, b in blend.items()}
    metrics: dict = {}
    for split in SPLITS:
        lists, sessions = {}, None
        for target in targets.names:
            sessions, lists[target] = ranked_lists(run_dir, split, target, weights[target], targets.k, config.damping)
        if split == "test":
            own = load_ids(run_dir, "sessions").take(pa.array(sessions))
            write_submission(folder / "submission.csv", own, targets.names, lists, load_ids(run_dir, "items"))
        metrics[split] = _figures(run_dir, split, targets, config, sessions, lists) | {"coverage": coverage[split]}
    metrics["blend"] = blend
    metrics["events"] = json.loads((run_dir / "events/summary.json").read_text())
    metrics["stages"] = {n: {"seconds": m["seconds"], "peak_memory_mb": m["peak_memory_mb"]} for n, m in stages.items()}
    metrics["versions"] = versions()
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
    return {"rows": len(sessions) * len(targets.names)}


def _figures(run_dir: Path, split: str, targets: TargetsConfig, config: BlendConfig, sessions, lists) -> dict:
    """The score of the lists, that of the candidates' hand-set order on the same sessions, and the paired difference."""
    path = run_dir / "labels" / f"{split}.parquet"
    if not path.is_file():
        return {"sessions": len(sessions), "labels": None}
    labels = Labels.load(path)
    hits, truth = count_hits(labels, lists, sessions, targets)
    by_recall = {}
    for target in targets.names:
        _, by_recall[target] = ranked_lists(run_dir, split, target, {RECALL: 1.0}, targets.k, config.damping)
    hand_set, _ = count_hits(labels, by_recall, sessions, targets)
    return score(hits, truth, targets) | {
        "hand_set_order": score(hand_set, truth, targets),
        "gain_over_hand_set_order": paired_interval(hits, hand_set, truth, targets),
    }


def show(metrics: dict, targets: TargetsConfig, reporter: Reporter) -> None:
    """The closing table: coverage, recall@k with its interval per target, weighted; seconds and memory per stage."""
    name = f"recall@{targets.k}"
    quality = Table(title="Quality (95 % intervals: bootstrap over sessions)", title_justify="left")
    for column in ("", "sessions", *targets.names, "weighted"):
        quality.add_column(column, justify="left" if not column else "right")
    for split in SPLITS:
        figures = metrics[split]
        everything = figures["coverage"]["all"]
        depths = [(d, [everything[t][d] for t in targets.names]) for d in ("20", "50", "100", "all")]
        size = everything["candidates"]["mean"]
        for depth, values in depths:
            if any(v is not None for v in values):
                label = f"{split}: coverage at {depth}" + (f" (mean {size:.0f} candidates)" if depth == "all" else "")
                quality.add_row(label, "", *(_text(v) for v in values), "")
        if figures["labels"] is None:
            quality.add_row(f"{split}: no ground truth", f"{figures['sessions']:,}", *("" for _ in targets.names), "")
            continue
        hand_set = figures["hand_set_order"]
        quality.add_row(
            f"{split}: {name}, hand-set order",
            "",
            *(_text(hand_set[name][t]) for t in targets.names),
            _text(hand_set["weighted"]),
        )
        row = [_text(figures[name][t], figures["interval"], t) for t in targets.names]
        quality.add_row(
            f"{split}: {name}",
            f"{figures['sessions']:,}",
            *row,
            _text(figures["weighted"], figures["interval"], "weighted"),
            style="bold",
        )
    costs = Table(title="Cost", title_justify="left")
    for column in ("stage", "seconds", "peak memory, MB"):
        costs.add_column(column, justify="left" if column == "stage" else "right")
    for stage, cost in metrics["stages"].items():
        costs.add_row(stage, f"{cost['seconds']:,.1f}", f"{cost['peak_memory_mb']:,}")
    costs.add_row(
        "all",
        f"{sum(c['seconds'] for c in metrics['stages'].values()):,.1f}",
        f"{max(c['peak_memory_mb'] for c in metrics['stages'].values()):,}",
    )
    for table in (quality, costs):
        reporter.show(table)


def _text(value: float | None, interval: dict | None = None, key: str = "") -> str:
    if value is None:
        return "absent"
    bounds = interval.get(key) if interval else None
    return f"{value:.4f}" + (f" [{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else "")
