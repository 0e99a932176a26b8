"""How good are the lists, next to those of other libraries? `python -m benchmarks.quality --log NAME --data PATH`

Runs the pipeline for configs/NAME.yaml (what has not changed is not run again) and the peers (benchmarks/peers, installed by
`make peers`) on the same split, and scores everybody on the same sessions of the test period. A peer stands in the table
twice: raw, and with the session's own history in front, newest first; both are filled up to k with popular items. Settings
are fixed beforehand (benchmarks/peers/settings.py); no variant is left out, and nothing is chosen by these figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import environment, write_json
from benchmarks.peers.settings import LISTED, PEERS
from otto_gpu.candidates.fuse import popular_items
from otto_gpu.candidates.settings import FUSION
from otto_gpu.config import Config, load_config
from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import load_period
from otto_gpu.metrics import find_hits, paired_interval, score
from otto_gpu.pipeline import run_pipeline
from otto_gpu.ranking.settings import RECALL
from otto_gpu.ranking.stage import ranked_lists
from otto_gpu.run.progress import Reporter
from otto_gpu.schema import did_you_mean

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv-peers/bin/python"
SPLIT = "test"
POPULAR = "popular"  # the one peer that needs no process
POPULAR_DAYS = 7
RAW, HISTORY = "raw", "history in front"


@dataclass(frozen=True)
class Method:
    """lists: per target int32 [S, k], padded with -1; costs: fit_s, predict_s, peak_memory_mb (None: not measured)."""

    name: str
    label: str
    variant: str
    lists: dict[str, np.ndarray]
    costs: dict[str, float | None]
    about: dict


# ----------------------------------------------------------------------------------------------------------- lists


def histories(history: EventLog, sessions: np.ndarray, most: int) -> np.ndarray:
    """int32 [S, most]: the different items of each session, newest first, padded with -1."""
    row, item = np.searchsorted(sessions, history.session)[::-1], history.aid[::-1]
    _, first = np.unique(row.astype(np.int64) * history.n_items + item, return_index=True)
    kept = np.sort(first)[::-1]  # a reversed log: the last rows are the first sessions
    order = kept[np.lexsort((kept, row[kept]))]
    row, item = row[order], item[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    lists = np.full((len(sessions), most), -1, np.int32)
    lists[row[place < most], place[place < most]] = item[place < most]
    return lists


def in_turn(parts: list[np.ndarray], k: int) -> np.ndarray:
    """int32 [S, k]: the first k different items of each row of the parts (int32 [S, any], -1: nothing), one after the other."""
    together = np.concatenate(parts, axis=1)
    order = np.argsort(together, axis=1, kind="stable")
    ordered = np.take_along_axis(together, order, axis=1)
    fresh = ordered >= 0
    fresh[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    first = np.zeros_like(fresh)
    np.put_along_axis(first, order, fresh, axis=1)
    places = np.argsort(~first, axis=1, kind="stable")[:, :k]
    lists = np.where(np.take_along_axis(first, places, axis=1), np.take_along_axis(together, places, axis=1), -1)
    return np.pad(lists, ((0, 0), (0, k - lists.shape[1])), constant_values=-1).astype(np.int32)


def both_variants(lists: np.ndarray, history: np.ndarray, popular: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """{variant: int32 [S, k]} of a peer's lists int32 [S, n]; popular: int32 [items], most popular first."""
    fill = np.broadcast_to(popular[:k], (len(lists), len(popular[:k])))
    return {RAW: in_turn([lists, fill], k), HISTORY: in_turn([history, lists, fill], k)}


# --------------------------------------------------------------------------------------------------------- methods


