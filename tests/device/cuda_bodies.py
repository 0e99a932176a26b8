"""Every kernel on one small log, and the chains of them (to matrices; from key bits to features); on the CPU, or as CUDA
kernels: `python -m tests.device.cuda_bodies cuda OUT.npz` in numba's simulator.

The same calls serve both sides: `call(kernel, *arguments)`. For the chain, the arrays decide where it runs.
"""

import sys
from dataclasses import replace

import numpy as np

from otto_gpu.candidates import fuse, fusion, keys, lookup
from otto_gpu.candidates.lookup import Histories, encode_lines
from otto_gpu.candidates.recipes import Boost, Line, LongHistory, Recipe
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.cooccurrence import pairs, partners, sides
from otto_gpu.cooccurrence.rule import MatrixRule
from otto_gpu.device import CPU, Device
from otto_gpu.device.arrays import arrays_of, longest, map_arrays, pointers, to_host
from otto_gpu.device.hashing import table_size
from otto_gpu.events.items import NO_TIME, Items
from otto_gpu.features import attributes, embedding, encoder, matrix, popularity, rank, session, similarity, weightings
from otto_gpu.features.catalogue import FeaturesConfig
from otto_gpu.features.compute import FeatureMaker, PeriodState
from otto_gpu.features.families import FAMILIES, RANK
from otto_gpu.ranking import forest
from otto_gpu.ranking.models import Ensemble, Models
from tests.worlds import log_of, stack_of

WORKERS = 5  # fewer than there are sessions: every worker has several, and finds its scratch as it left it
N_ITEMS = 30
HOUR, DAY = 3_600_000, 86_400_000


WHOLE = (lookup._recipe, similarity._similarities)  # what these write is no part of a table


def on_the_cpu(kernel, *arguments):
    """As in a run, where the features that a kernel writes are columns of a wider table: it is compiled for that alone."""
    *given, out = arguments
    if not isinstance(out, np.ndarray) or (out.ndim, out.dtype) != (2, np.float32) or kernel in WHOLE:
        kernel(*arguments)
        return
    table = np.empty((len(out), out.shape[1] + 1), np.float32)
    columns = table[:, :-1]
    columns[:] = out
    kernel(*given, columns)
    out[:] = columns


def as_cuda(kernel, *arguments):
    """Of host arrays, which numba copies there and back. What was filled of the scratch is left as it was found."""
    given = kernel.with_scratch(np, WORKERS, arguments, True)
    kernel.launch(kernel.units(arguments), WORKERS, *given)
    for name, (_, filled) in kernel.scratch.items():
        if filled is not None and not (given[kernel.names.index(name)] == filled).all():
            raise AssertionError(f"{kernel.body.__name__} leaves its {name} changed")


