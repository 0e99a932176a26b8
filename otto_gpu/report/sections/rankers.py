"""What the models look at, how they learnt, and how the blend puts them together."""

from __future__ import annotations

import numpy as np

from otto_gpu.ranking.models import POOL, TARGET
from otto_gpu.ranking.rankers import RANKERS
from otto_gpu.ranking.settings import RECALL
from otto_gpu.report import charts, words
from otto_gpu.report.charts import Chart, Legend, Line, Table
from otto_gpu.report.layout import Group, Hidden, Section, TableBlock
from otto_gpu.report.record import Fold, Record

TOP = 30  # features that are named
POINTS = 120  # of a curve, at most


def section(record: Record) -> Section:
    texts, groups = [], []
    if not record.models:
        texts.append("No target had enough positives to train on: the hand-set order stands everywhere.")
    else:
        trained = [t for t in record.targets.names if t in record.folders]
        texts.append(
            f"Gradient-boosted trees for {words.listed(trained)} ({_groups(record)}), in {record.ranking.folds} folds over the "
            "validation sessions. A feature's share is its part of the total gain of a model's splits, averaged over folds and "
            "groups."
        )
        learnt = [_learning(record, f, g, folds) for f, made in record.models.items() for g, folds in made.items()]
        groups.append(Group("How they learnt", learnt))
        seen = [folder for folder in record.models if feature_gains(record, folder)]
        if seen:
            groups.append(Group("What they look at", [_families(record, seen), *(_features(record, f) for f in seen)]))
    hidden = [
        Hidden(f"Search for settings: {called(folder)}, {group}", table=_search(found))
        for (folder, group), found in record.search.items()
    ]
    return Section("rankers", "Rankers", texts, groups, [TableBlock("Blend", _blend(record), False)], hidden)


def kinds(record: Record) -> list[str]:
    """What the kinds of the run's rankers are called."""
    return list(dict.fromkeys(RANKERS[group.ranker].title for group in record.ranking.groups.values()))


def _groups(record: Record) -> str:
    told = record.ranking.groups.items()
    return ", ".join(f"{name}: {RANKERS[group.ranker].title}, {group.objective}" for name, group in told)


def called(folder: str) -> str:
    return "all targets together" if folder == POOL else folder


def feature_gains(record: Record, folder: str) -> dict[str, float]:
    """{feature: its share of the total gain, averaged over the folder's models}, most first."""
    models = [fold for folds in record.models[folder].values() for fold in folds if fold.importance]
    shares: dict[str, float] = {}
    for model in models:
        total = sum(model.importance.values())
        for name, gain in model.importance.items():
            shares[name] = shares.get(name, 0.0) + gain / total / len(models)
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def family_gains(record: Record, folder: str) -> dict[str, float]:
    result: dict[str, float] = {}
    for name, share in feature_gains(record, folder).items():
        family = _family(record, name)
        result[family] = result.get(family, 0.0) + share
    return result


def _family(record: Record, feature: str) -> str:
    if feature in record.catalogue:
        return record.catalogue[feature]["family"]
    return TARGET if feature == TARGET else "cascade"


def _meaning(record: Record, feature: str) -> str:
    if feature in record.catalogue:
        return record.catalogue[feature]["meaning"]
    return "the code of the target" if feature == TARGET else "out-of-fold score of an earlier target's models"


def _families(record: Record, folders: list[str]) -> Chart:
    gains = {folder: family_gains(record, folder) for folder in folders}
    families = {name for found in gains.values() for name in found}
    order = sorted(families, key=lambda n: (-sum(g.get(n, 0) for g in gains.values()), n))
    rows = [(name, [found.get(name, 0.0) for found in gains.values()]) for name in order]
    colours = [charts.colour(i) for i in range(len(gains))]
    legend = tuple(Legend(called(f), c, "fill") for f, c in zip(gains, colours, strict=True)) if len(gains) > 1 else ()
    table = Table(["family", *map(called, gains)], [[n, *(words.percent(v) for v in values)] for n, values in rows])
    unused = [f for f in dict.fromkeys(c["family"] for c in record.catalogue.values()) if f not in families]
    says = f"The family {order[0]} carries most."
    if unused:
        says += f" No tree uses {words.listed(unused)}: features.families could do without."
    return Chart(
        "Gain by family of features", charts.bars(rows, colours, lambda v: f"{100 * v:.0f} %", top=1.0),
        "Share of the gain by family: " + "; ".join(f"{n} {', '.join(words.percent(v) for v in vs)}" for n, vs in rows),
        says, legend, table,
    )  # fmt: skip


