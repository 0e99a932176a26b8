"""The model card of a run: what its models are, what they were made of and are good for.

Every statement is of this run or of how the system works; none is there for form's sake. (After Mitchell et al., Model Cards
for Model Reporting, 2019.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from otto_gpu.candidates.settings import FUSION
from otto_gpu.metrics import METRICS
from otto_gpu.ranking.models import POOL
from otto_gpu.ranking.settings import Group
from otto_gpu.report import words
from otto_gpu.report.charts import Table
from otto_gpu.report.compare import kept_coverage
from otto_gpu.report.notes import notes
from otto_gpu.report.record import Record
from otto_gpu.report.sections import left_out
from otto_gpu.report.sections.data import origin, periods
from otto_gpu.report.sections.rankers import called, family_gains, kinds
from otto_gpu.report.sections.score import of

COMMAND = "python -m otto_gpu.pipeline --config RUN/config.yaml --run-dir RUN-again"
GROUP = (
    "ranker",
    "objective",
    "depth",
    "leaves",
    "leaf_rows",
    "bins",
    "learning_rate",
    "columns",
    "colsample",
    "subsample",
    "min_child_weight",
    "reg_lambda",
    "rounds",
)


@dataclass(frozen=True)
class Part:
    """A heading with what stands below it, in this order. command: to be copied as it is; short: also for the page."""

    title: str
    texts: list[str] = field(default_factory=list)
    command: str = ""
    points: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    short: bool = False


def card(record: Record) -> list[Part]:
    versions = Table(["package", "version"], [[n, v] for n, v in record.metrics["versions"].items()])
    made = [
        Part("What it is", [_what(record)], short=True),
        Part("What it is for, and what not", [USE], points=limits(record), short=True),
        Part("Data", _data(record), points=left_out.texts(record), tables=_periods(record), short=True),
        Part("How good it is", [_measured(record)], tables=_metrics(record)),
        Part("How it was trained", _training(record), tables=_models(record)),
        Part("What to know about this run", points=[note.text for note in notes(record)]),
        Part("Once more", [_again(record)], COMMAND, tables=[versions], short=True),
    ]
    return [part for part in made if part.texts or part.points or part.tables]


def _what(record: Record) -> str:
    targets, config = record.targets, record.config
    vectors, sources = record.metrics.get("embeddings") or {}, [s for s in record.candidates.sources if s != FUSION]
    models = sum(len(folds) for groups in record.models.values() for folds in groups.values())
    told = f"For every session of the test period {targets.k} items per target ({words.listed(targets.names)}), best first. "
    told += f"{len(config['matrices']['rules'])} co-occurrence matrices"
    if vectors:
        told += f" and vectors ({words.listed(vectors)})"
    told += f" name candidates through {len(sources)} sources ({', '.join(sources)})"
    if record.candidates.fusion:
        told += f", of which fusion keeps {record.candidates.fusion.keep} a session"
    if models:
        trees = f"gradient-boosted trees of {words.listed(kinds(record))}"
        told += f"; {models} models ({trees}) order them, and a blend with their hand-set order makes the lists."
    else:
        told += "; no model could be trained, so their hand-set order makes the lists."
    return told


USE = (
    "To recommend what comes next in a session that has begun, in the shop whose log it was trained on. The lists are "
    "suggestions to a visitor; they are no ground for decisions about people."
)


def limits(record: Record) -> list[str]:
    """True of the system, as far as this run's settings make use of it."""
    points = [
        _unseen(record),
        "A session needs an event. One whose items are all unknown gets these items and popular ones, the same for everybody.",
        "What the same visitor did in other sessions is not known, unless the log's sessions are whole visitors.",
        "Whether an item can still be had is not known: what is sold out has to be taken out of the lists.",
        f"Matrices and popularity grow old; popular means in the last {record.candidates.popular_days:g} days of what is "
        "known. Train again as often as the offers change.",
        "The figures tell how well logged behaviour was guessed, which the shop's own pages and recommendations of that time "
        "had a part in. What these lists would change, an experiment has to say. They favour what is popular.",
    ]
    if any(not g.by_session for g in record.ranking.groups.values()) and record.models:
        points.append(
            "Scores of the binary models are no probabilities as they stand: negatives were sampled. They are for ordering."
        )
    if record.split["by"] == "session":
        points.append(
            "Periods that are cut from the log are random shares of the sessions, not later ones: expect less of a real, later "
            "time."
        )
    return points