def a_log():
    random = np.random.default_rng(11)
    sessions = []
    for length in (1, 2, 3, 5, 8, 13, 21, 4, 1, 30, 6, 7):
        ts = 1_659_304_800_025 + np.cumsum(random.choice([0, 1, 40_000, HOUR, 5 * HOUR, DAY], length))
        aid, kind = random.integers(0, N_ITEMS // 2, length), random.integers(0, 3, length)
        sessions.append(list(zip(aid.tolist(), ts.tolist(), kind.tolist(), strict=True)))
    return log_of(sessions, N_ITEMS), random


def a_stack(random):
    """Weights that are powers of two add up exactly in any precision."""
    rows = {}
    for name in ("one", "two", "empty"):
        rows[name] = {
            x: [(int(y), 2.0**-i) for i, y in enumerate(random.choice(N_ITEMS, random.integers(0, 9), replace=False))]
            for x in range(0, N_ITEMS, 1 if name == "one" else 2)
            if name != "empty"
        }
    return stack_of(rows, N_ITEMS)


RECIPES = CandidatesConfig(
    recipes={
        "first": Recipe(
            lines=(
                Line(
                    keys="all", matrix="one", depth=4, step=0.25, floor=0.0625, head=1, neighbour_step=0.5, neighbour_floor=0.25
                ),
                Line(keys="bought", matrix="two", weight=0.5, hours=24),
                Line(keys="all", matrix="two", use="weight", decay=0.5, boost=Boost(matrix="one", weight=0.5)),
                Line(keys="running", last=2, matrix="one", depth=3),
            ),
            size=6, history="left_out",
        ),
        "second": Recipe(
            lines=(
                Line(keys="last_of_each_day", matrix="two", head=2),
                Line(keys="top", recipe="first", last=4, matrix="one", weight=2),
                Line(keys="top", recipe="first", last=4),
                Line(keys="only", matrix="one", depth=3),
                Line(keys="last_day", matrix="empty"),
            ),
            size=20, history="first", long_history=LongHistory(items=6, oldest=0.1, line_share=0.25),
        ),
    },
    order={},
)  # fmt: skip


def results(call) -> dict[str, np.ndarray]:
    """What every kernel writes."""
    log, random = a_log()
    stack = a_stack(random)
    n, out = log.n_sessions, {}

    bits = np.zeros(len(log), np.uint8)
    call(keys._key_bits, log.starts, log.aid, log.ts, log.type, np.array([False, True, True]), bits)
    out["bits"] = bits

    type_weight = np.array([1, 6, 3], np.float32)
    names, lists = list(RECIPES.recipes), np.full((2, n, 6), -1, np.int32)
    for i, (name, recipe) in enumerate(RECIPES.recipes.items()):
        lines = encode_lines(recipe, stack, names)
        touched, most_keys = lookup.room(lines, longest(log.starts), 6, N_ITEMS)
        aids, scores = np.full((n, recipe.size), -1, np.int32), np.zeros((n, recipe.size), np.float32)
        long = recipe.long_history
        call(
            lookup._recipe, log.starts, log.aid, log.ts, log.type, bits, lines, lists, stack.pointer, stack.neighbours,
            stack.weights, type_weight, 2 if i == 0 else 0, long.items if long else lookup.UNBOUNDED,
            long.oldest if long else 0.0, long.line_share if long else 1.0, touched, touched, table_size(touched), most_keys,
            aids, scores,
        )  # fmt: skip
        if i == 0:
            lists[0] = aids
        out |= {f"{name} aids": aids, f"{name} scores": scores}

    popular = np.array([3, 29, 28, 1], np.int32)
    owner, place, width = np.repeat([1, 2], [6, 20]), np.arange(26) % 20, 60 + 26 + 4
    both, sums = np.hstack([lists[0], out["second aids"]]), np.hstack([out["first scores"], out["second scores"]])
    m = np.zeros(n, np.int64)
    united = np.empty(width * n, np.int32), np.zeros((width * n, 3), np.float32), np.full((width * n, 3), -1, np.int16)
    united[0].fill(-1)
    call(
        fuse._union, log.starts, log.aid, log.type, bits, both, sums, owner, place, popular, type_weight, 60, 12, width,
        table_size(width), True, m, np.arange(n + 1) * width, *united,
    )  # fmt: skip
    out |= {"united sizes": m, **dict(zip(("united", "united scores", "united ranks"), united, strict=True))}

    pointer = np.concatenate([[0], np.cumsum((bits & keys.ALL) > 0)]).astype(np.int64)[log.starts]
    n_entries, item_events = int(pointer[-1]), np.bincount(log.aid, minlength=N_ITEMS)
    aid, weights = np.empty(n_entries, np.int32), np.zeros((n_entries, 6), np.float32)
    counts, newest = np.zeros((n_entries, 3), np.int16), np.empty(n_entries, np.int64)
    place = np.empty(n_entries, np.int16)
    call(
        weightings._items, pointer, aid, pointer, log.starts, log.aid, log.ts, log.type, bits, item_events, type_weight,
        weights, counts, newest, place, 6,
    )  # fmt: skip
    out |= {"item aid": aid, "item weights": weights, "item counts": counts, "item newest": newest, "item place": place}

    sizes = random.integers(0, 29, n)
    rows = np.concatenate([[0], np.cumsum(sizes)])
    candidates = np.concatenate([random.choice(N_ITEMS, size, replace=False) for size in sizes]).astype(np.int32)
    slots = matrix.table_places(rows)
    features, tables = np.zeros((len(candidates), 2 * 6 * 3), np.float32), np.full(slots[-1], -1, np.int32)
    call(matrix._tables, rows, candidates, slots, tables)
    call(
        matrix._interactions, rows, candidates, pointer, aid, weights, np.array([1, 0]), stack.pointer, stack.neighbours,
        stack.weights, slots, tables, int(sizes.max()), 2, features,
    )  # fmt: skip
    out |= {"tables": tables, "interactions": features}

    known = popularity.Popularity.of(log, log, item_events, type_weight)
    last_ts, windows = log.ts[log.starts[1:] - 1], np.array(list(popularity.WINDOWS.values()))
    wanted = np.zeros((len(candidates), 14), np.float32)
    call(
        popularity._popularity, rows, candidates, last_ts, known.times, known.pointer, known.type_times, known.type_pointer,
        windows, (3, 3), wanted,
    )  # fmt: skip
    out["popularity"] = wanted

    until = np.zeros((len(candidates), 4), np.float32)
    call(fusion._demand, rows, candidates, last_ts, known.pointer, known.times, np.array([HOUR, DAY]), until)
    out["wanted"] = until

    vectors, near = some_vectors(random), np.zeros((len(candidates), embedding.WIDTH), np.float32)
    call(
        embedding._embeddings, rows, candidates, pointer, aid, weights, newest, last_ts, vectors,
        int(np.diff(pointer).max()), near,
    )  # fmt: skip
    out["embedding"] = near

    alike = np.zeros((len(candidates), len(similarity.KINDS)), np.float32)
    call(similarity._similarities, rows, candidates, pointer, aid, vectors, alike)
    out["similarity"] = alike

    words, mean = np.where(log.aid % 5, log.aid / 4, np.nan), np.zeros((n, 2))
    call(attributes._means, log.starts, np.column_stack([words, log.aid / 8]), mean)
    codes, counted = np.arange(N_ITEMS, dtype=np.int32) % 4 - 1, np.zeros((len(candidates), 1), np.float32)
    call(attributes._events, rows, codes[candidates], log.starts, codes[log.aid], counted)
    out |= {"means": mean, "events": counted}

    queries, encoded = random.choice(np.float32([-0.5, 0.5]), (3, 4)), np.zeros((len(candidates), 2), np.float32)
    call(encoder._encoder, rows, candidates, np.arange(n) % 4 - 1, queries, vectors, encoded)
    out["encoder"] = encoded

    own = np.zeros((len(candidates), 12), np.float32)
    call(
        session._history_of_candidates, rows, candidates, pointer, aid, counts, weights, newest, place, last_ts, own
    )  # fmt: skip
    out["session"] = own

    ranks = np.zeros((len(candidates), 6), np.float32)
    ranks[:, :3] = random.integers(-2, 12, (len(candidates), 3)).clip(0) - 1.0 * (random.random((len(candidates), 3)) < 0.1)
    call(rank._ranks, rows, ranks, np.array([2, 0, 1]), 3, int(sizes.max()), int(sizes.max()))
    out["rank"] = ranks

    trees, margins = some_trees(random, 12), np.empty(len(own), np.float32)
    own[::5, ::3] = np.nan
    call(
        forest._walk, np.array([0, len(own)]), margins, own, trees.columns, trees.thresholds, trees.missing, trees.leaves,
        trees.base,
    )  # fmt: skip
    out["margins"] = margins
    return out | weighted_popularity(call, log, item_events, type_weight) | one_matrix(call, log)


def weighted_popularity(call, log, item_events, type_weight) -> dict[str, np.ndarray]:
    weights, key = np.empty((len(log), 6)), log.aid * 3 + log.type
    call(popularity._weights, log.starts, log.aid, log.ts, log.type, item_events, type_weight, weights)
    pointer, table = pointers(np.bincount(key, minlength=3 * N_ITEMS)), np.ones((3 * N_ITEMS, 6))
    call(popularity._sums, pointer, weights[np.argsort(key, kind="stable")], np.arange(6), table)
    return {"weights": weights, "weighted": table}


# between them: every kind of gap, hole and duplicate
MATRIX_RULES = {
    "latest": {"gap_seconds": {"hi": 86400}, "weight": {"half_life_hours": 5, "recency": (1, 4)}},
    "closest": {"which": "closest", "once_per": "pair_and_type", "self_pairs": True, "weight": {"half_life_hours": 5}},
    "holes": {"gap_positions": {"lo": 2, "hi": 7}, "gap_seconds": {"lo": 60}, "weight": {"type_y": {"carts": 4}}},
    "every": {"once_per": None, "self_pairs": True, "right": ("carts", "orders"), "right_first_seen": True},
}


def one_matrix(call, log) -> dict[str, np.ndarray]:
    """The kernels of the engine `pairs`; every event stands left and right."""
    rule = MatrixRule(keep=9, **MATRIX_RULES["holes"])
    event, offsets = np.argsort(log.aid, kind="stable"), np.zeros(len(log) + 1, np.int64)
    runs = np.empty((len(log), 4), np.int32)
    place = np.arange(len(log) + 1, dtype=np.int32)
    call(partners.find_runs, offsets, event, log.session, log.starts, log.ts, place, *map(np.array, rule.gaps()), runs)
    out = {"runs": runs, "run lengths": offsets.copy()}
    left = log.aid[event], log.ts[event], log.session[event], runs
    chains, duplicates = sides.chains(log.session, log.aid), (True, False, False)
    call(partners.count_pairs, offsets, *left, log.aid, log.ts, *chains, *duplicates)
    out["pairs"] = offsets = pointers(offsets[1:])
    keys, weights = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.float32)
    call(
        partners.write_pairs, offsets, 0, *left, log.aid, log.ts, log.type, *chains, *duplicates,
        *sides.weighting(rule, log.types, int(np.ptp(log.ts))), keys, weights,
    )  # fmt: skip
    sums = np.empty(len(log))
    call(partners.add_up, offsets, np.arange(len(keys)), weights, sums)
    return out | {"keys": keys, "pair weights": weights, "sums": sums}