def peer_methods(names: list[str], run_dir: Path, targets: TargetsConfig, say: Callable[[str], None]) -> list[Method]:
    period = load_period(run_dir, SPLIT)
    history = histories(period.history, period.sessions, targets.k)
    popular = popular_items(period.known, POPULAR_DAYS)
    methods = []
    for name in names:
        if name == POPULAR:
            label, lists, of_type = "popular items", np.empty((1, len(history), 0), np.int32), [0] * len(targets.types)
            about = {"source": f"events of the last {POPULAR_DAYS} days"}
        else:
            label, _, settings, source = PEERS[name]
            lists, about = run_peer(name, run_dir, say)
            of_type, about = about.pop("of_type"), about | {"settings": settings, "source": source}
        costs = {cost: about.pop(cost, None) for cost in ("fit_s", "predict_s", "peak_memory_mb")}
        if lists.shape[1] != len(history):
            raise UserError(f"peer {name}: lists of {lists.shape[1]} sessions, expected {len(history)}")
        variants = [both_variants(part, history, popular, targets.k) for part in lists]
        for variant in (RAW, HISTORY):
            own = {target: variants[of_type[targets.code(target)]][variant] for target in targets.names}
            methods.append(Method(name, label, variant, own, costs, about | {"lists": len(lists)}))
    return methods


