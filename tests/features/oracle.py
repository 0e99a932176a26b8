"""The features by the book (RULES.md section 4), slowly, with pandas and loops; float64 throughout."""

from datetime import UTC, datetime
from functools import cache

import numpy as np
import pandas as pd

WEIGHTINGS = ["one", "position", "type", "last_day", "time", "recsys"]
TYPE_WEIGHT = {"clicks": 1, "carts": 6, "orders": 3}
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def frame_of(log) -> pd.DataFrame:
    """The events with the names of their types, in their order."""
    names = np.array(log.types, object)
    return pd.DataFrame({"session": log.session, "aid": log.aid, "ts": log.ts, "type": names[log.type]})


def weighted(events: pd.DataFrame, item_events: dict, type_weight=TYPE_WEIGHT) -> pd.DataFrame:
    """The events with a column per weighting. item_events: {aid: its events in the known log}."""
    f = events.copy()
    by = f.groupby("session", sort=False)
    f["n"] = by["aid"].transform("size")
    f["p"] = f["n"] - 1 - by.cumcount()
    t = (by["ts"].transform("max") - f["ts"]) / MINUTE
    f["one"] = 1.0
    f["position"] = np.where(f["n"] == 1, 1.0, 2 ** (0.1 + 0.9 * (f["n"] - f["p"] - 1) / np.maximum(f["n"] - 1, 1)) - 1)
    f["type"], f["kind"] = f["type"].map(type_weight).astype(float), f["type"]
    f["last_day"] = (t <= 24 * 60).astype(float)
    f["time"] = 1 / np.log(2 + t)
    events_of_item = f["aid"].map(item_events).fillna(1).clip(lower=1)
    f["recsys"] = f["time"] / (np.log(2 + f["p"]) * np.log(1 + f["n"]) * np.log(1 + events_of_item))
    return f


def item_weights(events: pd.DataFrame, item_events: dict, type_weight=TYPE_WEIGHT) -> pd.DataFrame:
    """Indexed by session and aid: an item's weights are the sums over its events."""
    return weighted(events, item_events, type_weight).groupby(["session", "aid"])[WEIGHTINGS].sum()


def matrix_features(candidates: pd.DataFrame, items: pd.DataFrame, matrices: dict) -> pd.DataFrame:
    """candidates: session, aid. Every candidate meets every item of the history; no row of the matrix counts as 0."""
    history = items.reset_index().rename(columns={"aid": "aid_x"})
    pairs = candidates.reset_index().merge(history, on="session")
    result = {}
    for rule, matrix in matrices.items():
        rows = matrix.to_frame().rename(columns={"aid_y": "aid"})
        scored = pairs.merge(rows, on=["aid_x", "aid"], how="left")
        for weighting in WEIGHTINGS:
            value = scored["weight"].fillna(0) * scored[weighting]
            groups = value.groupby(scored["index"])
            for reduction in ("mean", "sum", "max"):
                result[f"matrix_{rule}_{weighting}_{reduction}"] = getattr(groups, reduction)()
    return pd.DataFrame(result).reindex(candidates.index)


def popularity_features(candidates: pd.DataFrame, known: pd.DataFrame, history: pd.DataFrame, item_events: dict, types):
    """One column after the other; the recent shares by counting, candidate by candidate."""
    result = {}
    for span, events in (("all", known), ("period", history)):
        f = weighted(events, item_events)
        sums = f.groupby(["kind", "aid"])[WEIGHTINGS].sum()
        for kind in types:
            mine = sums.loc[kind] if kind in sums.index.get_level_values(0) else pd.DataFrame(columns=WEIGHTINGS, dtype=float)
            for weighting in WEIGHTINGS:
                result[f"popularity_{kind}_{weighting}_{span}"] = candidates["aid"].map(mine[weighting]).fillna(0)
    last = history.groupby("session")["ts"].max()
    times = {"item": {}, "type": {}, "both": {}}  # of all events, by what they are
    for ts, aid, kind in known[["ts", "aid", "type"]].itertuples(index=False):
        for group, key in (("item", aid), ("type", kind), ("both", (aid, kind))):
            times[group].setdefault(key, []).append(ts)

    def count(group, key, length, now):
        return sum(now - length < ts <= now for ts in times[group].get(key, []))

    windows = {"3h": 3 * HOUR, "day": DAY, "week": 7 * DAY}
    recent, total = [], cache(lambda kind, length, now: max(count("type", kind, length, now), 1))
    for session, aid in candidates[["session", "aid"]].itertuples(index=False):
        now = last[session]
        row = {
            f"popularity_{kind}_{name}": count("both", (aid, kind), length, now) / total(kind, length, now)
            for kind in types
            for name, length in windows.items()
        }
        row["popularity_hour_per_day"] = count("item", aid, HOUR, now) / max(count("item", aid, DAY, now), 1)
        row["popularity_day_per_week"] = count("item", aid, DAY, now) / max(count("item", aid, 7 * DAY, now), 1)
        recent.append(row)
    return pd.concat([pd.DataFrame(result), pd.DataFrame(recent, index=candidates.index)], axis=1)


def session_features(candidates: pd.DataFrame, history: pd.DataFrame, items: pd.DataFrame, types) -> pd.DataFrame:
    """Row by row, from the session's events."""
    rows = []
    weights = items.to_dict("index")
    events_of = {s: list(e[["aid", "ts", "type"]].itertuples(index=False, name=None)) for s, e in history.groupby("session")}
    for session, aid in candidates[["session", "aid"]].itertuples(index=False):
        events = events_of[session]
        own = [(place, ts, kind) for place, (item, ts, kind) in enumerate(events) if item == aid]
        first, last = events[0][1], events[-1][1]
        moment = datetime.fromtimestamp(last / 1000, UTC)
        row = {f"candidate_{t}_before": sum(kind == t for *_, kind in own) for t in types}
        row["candidate_any_before"] = len(own)
        for weighting in WEIGHTINGS:
            row[f"candidate_{weighting}"] = weights.get((session, aid), {}).get(weighting, 0.0)
        row["candidate_minutes_ago"] = (last - own[-1][1]) / MINUTE if own else -1
        row["candidate_events_ago"] = len(events) - 1 - own[-1][0] if own else -1
        for t in types:
            row[f"n_{t}"] = sum(kind == t for *_, kind in events)
        row["n_any"], row["n_items"] = len(events), len({item for item, *_ in events})
        row["span_minutes"] = (last - first) / MINUTE
        row["hour"], row["weekday"] = moment.hour, moment.weekday()
        rows.append(row)
    return pd.DataFrame(rows, index=candidates.index)


def rank_features(features: pd.DataFrame, session) -> pd.DataFrame:
    return features.groupby(np.asarray(session)).rank(method="min", ascending=False).add_suffix("_rank")


def item_events_of(known: pd.DataFrame) -> dict:
    return known["aid"].value_counts().to_dict()
