"""The public co-visitation re-ranker of the OTTO competition, from its description: three matrices and rules by hand.

Matrices of items y that stand near x in a session's last 30 events, each keeping the best neighbours of an item:
- clicks: within a day, 1 + 3 x (how late in the log the event of x lies, 0 to 1) per session and pair; 20 kept;
- buys: within a day, per session, pair and type of y: 1 for a click, 6 for a cart, 3 for an order; 15 kept;
- buy to buy: carts and orders only, within 14 days, 1 per session, pair and type of y; 15 kept.
A session with 20 different items or more: its own items by sum of (2^(.1 to 1, oldest to newest) - 1) x type weight; for buys
the neighbours of what was bought get .1 more for each mention. Others: the own items newest first, then the neighbours of
all of them that are mentioned most often: clicks matrix for clicks; buys, and buy to buy of what was bought, for the rest.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.peers.split import Split, padded

PAIRS_AT_ONCE = 20_000_000
HOUR_MS = 3_600_000


def fit(split: Split, n: int, **settings):
    """(recommend, facts): recommend() -> int32 [1 or 2, S, n]: the list for clicks (type 0), that for the other types."""
    s = settings
    events = pd.DataFrame({"session": split.session, "aid": split.aid, "ts": split.ts, "type": split.type})
    weights = np.array(s["type_weights"] + [1] * split.n_types)[: split.n_types]
    oldest, newest = events["ts"].min(), events["ts"].max()

    def late(pairs):
        return 1 + s["recency"] * (pairs["ts_x"] - oldest) / max(newest - oldest, 1)

    clicks = matrix(events, s["tail"], s["hours"], late, (), s["top_clicks"])
    buys = bought = None
    if split.n_types > 1:
        buys = matrix(events, s["tail"], s["hours"], lambda p: weights[p["type_y"]], ("type_y",), s["top_buys"])
        only = events[events["type"] > 0]
        bought = matrix(only, s["tail"], s["bought_hours"], lambda p: np.ones(len(p)), ("type_y",), s["top_buys"])

    def recommend():
        history = histories(split, weights)
        lists = [suggest(history, len(split.sessions), n, [(clicks, False)], s["rerank_from"], 0.0)]
        if split.n_types > 1:
            asked = [(buys, False), (bought, True)]
            lists.append(suggest(history, len(split.sessions), n, asked, s["rerank_from"], s["bought_bonus"]))
        return np.stack(lists)

    return recommend, {"of_type": [0] + [1] * (split.n_types - 1)}


def matrix(events: pd.DataFrame, tail: int, hours: float, weigh, per: tuple[str, ...], keep: int) -> pd.DataFrame:
    """Columns aid_x, aid_y, rank (0: the heaviest neighbour of aid_x; ties: the smaller aid_y).

    A pair counts once per session and value of the columns `per`: with its newest x that has a y within the hours.
    """
    events = events[events.groupby("session").cumcount(ascending=False) < tail]
    sizes = events.groupby("session").size()
    part = (np.cumsum(sizes.to_numpy() ** 2) // PAIRS_AT_ONCE).repeat(sizes)
    sums = []
    for _, some in events[::-1].groupby(part[::-1]):  # newest first, so that the first of equal pairs is the newest
        pairs = some.merge(some, on="session")
        pairs = pairs[((pairs["ts_x"] - pairs["ts_y"]).abs() < hours * HOUR_MS) & (pairs["aid_x"] != pairs["aid_y"])]
        pairs = pairs.drop_duplicates(["session", "aid_x", "aid_y", *per])
        pairs = pairs.assign(weight=np.asarray(weigh(pairs), np.float64))
        sums.append(pairs.groupby(["aid_x", "aid_y"], as_index=False)["weight"].sum())
    if not sums:
        return pd.DataFrame({"aid_x": [], "aid_y": [], "rank": []}, dtype=np.int64)
    table = pd.concat(sums).groupby(["aid_x", "aid_y"], as_index=False)["weight"].sum()
    table = table.sort_values(["aid_x", "weight", "aid_y"], ascending=[True, False, True])
    table["rank"] = table.groupby("aid_x").cumcount()
    return table.loc[table["rank"] < keep, ["aid_x", "aid_y", "rank"]]


def histories(split: Split, weights: np.ndarray) -> pd.DataFrame:
    """One row per session and different item, newest first: row (of split.sessions), aid, place (0: newest), score (the
    re-ranker's), bought (whether an event of it is no click), bought_place (its newest such event, from the end)."""
    mine = np.isin(split.session, split.sessions)
    events = pd.DataFrame({"row": np.searchsorted(split.sessions, split.session[mine]), "aid": split.aid[mine]})
    length = events.groupby("row")["aid"].transform("size").to_numpy()
    index = events.groupby("row").cumcount().to_numpy()
    age = 0.1 + 0.9 * index / np.maximum(length - 1, 1)
    events["score"] = (2.0**age - 1) * weights[split.type[mine]]
    events["bought"] = split.type[mine] > 0
    events["back"] = length - index
    events["bought_back"] = np.where(events["bought"], events["back"], np.inf)
    items = events.groupby(["row", "aid"], as_index=False).agg(
        score=("score", "sum"), bought=("bought", "any"), back=("back", "min"), bought_back=("bought_back", "min")
    )
    items = items.sort_values(["row", "back"], ignore_index=True)
    items["place"] = items.groupby("row").cumcount()
    return items


def suggest(history: pd.DataFrame, n_rows: int, n: int, asked: list, rerank_from: int, bonus: float) -> np.ndarray:
    """int32 [n_rows, n], -1 where there is nothing. asked: matrices in their order, each with whether only bought items ask."""
    size = history.groupby("row")["aid"].transform("size")
    long = history[size >= rerank_from]
    short = history[size < rerank_from]
    neighbours = []
    for source, (table, only_bought) in enumerate(asked):
        keys = short[short["bought"]] if only_bought else short
        order = "bought_back" if only_bought else "back"
        named = keys.merge(table, left_on="aid", right_on="aid_x")[["row", "aid_y", order, "rank"]]
        neighbours.append(named.rename(columns={order: "back"}).assign(source=source))
    named = pd.concat(neighbours).sort_values(["row", "source", "back", "rank"], ignore_index=True)
    named["first"] = named.index
    counts = named.groupby(["row", "aid_y"], as_index=False).agg(count=("first", "size"), first=("first", "min"))
    counts = counts.rename(columns={"aid_y": "aid"}).merge(short[["row", "aid"]], on=["row", "aid"], how="left", indicator=True)
    counts = counts[counts["_merge"] == "left_only"]
    # own items come before all neighbours: a count that no neighbour reaches, and their place as the tie-break
    own = short[["row", "aid"]].assign(count=np.inf, first=short["place"])
    ranked = pd.concat([own, counts[["row", "aid", "count", "first"]]])
    if bonus:
        table = asked[-1][0]
        keys = long[long["bought"]].sort_values(["row", "bought_back"])
        more = keys.merge(table, left_on="aid", right_on="aid_x")[["row", "aid_y"]].rename(columns={"aid_y": "aid"})
        long = pd.concat([long[["row", "aid", "score"]], more.assign(score=bonus)], ignore_index=True)
    else:
        long = long.assign(first=0)[["row", "aid", "score", "back"]]
    long = long.assign(first=np.arange(len(long)))
    reranked = long.groupby(["row", "aid"], as_index=False).agg(count=("score", "sum"), first=("first", "min"))
    ranked = pd.concat([ranked, reranked]).sort_values(["row", "count", "first"], ascending=[True, False, True])
    return padded(ranked["row"].to_numpy(), ranked["aid"].to_numpy(), n_rows, n)