def matrices(device: Device) -> dict[str, np.ndarray]:
    """The engine `pairs`, whole, in one chunk and in several."""
    log, _ = a_log()
    found = {}
    for name, fields in MATRIX_RULES.items():
        for max_events in (1000, 40):
            matrix = pairs.build(log, MatrixRule(keep=9, **fields), device, 50, max_events)
            found |= {f"{name} {max_events} {f}": getattr(matrix, f) for f in ("pointer", "neighbours", "weights")}
    return found


def some_trees(random, columns: int, depth: int = 8) -> forest.Forest:
    """Leaves of sixteenths: sums are exact in any order."""
    inner = (3, 2**depth - 1)
    return forest.Forest(
        random.integers(0, columns, inner, np.int32), random.integers(-1, 9, inner).astype(np.float32),
        random.random(inner) < 0.5, random.integers(-99, 99, (3, 2**depth)).astype(np.float32) / 16, 0.5,
    )  # fmt: skip


class Trees:
    """A ranker whose models are (forest, names of its columns)."""

    columns_of = staticmethod(lambda model: model[1])

    @staticmethod
    def predict(model, rows, names, way):
        trees, mine = model
        return to_host(map_arrays(trees, arrays_of(rows).asarray).margins(rows, [names.index(name) for name in mine]))


