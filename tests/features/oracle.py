"""The features by the book (RULES.md section 4), slowly, with pandas and loops; float64 throughout."""

from datetime import UTC, datetime
from functools import cache
from math import log

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


def embedding_features(candidates: pd.DataFrame, history: pd.DataFrame, items: pd.DataFrame, vectors: dict) -> pd.DataFrame:
    """Candidate by candidate, item by item; vectors: {name: rows}."""
    weights = items.to_dict("index")
    newest = {}  # {session: [(aid, minutes before the last event), newest first]}
    for session, events in history.groupby("session"):
        seen, last = {}, events["ts"].iloc[-1]
        for aid, ts in zip(events["aid"][::-1].tolist(), events["ts"][::-1].tolist(), strict=True):
            seen.setdefault(aid, (last - ts) / MINUTE)
        newest[session] = list(seen.items())
    lists = {name: rows.astype(float).tolist() for name, rows in vectors.items()}
    made = []
    for session, aid in candidates[["session", "aid"]].itertuples(index=False):
        row, mine = {}, newest[session]
        own = [weights[session, item] for item, _ in mine]
        for name, vector in lists.items():
            cosines = [sum(a * b for a, b in zip(vector[aid], vector[item], strict=True)) for item, _ in mine]
            for weighting in WEIGHTINGS:
                values = [c * w[weighting] for c, w in zip(cosines, own, strict=True)]
                row[f"embed_{name}_{weighting}_mean"] = sum(values) / len(values)
                row[f"embed_{name}_{weighting}_sum"] = sum(values)
                row[f"embed_{name}_{weighting}_max"] = max(values)
            for i in range(5):
                row[f"embed_{name}_last_{i}"] = cosines[i] if i < len(cosines) else -1
            close = [i for i, c in enumerate(cosines) if c >= 0.5]
            n, above = len(cosines), {i: 2 * (cosines[i] - 0.5) for i in close}
            row[f"embed_{name}_close_max"] = max((cosines[i] for i in close), default=0)
            row[f"embed_{name}_close_mean"] = sum(cosines[i] for i in close) / len(close) if close else 0
            row[f"embed_{name}_close_count"] = len(close)
            row[f"embed_{name}_close_ramp_place"] = sum(above[i] * (1 - i / n) for i in close)
            week = log(1 + 7 * 24 * 60)
            row[f"embed_{name}_close_ramp_time"] = sum(above[i] * max(1 - log(1 + mine[i][1]) / week, 0) for i in close)
            row[f"embed_{name}_close_last"] = cosines[close[0]] if close else 0
            row[f"embed_{name}_close_type"] = own[close[0]]["type"] if close else 0
        made.append(row)
    return pd.DataFrame(made, index=candidates.index)


def similarity_features(candidates: pd.DataFrame, history: pd.DataFrame, vectors: dict) -> pd.DataFrame:
    """Candidate by candidate; vectors: {name: rows}."""
    newest = {session: list(dict.fromkeys(aids[::-1])) for session, aids in history.groupby("session")["aid"].agg(list).items()}
    lists, made = {name: rows.astype(float).tolist() for name, rows in vectors.items()}, []
    for session, aid in candidates[["session", "aid"]].itertuples(index=False):
        row = {}
        for name, vector in lists.items():
            cosines = [sum(a * b for a, b in zip(vector[aid], vector[item], strict=True)) for item in newest[session]]
            three = cosines[:3]
            row[f"similarity_{name}_last"] = cosines[0]
            row |= {f"similarity_{name}_last_3_mean": sum(three) / len(three), f"similarity_{name}_last_3_max": max(three)}
            row[f"similarity_{name}_mean"] = sum(cosines) / len(cosines)
            row |= {f"similarity_{name}_max": max(cosines), f"similarity_{name}_min": min(cosines)}
        made.append(row)
    return pd.DataFrame(made, index=candidates.index)


def attribute_features(candidates: pd.DataFrame, history: pd.DataFrame, made, words, category) -> pd.DataFrame:
    """made (ms), words, category: per item, None where missing."""
    events_of = {s: list(e[["aid", "ts"]].itertuples(index=False, name=None)) for s, e in history.groupby("session")}

    def less(a, b):
        return np.nan if a is None or b is None else a - b

    def mean(values):
        known = [v for v in values if v is not None]
        return sum(known) / len(known) if known else None

    rows = []
    for session, aid in candidates[["session", "aid"]].itertuples(index=False):
        events = events_of[session]
        last, now = events[-1]
        row = {}
        for name, values, unit in (("made", made, HOUR), ("words", words, 1)):
            if name == "made":
                row["item_made_hours"] = less(now, values[aid]) / HOUR
            else:
                row["item_words"] = less(values[aid], 0)
            row[f"item_{name}_less_last"] = less(values[aid], values[last]) / unit
            row[f"item_{name}_from_last"] = abs(less(values[aid], values[last])) / unit
            row[f"item_{name}_less_mean"] = less(values[aid], mean([values[item] for item, _ in events])) / unit
            if name == "made":
                ages = mean([None if values[item] is None else ts - values[item] for item, ts in events])
                row["item_made_history_hours"] = less(ages, 0) / HOUR
        mine = category[aid]
        same = [item for item, _ in events if mine is not None and category[item] == mine]
        row["item_category"] = -1 if mine is None else mine
        row["item_category_as_last"] = last in same
        row["item_category_events"] = len(same)
        row["item_category_share"] = len(same) / len(events)
        rows.append(row)
    return pd.DataFrame(rows, index=candidates.index).astype(float)


def encoder_features(candidates: pd.DataFrame, queries: dict, items) -> pd.DataFrame:
    """queries: {session: its vector}."""
    pairs = candidates[["session", "aid"]].itertuples(index=False)
    score = [
        sum(float(a) * float(b) for a, b in zip(queries[s], items[x], strict=True)) if s in queries else 0 for s, x in pairs
    ]
    frame = pd.DataFrame({"encoder_score": score}, index=candidates.index)
    highest = {s: max(mine) for s, mine in frame["encoder_score"].groupby(candidates["session"])}
    frame["encoder_score_gap"] = [v - highest[s] for v, s in zip(score, candidates["session"], strict=True)]
    return frame


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

    in_all = cache(lambda length, now: sum(count("type", kind, length, now) for kind in types))
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
        row["popularity_any_1h"] = count("item", aid, HOUR, now) / max(in_all(HOUR, now), 1)
        so_far = [ts for ts in times["item"].get(aid, []) if ts <= now]
        row["popularity_age_minutes"] = (now - min(so_far)) / MINUTE if so_far else -1
        row["popularity_quiet_minutes"] = (now - max(so_far)) / MINUTE if so_far else -1
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