def _unseen(record: Record) -> str:
    """What becomes of items without events: vectors from outside and of texts know them too."""
    eventless = {name for part in ("given", "text") for name in (record.config["embeddings"].get(part) or {})}
    naming = [name for name, source in record.candidates.nearest.items() if source.vectors in eventless]
    what = "Items without an event in what is known (the log before the period, and the histories of its sessions) are "
    if naming:
        return f"{what}recommended only through {words.listed(naming)}: by vectors that take no events."
    if attributes := _attributes(record):
        return f"{what}never recommended, though of an item with events the models know {words.listed(attributes)} as well."
    return f"{what}never recommended: items are known by their events alone, not by name, text, price or picture."


def _attributes(record: Record) -> list[str]:
    """The columns of the items that features are made of."""
    if "attributes" not in record.config["features"]["families"]:
        return []
    return [n for n, kind in ((record.config.get("items") or {}).get("columns") or {}).items() if kind != "text"]


def _data(record: Record) -> list[str]:
    counts, sizes = record.metrics["events"]["counts"], record.sizes
    types = ", ".join(f"{words.count(n)} {name}" for name, n in counts["types"].items())
    extra = record.config["events"].get("extra") or []
    attributes, context = _attributes(record), "context" in record.config["features"]["families"]
    known = ["session", "item", "time", "type", *((record.config["events"].get("context") or ()) if context else ())]
    known[1] += f" (with its {words.listed(attributes)})" if attributes else ""
    told = (
        f"{origin(record)}: {words.count(counts['events'])} events ({types}) of {words.count(sizes['sessions'])} sessions and "
        f"{words.count(sizes['items'])} items. Of an event the models know {words.listed(known)}. No personal data "
        "beyond what the ids are to those who can resolve them."
    )
    if extra:
        told += f" The further columns {words.listed(extra)} travel along in events/ and are not used."
    learners = {"fusion": record.candidates.fusion and record.fusion_learnt, "rankers": record.models, "blend": True}
    learnt = words.listed(f"the {name}" for name, there in learners.items() if there)
    test = "that of the test period was used for the figures only"
    if record.figures("test") is None:
        test = "the test period has none"
    return [told, f"{learnt[0].upper()}{learnt[1:]} learnt from the ground truth of the validation period; {test}."]


def _periods(record: Record) -> list[Table]:
    """Each is headed by what it is of."""
    more = [Table([title, *table.head[1:]], table.rows) for title, table in left_out.of_periods(record).items()]
    return [periods(record), *more]


def _measured(record: Record) -> str:
    what = f"{record.metric_name} as the OTTO competition defines it"
    if record.targets.metric != "recall":
        what = f"{record.metric_name}, the {METRICS[record.targets.metric].meaning}"
    told = (
        f"{what}, with 95 % bootstrap intervals over sessions. New to the session: of answers whose item its history does not "
        "hold. "
        "Coverage is the share of the ground truth among the candidates. Validation was scored out of fold, with weights of "
        "the blend that were chosen on it."
    )
    return told if record.figures("test") is not None else f"The test period has no ground truth. {told}"