def scored(features, names: tuple[str, ...], random) -> dict[str, np.ndarray]:
    """What forests say of features, in a cascade, out-of-fold and not."""

    def model(mine):
        return some_trees(random, len(mine), 6), mine

    first = {0: model(names[::7]), 1: model(names[3:9])}
    voice = "cascade_clicks_score"
    ensembles = {
        "clicks": Ensemble(names, (), None, {"one": first}),
        "orders": Ensemble((*names, voice), ("clicks",), None, {"one": {0: model((*names[5:8], voice))}}),
    }
    models, fold = Models({"one": Trees}, ensembles, "forest"), np.arange(len(features)) % 2
    every, mean = models.scores(features, fold), models.scores(features, None)
    return {f"{t} scores, {how}": found[t] for how, found in {"fold": every, "mean": mean}.items() for t in ensembles}


def some_items(log) -> Items:
    """Whole hours and eighths: differences and means of few are exact."""
    item = np.arange(N_ITEMS)
    times, words = log.span[0] - item * HOUR, (item / 8).astype(np.float32)
    times[::9], words[::5] = NO_TIME, np.nan
    return Items(N_ITEMS, {"category": (item % 4 - 1).astype(np.int32)}, {"words": words}, {"made": times})


def some_vectors(random) -> np.ndarray:
    """Entries of halves: products, and so what is close, are exact in any order."""
    vectors = random.choice(np.float32([-0.5, 0.5]), (N_ITEMS, 4))
    vectors[::7] = 0
    return vectors