def run_peer(name: str, run_dir: Path, say: Callable[[str], None]) -> tuple[np.ndarray, dict]:
    """(lists int32 [lists, S, n], what the peer's process told); what was made before for the same split is read again."""
    split, cache = run_dir / "events" / SPLIT, run_dir / "peers"
    here = ROOT / "benchmarks/peers"
    source = [here / "requirements.txt", *sorted(p for p in here.glob("*.py") if p.name != "settings.py")]
    identity = [
        name,
        PEERS[name][2],
        LISTED,
        *(_digest(p) for p in [split / "train.parquet", split / "history.parquet", *source]),
    ]
    stem = cache / f"{name}-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}"
    lists, told = stem.with_name(stem.name + ".npy"), stem.with_name(stem.name + ".json")
    if told.is_file() and lists.is_file():
        say(f"peer {name}: unchanged")
    else:
        say(f"peer {name}: started")
        cache.mkdir(exist_ok=True)
        command = [PYTHON, "-m", "benchmarks.peers.run", "--peer", name, "--split", split.resolve()]
        finished = subprocess.run(
            [*map(str, command), "--out", str(cache.resolve() / f".{name}")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            last = (finished.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise UserError(f"peer {name} ended with exit code {finished.returncode}: {last}")
        os.replace(cache / f".{name}.npy", lists)
        os.replace(cache / f".{name}.json", told)  # the last one: what says that the lists are whole
        costs = json.loads(told.read_text())
        say(f"peer {name}: fit {costs['fit_s']:.1f} s, predict {costs['predict_s']:.1f} s, peak {costs['peak_memory_mb']:,} MB")
    return np.load(lists, allow_pickle=False), json.loads(told.read_text())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def own_methods(run_dir: Path, config: Config) -> tuple[np.ndarray, list[Method]]:
    """(sessions int32 [S], the final lists and those in the candidates' hand-set order)."""
    blend = json.loads((run_dir / "blend.json").read_text())
    stages = json.loads((run_dir / "metrics.json").read_text())["stages"]
    order = list(stages)
    before = order[: order.index("candidates")]

    def costs(fit: list[str], predict: list[str]) -> dict:
        memory = max(stages[s]["peak_memory_mb"] for s in fit + predict)
        return {
            "fit_s": sum(stages[s]["seconds"] for s in fit),
            "predict_s": sum(stages[s]["seconds"] for s in predict),
            "peak_memory_mb": memory,
        }

    ways = {
        "full": ({t: dict(zip(b["groups"], b["weights"], strict=True)) for t, b in blend.items()},
                 costs([s for s in order if s not in ("predictions", "submission")], ["predictions"])),
        "hand-set order": ({t: {RECALL: 1.0} for t in blend}, costs(before, ["candidates"])),
    }  # fmt: skip
    methods, sessions = [], None
    for variant, (weights, cost) in ways.items():
        lists = {}
        for target in config.targets.names:
            sessions, lists[target] = ranked_lists(
                run_dir, SPLIT, target, weights[target], config.targets.k, config.blend.damping
            )
        methods.append(Method("otto_gpu", "otto_gpu", variant, lists, cost, {"source": "seconds of both periods together"}))
    return sessions, methods


# --------------------------------------------------------------------------------------------------------- scoring


def compare(run_dir: Path, config: Config, peers: list[str], bootstrap: int, say: Callable[[str], None]) -> dict:
    """Scores a finished run and the peers on its test period. Raises UserError where the log has no labels there."""
    targets = config.targets
    period = load_period(run_dir, SPLIT)
    if period.labels is None:
        raise UserError(f"{run_dir}: the test period has no labels, so there is nothing to score")
    sessions, methods = own_methods(run_dir, config)
    if not np.array_equal(sessions, period.sessions):
        raise UserError(f"{run_dir}: the predictions are not those of the test period's sessions: run the pipeline again")
    methods += peer_methods(peers, run_dir, targets, say)
    hits = [find_hits(period.labels, method.lists, sessions, targets) for method in methods]
    full, rows = hits[0], []
    for method, found in zip(methods, hits, strict=True):
        figures = score(found, targets, bootstrap)
        row = {"name": method.name, "label": method.label, "variant": method.variant}
        row |= {key: figures[key] for key in (targets.metric_name, "weighted", "interval")}
        row["otto_gpu_minus_this"] = paired_interval(full, found, targets, bootstrap) if found is not full else None
        rows.append(row | method.costs | method.about)
    coverage = json.loads((run_dir / "candidates/coverage.json").read_text())[SPLIT]
    coverage = coverage.get(FUSION, coverage["all"])  # of what stays
    best = max((row for row in rows if row["name"] != "otto_gpu"), key=lambda row: row["weighted"], default=None)
    return {
        "log": config.name,
        "environment": environment(),
        "k": targets.k,
        "weights": {name: targets.weights[name] for name in targets.names},
        "sessions": len(sessions),
        "sessions_with_labels": figures["sessions"],
        "labels": figures["labels"],
        "coverage@100": {name: coverage[name]["100"] for name in targets.names},
        "methods": rows,
        "best_peer": best and {key: best[key] for key in ("name", "variant", "weighted", "otto_gpu_minus_this")},
    }


def show(result: dict, console: Console) -> None:
    k, targets = result["k"], list(result["weights"])
    title = (
        f"{result['log']}: recall@{k} on {result['sessions']:,} sessions (in brackets: 95 % interval, bootstrap over sessions)"
    )
    table = Table(title=title, title_justify="left")
    for column in ("method", "variant", *targets, "weighted", "otto_gpu minus this", "fit s", "predict s", "peak MB"):
        table.add_column(column, justify="left" if column in ("method", "variant") else "right", no_wrap=True)
    best = result["best_peer"] or {}
    for row in result["methods"]:
        ends, minus = row["interval"], row["otto_gpu_minus_this"]
        cells = [_figure(row[f"recall@{k}"][target]) for target in targets]
        cells.append(_figure(row["weighted"]) + _span(ends and ends["weighted"]))
        difference = minus and f"{minus['difference']['weighted']:+.4f}" + _span(
            minus["interval"] and minus["interval"]["weighted"]
        )
        costs = [_number(row["fit_s"], 1), _number(row["predict_s"], 1), _number(row["peak_memory_mb"], 0)]
        told = (row["name"], row["variant"]) == (best.get("name"), best.get("variant"))
        style = "bold" if row["variant"] == "full" or told else None
        table.add_row(row["label"], row["variant"], *cells, difference or "", *costs, style=style)
        if row["variant"] in ("hand-set order", HISTORY):
            table.add_section()
    console.print(table)
    coverage = ", ".join(f"{target} {_figure(value)}" for target, value in result["coverage@100"].items())
    console.print(f"otto_gpu's coverage at 100 candidates: {coverage}; its seconds are those of both periods together")
    for row in result["methods"]:
        if row["variant"] == HISTORY:
            said = row.get("settings", {}) | row.get("facts", {})
            values = ", ".join(f"{name} {value}" for name, value in said.items())
            one = "" if row["lists"] > 1 or len(targets) == 1 else "; one list for all targets"
            console.print(f"  {row['label']}: {values + '; ' if values else ''}{row['source']}{one}", markup=False)
    if best:
        minus = best["otto_gpu_minus_this"]
        console.print(
            f"best peer: {best['name']}, {best['variant']}, {best['weighted']:.4f}; otto_gpu minus it: "
            f"{minus['difference']['weighted']:+.4f}{_span(minus['interval'] and minus['interval']['weighted'])}",
            markup=False,
        )


def _figure(value: float | None) -> str:
    return "absent" if value is None else f"{value:.4f}"


def _span(ends: list[float] | None) -> str:
    return f" [{ends[0]:.4f}, {ends[1]:.4f}]" if ends else ""


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def plot(path: Path, result: dict) -> None:
    """Weighted recall of every method as dots with their intervals, best on top."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: it needs matplotlib, which is not installed: pip install 'otto_gpu[bench]'")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(result["methods"], key=lambda row: row["weighted"])
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.3 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        color = "tab:red" if row["name"] == "otto_gpu" else "tab:blue"
        if row["interval"]:
            axes.plot(row["interval"]["weighted"], [place, place], color=color, linewidth=1.5)
        axes.plot(row["weighted"], place, "o", color=color, markerfacecolor="white" if row["variant"] == RAW else color)
    axes.set_yticks(range(len(rows)), [f"{row['label']}, {row['variant']}" for row in rows])
    axes.set(title=f"{result['log']}: {result['sessions']:,} sessions", xlabel=f"weighted recall@{result['k']}, 95 % interval")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f"written: {path}")


# ------------------------------------------------------------------------------------------------------------- CLI


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        peers = _chosen(args.peers)
        config = load_config(args.config or args.log, args.set)
        reporter = Reporter()
        done = run_pipeline(config, args.data, args.run_dir or Path("runs") / args.log, args.device, reporter=reporter)
        result = compare(done.run_dir, config, peers, args.bootstrap, reporter.say)
        result["log"] = args.log
    except UserError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(result, reporter.console)
    out = args.out or Path(__file__).parent / f"results/quality-{args.log}.json"
    write_json(out, result)
    plot(out.with_suffix(".png"), result)
    return 0


def _chosen(text: str) -> list[str]:
    known = [POPULAR, *PEERS]
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise UserError(f"--peers: unknown {name!r}; {did_you_mean(name, known)}")
    if set(names) & set(PEERS) and not PYTHON.is_file():
        raise UserError(
            f"the peers' own environment {PYTHON.parent.parent.name} is missing: make peers (--peers {POPULAR} needs none)"
        )
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.split("\n")[0])
    parser.add_argument("--log", required=True, metavar="NAME", help="names the configuration, the run and the results")
    parser.add_argument("--data", type=Path, metavar="PATH", help="the log, as the pipeline takes it")
    parser.add_argument("--config", metavar="FILE", help="another configuration than that of the log's name")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the configuration (repeatable)")
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help="default: runs/NAME")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="of the pipeline; default: as its configuration says")
    parser.add_argument(
        "--peers", default=",".join([POPULAR, *PEERS]), metavar="NAME,...", help="default: all (%(default)s); empty: none"
    )
    parser.add_argument(
        "--bootstrap", type=int, default=1000, metavar="N", help="draws for the intervals (default 1000, 0: none)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="JSON; the plot beside it (default: benchmarks/results/quality-NAME.json)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