def _metrics(record: Record) -> list[Table]:
    tables, name = [], record.metric_name
    for split, period in record.periods.items():
        figures = record.figures(split)
        if figures is None:
            continue
        intervals, gain = figures["interval"] or {}, figures["gain_over_hand_set_order"]
        kept, rows = kept_coverage(record.coverage(split)), []
        for key in record.keys:
            value, whole = of(figures, name, key), key == "weighted"
            told = "absent" if value is None else f"{words.share(value)} {words.ends(intervals.get(key))}"
            change = words.signed(gain["difference"][key], (gain["interval"] or {}).get(key))
            of_target = ["", f"{words.count(figures['sessions'])} sessions", ""]
            if not whole:
                answers, weight = words.count(record.answers(figures)[key]), f"{record.targets.weights[key]:g}"
                of_target = [words.share(kept[key]["all"]), answers, weight]
            new = figures.get("new_to_the_session")
            told_new = (
                "" if new is None else f"{words.share(of(new, name, key))} {words.ends((new['interval'] or {}).get(key))}"
            )
            rows.append([key, told, told_new, change, *of_target])
        head = [period, name, "new to the session", "over the hand-set order", "coverage", "answers", "weight"]
        tables.append(Table(head, rows))
    return tables


def _training(record: Record) -> list[str]:
    if not record.models:
        return []
    ranking, features = record.ranking, record.config["features"]
    negatives = ", ".join(f"{t} {features['negatives'].get(t, 20.0):g}" for t in record.targets.names)
    texts = [
        f"A model per target, group and fold: {ranking.folds} folds over the validation sessions, stopped early by the "
        f"held-out fold. Rows: the positives, and so many negatives for each of them: {negatives}; at most "
        f"{words.count(features['most_rows'])} rows a target.",
        f"Seeds: {', '.join(f'{key} {value}' for key, value in seeds(record.config).items())}.",
    ]
    if ranking.cascade:
        told = "; ".join(f"{t} sees {words.listed(e)}" for t, e in ranking.cascade.items())
        texts.append(f"Cascade: {told}, by their out-of-fold scores.")
    pooled = [t for t in record.targets.names if record.folders.get(t) == POOL]
    if pooled:
        texts.append(f"Models that were trained on the rows of all targets order {words.listed(pooled)}.")
    if record.search:
        texts.append("Settings were searched for, target by target; search.json beside the models says what was tried.")
    return texts


def seeds(config: dict, path: str = "") -> dict[str, int]:
    """{dotted key: seed} of all sections."""
    found = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= seeds(value, f"{path}{key}.")
        elif key == "seed" or key.endswith("_seed"):
            found[f"{path}{key}"] = value
    return found


def _models(record: Record) -> list[Table]:
    if not record.models:
        return []
    settings = [s for s in GROUP if any(s not in group.foreign for group in record.ranking.groups.values())]
    groups = Table(
        ["group", *settings],
        [[name, *(_setting(group, s) for s in settings)] for name, group in record.ranking.groups.items()],
    )
    rows = []
    for folder, made in record.models.items():
        for group, folds in made.items():
            scores = ", ".join(words.share(f.best_score) for f in folds)
            trees = ", ".join(str(f.best_round + 1) for f in folds)
            rows.append([called(folder), group, trees, record.ranking.groups[group].metric(record.targets), scores])
    models = Table(["models", "group", "trees per fold", "metric", "on the held-out folds"], rows)
    counts: dict[str, int] = {}
    for column in record.catalogue.values():
        counts[column["family"]] = counts.get(column["family"], 0) + 1
    gains = {folder: family_gains(record, folder) for folder in record.models}
    families = dict.fromkeys([*counts, *(f for g in gains.values() for f in g)])
    features = Table(
        ["family of features", "columns", *(f"gain, {called(f)}" for f in gains)],
        [[f, str(counts.get(f, 1)), *(words.percent(g.get(f, 0.0)) for g in gains.values())] for f in families],
    )
    return [groups, models, features]


def _setting(group: Group, name: str) -> str:
    """Nothing where the group's kind has no such setting."""
    if name in group.foreign:
        return ""
    value = getattr(group, name)
    return "all" if value is None else str(value)


def _again(record: Record) -> str:
    device, threads = record.config.get("device"), record.config.get("threads")
    return (
        f"The same log, settings, versions, device ({device}) and number of threads ({threads or 'all cores'}) give the same "
        "bytes. config.yaml of the run directory, here RUN, holds every setting and the path of the log; where that is a "
        "relative one, give the command where the run was started:"
    )