def chain(device: Device) -> dict[str, np.ndarray]:
    """From a log's histories to candidates and all families of features, as the stages call it."""
    log, random = a_log()
    stack, types, of_events = a_stack(random), log.types, np.arange(len(log), dtype=np.int32)
    log = replace(log, context={"device": of_events % 4 - 1, "scroll": (of_events / 8).astype(np.float32)})
    sessions = np.array([0, 2, 3, 4, 7, 8, 10], np.int32)  # of the twelve
    mine = Histories.of(log, RECIPES, device).chunk(sessions)
    named = lookup.evaluate_recipes(mine, device.to_device(stack), RECIPES, types)
    popular = fuse.popular_items(log, RECIPES.popular_days, device)
    made = to_host(fuse.fuse(sessions, mine, named, popular, RECIPES, types))
    spoken = encoder.Encoder.of(random.choice(np.float32([-0.5, 0.5]), (7, 4)), some_vectors(random), sessions, log.n_sessions)
    vectors = {"some": some_vectors(random)}
    period_state = PeriodState.of(log, log, stack, RECIPES, vectors, spoken, device, some_items(log))
    maker = FeatureMaker(FeaturesConfig(families=(*FAMILIES, RANK)), period_state, made.sources, types, device)
    features, inputs = maker.make(made), fusion.CandidateFeatures(log, log, device).of(made)
    on = {type(array).__name__ for array in (mine.aid, features, inputs)}
    if len(on) != 1:
        raise AssertionError(f"not all of it lies in one place: {on}")
    return {
        "pointer": made.pointer, "aid": made.aid, "scores": made.scores, "ranks": made.ranks,
        "features": to_host(features), "inputs": to_host(inputs),
    } | scored(features, maker.catalogue.names, random) | matrices(device)  # fmt: skip


def main() -> None:
    if sys.argv[1] == "cpu":
        np.savez(sys.argv[2], **results(on_the_cpu), **chain(CPU))
        return
    from otto_gpu.device import arrays, kernel
    from tests.device import cupy_on_numpy

    made = results(as_cuda)
    cupy_on_numpy.install()
    arrays.PIECE = 64  # so that most arrays are brought home in several pieces
    kernel.MOST_WORKERS = WORKERS  # fewer than there are units of work, and threads take the simulator long
    popularity.SUMMED_AT_ONCE = 40  # several parts of the log
    np.savez(sys.argv[2], **made, **chain(Device("cuda", "numba's simulator")))


if __name__ == "__main__":
    main()
