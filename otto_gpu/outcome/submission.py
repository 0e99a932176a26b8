"""The stage `submission`: the final lists in the user's own ids, the run's figures, and the table that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
from rich.table import Table

from otto_gpu.candidates.settings import FUSION
from otto_gpu.events.labels import Labels
from otto_gpu.events.official import write_submission
from otto_gpu.events.remarks import warnings
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import SPLITS, load_ids
from otto_gpu.events.wide import write_wide
from otto_gpu.outcome.figures import LAST_SEEN, POPULAR, Figures, Known, of_lists
from otto_gpu.outcome.scores import METRICS, SCORES, keep_previous, save_scores
from otto_gpu.outcome.settings import SubmissionConfig
from otto_gpu.ranking.settings import RECALL, BlendConfig
from otto_gpu.ranking.stage import ranked_lists
from otto_gpu.run.directory import versions
from otto_gpu.run.progress import Reporter


def run(
    folder: Path, run_dir: Path, targets: TargetsConfig, config: BlendConfig, submission: SubmissionConfig, session_column: str,
    popular_days: float, embeddings: dict[str, dict], stages: dict[str, dict], reporter: Reporter, resolved: dict,
) -> dict:  # fmt: skip
    """submission.csv, metrics.json, scores.parquet where the test period has labels, and what was there before in previous/.

    session_column: how the log calls its sessions; popular_days: whose events make an item popular; embeddings: figures of the
    vectors by name; stages: manifests by name; resolved: the whole configuration, as it is told.
    """
    own_items = load_ids(run_dir, "items")
    summary = json.loads((run_dir / "events/summary.json").read_text())
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
            path = folder / "submission.csv"
            if submission.format == "wide":
                write_wide(path, own, lists[targets.names[0]], own_items, session_column, submission.prefix)
            else:
                write_submission(path, own, targets.names, lists, own_items)
        prefixes = summary["periods"][split].get("prefixes", False)
        known = Known.load(run_dir, split, len(own_items), popular_days, prefixes)
        scores = folder / SCORES if split == "test" else None
        metrics[split] = _figures(run_dir, split, targets, config, sessions, lists, known, scores)
        metrics[split] |= {"lists": of_lists(lists, known), "coverage": coverage[split]}
    metrics["blend"] = blend
    metrics["embeddings"] = embeddings
    metrics["events"] = summary
    metrics["stages"] = {n: {"seconds": m["seconds"], "peak_memory_mb": m["peak_memory_mb"]} for n, m in stages.items()}
    metrics["long_sessions"] = {n: m["long_sessions"] for n, m in stages.items() if "long_sessions" in m}
    metrics["versions"] = versions()
    metrics["config"] = resolved
    (folder / METRICS).write_text(json.dumps(metrics, indent=1))
    keep_previous(folder, run_dir, metrics)
    return {"rows": len(sessions) * len(targets.names)}


def _figures(
    run_dir: Path, split: str, targets: TargetsConfig, config: BlendConfig, sessions, lists, known: Known, scores: Path | None
) -> dict:  # fmt: skip
    """The figures of the lists. scores: a file for what they are made of; None: nowhere."""
    path = run_dir / "labels" / f"{split}.parquet"
    if not path.is_file():
        return {"sessions": len(sessions), "labels": None}
    labels = Labels.load(path)
    figures, hand_set = Figures(labels, sessions, targets, known), {}
    for target in targets.names:
        _, hand_set[target] = ranked_lists(run_dir, split, target, {RECALL: 1.0}, targets.k, config.damping)
    if scores is not None:
        own = load_ids(run_dir, "sessions"), load_ids(run_dir, "items")
        save_scores(scores, labels, figures.hits(lists), figures.whole, *own, targets)
    return figures.of(lists, hand_set)


def show(metrics: dict, targets: TargetsConfig, reporter: Reporter) -> None:
    """The closing tables: coverage and the metric per target with 95 % intervals, the baselines, and what is new to the
    session; seconds and peak memory per stage; what the periods leave out, where it is much."""
    name = targets.metric_name
    quality = Table(title="Quality (in brackets: 95 % interval, bootstrap over sessions)", title_justify="left")
    for column in ("period", "figure", *targets.names, "weighted"):
        quality.add_column(column, justify="left" if column in ("period", "figure") else "right", no_wrap=True)
    for split in SPLITS:
        figures = metrics[split]
        # with learned fusion what stays of all that was named is the rankers' ceiling
        everything = figures["coverage"].get(FUSION) or figures["coverage"]["all"]
        period, size = f"{split}, {figures['sessions']:,} sessions", everything["candidates"]["mean"]
        if figures["labels"] is None:
            quality.add_row(period, f"no ground truth; {size:.0f} candidates a session", *("" for _ in targets.names), "")
            continue
        first = next(iter(everything[targets.names[0]]))
        for depth in (first, "all"):
            values = [_text(everything[t][depth]) for t in targets.names]
            what = f"coverage, all {size:.0f}" if depth == "all" else f"coverage at {depth}"
            quality.add_row(period if depth == first else "", what, *values, "")
        others = {"most popular": figures["baselines"][POPULAR], "last seen": figures["baselines"][LAST_SEEN]}
        for what, other in (others | {"hand-set order": figures["hand_set_order"]}).items():
            quality.add_row("", f"{name}, {what}", *(_text(other[name][t]) for t in targets.names), _text(other["weighted"]))
        new = figures["new_to_the_session"]
        for what, found in ((name, figures), (f"{name}, new to the session", new)):
            values = [_text(found[name][t], found["interval"], t) for t in targets.names]
            values.append(_text(found["weighted"], found["interval"], "weighted"))
            quality.add_row("", what, *values, style="bold" if found is figures else None)
        counts = [f["labels"] if targets.metric == "recall" else f["sessions_of"] for f in (figures, new)]
        quality.add_row("", "number of answers, new ones", *(_numbers(counts, t) for t in targets.names), "", end_section=True)
    costs = Table(title="Cost", title_justify="left")
    for column in ("stage", "seconds", "peak memory, MB"):
        costs.add_column(column, justify="left" if column == "stage" else "right")
    stages = metrics["stages"]
    for stage, cost in stages.items():
        costs.add_row(stage, f"{cost['seconds']:,.1f}", f"{cost['peak_memory_mb']:,}")
    seconds, memory = ([cost[key] for cost in stages.values()] for key in ("seconds", "peak_memory_mb"))
    costs.add_row("all", f"{sum(seconds):,.1f}", f"{max(memory):,}", style="bold")
    for table in (quality, costs):
        reporter.show(table)
    for told in warnings(metrics["events"]["periods"], targets.names):
        reporter.say(f"warning: {told}")


def _numbers(counts: list[dict[str, int]], target: str) -> str:
    return ", ".join(f"{found[target]:,}" for found in counts)


def _text(value: float | None, interval: dict | None = None, key: str = "") -> str:
    if value is None:
        return "absent"
    bounds = interval.get(key) if interval else None
    return f"{value:.3f}" + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else "")