def _features(record: Record, folder: str) -> Chart:
    gains = feature_gains(record, folder)
    top = list(gains.items())[:TOP]
    table = Table(
        ["feature", "share of gain", "family", "what it is"],
        [[n, words.percent(v), _family(record, n), _meaning(record, n)] for n, v in top],
    )
    return Chart(
        f"Top {len(top)} features, {called(folder)}",
        charts.bars([(n, [v]) for n, v in top], ["s0"], lambda v: f"{100 * v:.1f} %"),
        "Most gain: " + "; ".join(f"{n} {words.percent(v)}" for n, v in top[:10]),
        f"Together {words.percent(sum(v for _, v in top))} of the gain of the {len(gains)} features that some tree uses.", (),
        table,
    )  # fmt: skip


def _learning(record: Record, folder: str, group: str, folds: list[Fold]) -> Chart:
    settings = record.ranking.groups[group]
    metric = settings.metric(record.targets)
    shown = metric.upper()
    series, rows, lengths = [], [], []
    for fold in folds:
        curves = {side: fold.log.get(side, {}).get(metric) or [] for side in ("train", "eval")}
        for side, look in (("train", {"dash": 1, "width": 1.2, "opacity": 0.7}), ("eval", {})):
            rounds = _thinned(len(curves[side]), fold.best_round)
            marks = [rounds.index(fold.best_round)] if side == "eval" and fold.best_round in rounds else []
            line = [curves[side][r] for r in rounds]
            series.append(Line([r + 1 for r in rounds], line, charts.colour(fold.fold), marks=marks, **look))
        lengths.append(len(curves["eval"]))
        last = curves["train"][fold.best_round] if fold.best_round < len(curves["train"]) else None
        rows.append(
            [str(fold.fold), str(fold.best_round + 1), str(lengths[-1]), words.share(fold.best_score), words.share(last)]
        )
    full, scores = sum(n >= settings.rounds for n in lengths), [f.best_score for f in folds]
    least, mean, most = (words.share(float(of(scores))) for of in (min, np.mean, max))
    says = f"Held-out {shown} {mean} (folds {least} to {most}). "
    says += (
        f"{full} of {len(folds)} folds used all {settings.rounds} rounds: more of them may bring more."
        if full
        else "All folds stopped early: more rounds would bring nothing."
    )
    table = Table(["fold", "best round", "rounds", f"held-out {shown}", f"{shown} of training rows then"], rows)
    legend = [Legend(f"fold {f.fold}", charts.colour(f.fold)) for f in folds]
    return Chart(
        f"{called(folder)}, {group}", charts.lines(series, "trees", shown, from_zero=False),
        f"{shown} by round on the held-out and the training sessions of {len(folds)} folds. {says}",
        says, (*legend, Legend("training rows", "muted", "dashed"), Legend("best round", "muted", "dot")), table,
    )  # fmt: skip


def _thinned(n: int, keep: int) -> list[int]:
    """At most POINTS rounds of n, first and last and the one to keep among them."""
    some = np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int)).tolist() if n else []
    return sorted({*some, keep}) if keep < n else some


def _blend(record: Record) -> Table:
    name, rows = record.metric_name, []
    for target, found in record.metrics["blend"].items():
        weights = zip(found["groups"], found["weights"], strict=True)
        told = ", ".join(f"{'hand-set order' if g == RECALL else g} {w:g}" for g, w in weights)
        rows.append([target, told, words.share(found[name]), words.share(found["cross_fitted"][name])])
    return Table(["target", "weights", f"{name}, out of fold", "cross-fitted"], rows)


def _search(found: dict) -> Table:
    rows = []
    for i, trial in enumerate(found["trials"]):
        settings = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial["params"].items())
        best = ", the best" if i == found["best"] else ""
        rows.append([f"{i}{best}", f"{trial['score']:.4f}", words.seconds(trial["seconds"]), ", ".join(settings)])
    return Table(["trial", "score", "time", "settings"], rows)
