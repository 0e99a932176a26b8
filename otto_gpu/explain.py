"""Why a list holds an item: which sources named it, which items of the history brought it, which features moved its score.

python -m otto_gpu.explain RUN --sessions FILE --aid AID
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from otto_gpu.candidates.lookup import Histories
from otto_gpu.command import Parser, run_command
from otto_gpu.device.arrays import to_host
from otto_gpu.errors import UserError
from otto_gpu.events.incoming import NewSessions
from otto_gpu.events.log import EventLog
from otto_gpu.ranking.blend import blended, reciprocal_ranks
from otto_gpu.recommend import Recommender, Scored, read_sessions
from otto_gpu.schema import did_you_mean

REASONS = 5  # keys that are named per source


@dataclass(frozen=True)
class Session:
    """One session, with all that is known of its candidates. parts: {source: {item: what was added up}}."""

    scored: Scored
    history: Histories
    parts: dict
    row: dict[int, int]  # candidate -> row


def explain(recommender: Recommender, events, aid, target: str | None = None, top: int = 10) -> dict:
    """Why an item stands where it stands in the lists of one session. events: as recommend takes them, of one session; aid: the
    user's own id; target: None for all.

    {"aid", "candidate": whether any source named it, "in_history": events of it,
     "sources": [{"source", "rank" from 1, "score", "because": [{"aid": the key item, "in_history", "matrix", "place" from 1,
     "gain": what it adds to the source's score}], most first, at most REASONS of them}], best rank first,
     "targets": {target: {"place" from 1 among the candidates, "blend": [{"group", "weight", "place"}],
     "bias", "features": [{"feature", "meaning", "value", "contribution"}], the `top` that moved the score most}}}

    Contributions are XGBoost's and LightGBM's (Tree SHAP, Lundberg et al. 2018): log-odds or margins, the mean over folds and,
    by their weights, groups; with the bias and the features not shown they add up to the score. They explain the models' score;
    the blend ranks by the places that come of it.
    """
    with recommender.exclusive():
        return _explained(recommender, recommender.reader.read(events), aid, target, top)


def explain_log(
    recommender: Recommender, log: EventLog, aid, target: str | None = None, top: int = 10, dictionaries=None
) -> dict:
    """As explain, for a log of one session that is read already, with its own ids; dictionaries: as recommend_log's."""
    with recommender.exclusive():
        return _explained(recommender, recommender.reader.of_log(log, dictionaries), aid, target, top)


def _explained(recommender: Recommender, incoming: NewSessions, aid, target: str | None, top: int) -> dict:
    if len(incoming) != 1:
        raise UserError(f"explain: expected the events of one session, got {len(incoming)} sessions")
    targets = recommender.targets if target is None else [target]
    if target is not None and target not in recommender.targets:
        raise UserError(f"explain: {target!r} is no target; {did_you_mean(target, recommender.targets)}")
    item = int(recommender.reader.places(_as_id(aid))[0])
    if item < 0:
        raise UserError(f"explain: the run does not know the item {aid!r}")
    session = session_of(recommender, incoming)
    answer = {
        "aid": recommender.own([item])[0],
        "candidate": session is not None and item in session.row,
        "in_history": int((incoming.log.aid == item).sum()),
        "sources": [] if session is None else sources(recommender, session, item),
        "targets": {},
    }
    if answer["candidate"]:
        answer["targets"] = {t: _of_target(recommender, session, item, t, top) for t in targets}
    return answer


def _as_id(aid) -> pa.Array:
    """One id, of whatever kind Python has for it; 27.0 is 27."""
    if aid is None or isinstance(aid, (bool, list, tuple, dict)):
        raise UserError(f"explain: aid must be an item's id, an integer or text, got {aid!r}")
    if isinstance(aid, (float, np.floating)) and float(aid).is_integer():
        aid = int(aid)
    return pa.array([aid if isinstance(aid, (int, np.integer)) else aid.decode() if isinstance(aid, bytes) else str(aid)])


def reasons(recommender: Recommender, events, k: int | None = None) -> dict:
    """The lists of one session, each item with why: {target: [{"aid", "rank" from 1, "sources": as explain's, the best two with
    the key item that gave most}]}; without a source, a popular item."""
    with recommender.exclusive():
        incoming = recommender.reader.read(events)
        if len(incoming) != 1:
            raise UserError(f"expected the events of one session, got {len(incoming)} sessions")
        session = session_of(recommender, incoming)
        made = recommender.lists(incoming, k, [] if session is None else [session.scored])
        found: dict[int, list] = {}
        for array in made.lists.values():
            for item in array[0][array[0] >= 0].tolist():
                if item not in found:
                    found[item] = [] if session is None else sources(recommender, session, item, most=2, keys=1)
        own = dict(zip(found, recommender.own(list(found)), strict=True))
        return {
            target: [
                {"aid": own[item], "rank": i + 1, "sources": found[item]}
                for i, item in enumerate(array[0][array[0] >= 0].tolist())
            ]
            for target, array in made.lists.items()
        }


def session_of(recommender: Recommender, incoming: NewSessions) -> Session | None:
    """The first session with all that there is to say; None where it has no event of a known item."""
    scored = next(recommender.scored(incoming), None)
    if scored is None:
        return None
    history = Histories.of(recommender.in_time(incoming.log), recommender.config.candidates)
    rows = {aid: row for row, aid in enumerate(scored.candidates.aid.tolist())}
    return Session(scored, history, recommender.sources.trace(history), rows)


def sources(recommender: Recommender, session: Session, item: int, most: int | None = None, keys: int = REASONS) -> list[dict]:
    """Who named the item, best rank first."""
    candidates, row = session.scored.candidates, session.row.get(item)
    if row is None:
        return []
    named = [i for i, rank in enumerate(candidates.ranks[row].tolist()) if rank >= 0]
    named.sort(key=lambda i: candidates.ranks[row, i])
    seen = set(session.history.aid.tolist())
    answer = []
    for i in named[:most]:
        source = candidates.sources[i]
        parts = sorted(session.parts.get(source, {}).get(item, ()), key=lambda part: -part.gain)[:keys]
        own = recommender.own([part.key for part in parts])
        because = [
            {"aid": key, "in_history": p.key in seen, "matrix": p.matrix, "place": p.place + 1, "gain": float(f"{p.gain:.5g}")}
            for p, key in zip(parts, own, strict=True)
        ]
        rank, score = int(candidates.ranks[row, i]), float(candidates.scores[row, i])
        answer.append({"source": source, "rank": rank + 1, "score": round(score, 4), "because": because})
    return answer


def _of_target(recommender: Recommender, session: Session, item: int, target: str, top: int) -> dict:
    scored, row = session.scored, session.row[item]
    groups, scores = recommender.groups(target), scored.scores[target]
    weights = [recommender.weights[target].get(g, 0.0) for g in groups]
    places = reciprocal_ranks(scored.candidates.pointer, scores, recommender.config.blend.damping)
    final = blended(places, weights)
    blend = [
        {"group": g, "weight": w, "place": int((places[:, i] > places[row, i]).sum()) + 1}
        for i, (g, w) in enumerate(zip(groups, weights, strict=True))
    ]
    place = int((final > final[row]).sum() + (final[:row] == final[row]).sum()) + 1
    weights = dict(zip(groups, weights, strict=True))
    return {"place": place, "blend": blend} | _features(recommender, session, target, row, weights, top)


def _features(recommender: Recommender, session: Session, target: str, row: int, weights: dict[str, float], top: int) -> dict:
    """{"bias", "features"} of the models' scores; nothing where the target has no models."""
    features = session.scored.features
    found = None if features is None else recommender.models.contributions(target, to_host(features[row : row + 1]), weights)
    if found is None:
        return {"bias": None, "features": []}
    names, values, contributions, bias = found
    meaning = {c.name: c.meaning for c in recommender.maker.catalogue.columns}
    order = np.argsort(-np.abs(contributions), kind="stable")[:top]
    return {
        "bias": round(float(bias), 5),
        "features": [
            {
                "feature": names[i], "meaning": meaning.get(names[i], "the score for another target"),
                "value": float(values[i]), "contribution": round(float(contributions[i]), 5),
            }
            for i in order if contributions[i]
        ],
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ CLI


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    return run_command(lambda: _run(given), given.debug)


def _run(given: argparse.Namespace) -> int:
    if given.top < 0:
        raise UserError(f"--top: expected a number of features, 0 or more, got {given.top}")
    recommender = Recommender.load(given.run, given.device)
    read = read_sessions(given.sessions, recommender.config)
    log = _one_session(read.log, given.session)
    answer = explain_log(recommender, log, given.aid, given.target, given.top, read.context)
    if given.json:
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2, default=str).decode())
    else:
        _show(answer, recommender.config.candidates.says)
    return 0


def _one_session(log: EventLog, session: str | None) -> EventLog:
    names = log.sessions.cast(pa.string()).to_pylist()
    if session is None and len(names) > 1:
        raise UserError(f"--session: the file holds {len(names):,} sessions; name one of them, such as {names[0]}")
    if session is not None and session not in names:
        raise UserError(f"--session {session}: not among the {len(names):,} sessions of the file, such as {names[0]}")
    return log.where(log.session == (0 if session is None else names.index(session)))


def _show(answer: dict, says: Callable[[str], str]) -> None:
    """says: what a source names, where no key item brought it."""
    from rich.console import Console
    from rich.table import Table

    console, aid = Console(highlight=False), answer["aid"]
    if not answer["candidate"]:
        console.print(f"{aid}: no source names it for this session, so it is in none of its lists", markup=False)
        return
    times = answer["in_history"]
    console.print(f"{aid}: " + (f"{times} events of it in the history" if times else "not in the history"), markup=False)
    table = Table("source", "rank", "score", "because", title="Who names it", title_justify="left")
    for source in answer["sources"]:
        because = "; ".join(_key(aid, part) for part in source["because"][:3]) or says(source["source"])
        table.add_row(source["source"], str(source["rank"]), f"{source['score']:.3f}", because)
    console.print(table)
    for target, told in answer["targets"].items():
        groups = ", ".join(f"{g['group']} {g['place']} (weight {g['weight']:g})" for g in told["blend"])
        title = f"{target}: place {told['place']} of the candidates; by {groups}"
        table = Table("feature", "value", "moves the score by", "meaning", title=title, title_justify="left")
        for feature in told["features"]:
            moved = f"{feature['contribution']:+.3f}"
            table.add_row(feature["feature"], f"{feature['value']:g}", moved, feature["meaning"])
        console.print(table if told["features"] else f"{title}; no models, the hand-set order decides")


def _key(aid, part: dict) -> str:
    """A part of a source's score, in words."""
    if part["matrix"] is None:
        return f"itself (+{part['gain']:.3g})"
    whose = "" if part["in_history"] else ", itself recalled"
    return f"{part['aid']}{whose}: no. {part['place']} by {part['matrix']} (+{part['gain']:.3g})"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m otto_gpu.explain", description="Why an item stands where it stands in the lists of a session."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's directory, such as runs/demo")
    parser.add_argument("--sessions", type=Path, required=True, metavar="FILE", help="events, written as the run's log was")
    parser.add_argument("--session", metavar="ID", help="which session of the file, where there are several")
    parser.add_argument("--aid", required=True, help="the item, by its own id")
    parser.add_argument("--target", help="default: all of them")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="features that are shown (default 10)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
