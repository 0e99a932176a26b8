"""Every per-session body on one small log, on the CPU or as CUDA kernels; `python -m tests.cuda_bodies cuda OUT.npz`.

The same calls serve both sides: `each(body, scratch)` gives a launcher of the signature of otto_gpu.device.cuda_kernel's.
"""

import inspect
import sys

import numpy as np

from otto_gpu.candidates import fusion, keys, lookup
from otto_gpu.candidates.lookup import Histories, encode_lines
from otto_gpu.candidates.recipes import CandidatesConfig, Line, LongHistory, Recipe
from otto_gpu.device import cuda_kernel
from otto_gpu.features import embedding, encoder, interaction, popularity, rank, session, weightings
from otto_gpu.hashing import table_size
from tests.worlds import log_of, stack_of

WORKERS = 5  # fewer than there are sessions: every worker has several, and finds its scratch as it left it
N_ITEMS = 30
HOUR, DAY = 3_600_000, 86_400_000


def on_the_cpu(body, scratch=()):
    names = list(inspect.signature(getattr(body, "py_func", body)).parameters)[1:]

    def launch(sessions, workers, *arguments):
        for worker in range(workers):
            mine = [a[worker] if name in scratch else a for name, a in zip(names, arguments, strict=True)]
            for s in range(worker, sessions, workers):
                body(s, *mine)

    return launch


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


def results(each) -> dict[str, np.ndarray]:
    """What every body writes."""
    log, random = a_log()
    stack = a_stack(random)
    n, out = log.n_sessions, {}

    bits = np.zeros(len(log), np.uint8)
    each(keys.session_key_bits)(n, WORKERS, log.starts, log.aid, log.ts, log.type, np.array([False, True, True]), bits)
    out["bits"] = bits

    type_weight = np.array([1, 6, 3], np.float32)
    histories = Histories(log.starts, log.aid, log.ts, log.type, bits)
    names, lists = list(RECIPES.recipes), np.full((2, n, 6), -1, np.int32)
    evaluate = each(lookup.evaluate_session, ("items", "sums", "table", "keys"))
    for i, (name, recipe) in enumerate(RECIPES.recipes.items()):
        lines = encode_lines(recipe, stack, names)
        scratch = lookup.Scratch.of(lines, histories, lists, stack, WORKERS)
        aids, scores = np.full((n, recipe.size), -1, np.int32), np.zeros((n, recipe.size), np.float32)
        long = recipe.long_history
        evaluate(
            n, WORKERS, log.starts, log.aid, log.ts, log.type, bits, lines, lists, stack.pointer, stack.neighbours,
            stack.weights, type_weight, 2 if i == 0 else 0, long.items if long else lookup.UNBOUNDED,
            long.oldest if long else 0.0, long.line_share if long else 1.0,
            scratch.items, scratch.sums, scratch.table, scratch.keys, aids, scores,
        )  # fmt: skip
        if i == 0:
            lists[0] = aids
        out |= {f"{name} aids": aids, f"{name} scores": scores, f"{name} table": scratch.table}

    pointer = np.concatenate([[0], np.cumsum((bits & keys.ALL) > 0)]).astype(np.int64)[log.starts]
    n_entries, item_events = int(pointer[-1]), np.bincount(log.aid, minlength=N_ITEMS)
    aid, weights = np.empty(n_entries, np.int32), np.zeros((n_entries, 6), np.float32)
    counts, newest = np.zeros((n_entries, 3), np.int16), np.empty(n_entries, np.int64)
    place = np.empty(n_entries, np.int16)
    each(weightings.session_items, ("one",))(
        n, WORKERS, log.starts, log.aid, log.ts, log.type, bits, item_events, type_weight, pointer, aid, weights, counts,
        newest, place, np.empty((WORKERS, 6)),
    )  # fmt: skip
    out |= {"item aid": aid, "item weights": weights, "item counts": counts, "item newest": newest, "item place": place}

    sizes = random.integers(0, 29, n)
    rows = np.concatenate([[0], np.cumsum(sizes)])
    candidates = np.concatenate([random.choice(N_ITEMS, size, replace=False) for size in sizes]).astype(np.int32)
    table = np.full((WORKERS, table_size(int(sizes.max()))), -1, np.int32)
    features = np.zeros((len(candidates), 2 * 6 * 3), np.float32)
    each(interaction.session_interactions, ("table",))(
        n, WORKERS, rows, candidates, pointer, aid, weights, np.array([1, 0]), stack.pointer, stack.neighbours, stack.weights,
        table, features,
    )  # fmt: skip
    out |= {"interactions": features, "interactions table": table}

    known = popularity.Popularity.of(log, log, item_events, type_weight)
    last_ts, windows = log.ts[log.starts[1:] - 1], np.array(list(popularity.WINDOWS.values()))
    popular = np.zeros((len(candidates), 14), np.float32)
    each(popularity.session_popularity, ("totals",))(
        n, WORKERS, rows, candidates, last_ts, known.times, known.pointer, known.type_times, known.type_pointer, windows,
        np.empty((WORKERS, 3, 3), np.int64), popular,
    )  # fmt: skip
    out["popularity"] = popular

    wanted = np.zeros((len(candidates), 4), np.float32)
    until = np.array([HOUR, DAY])
    each(fusion.session_wanted_until)(n, WORKERS, rows, candidates, last_ts, known.pointer, known.times, until, wanted)
    out["wanted"] = wanted

    # entries of halves: products, and so what is close, are exact in any order
    vectors = random.choice(np.float32([-0.5, 0.5]), (N_ITEMS, 4))
    vectors[::7] = 0
    near = np.zeros((len(candidates), embedding.WIDTH), np.float32)
    each(embedding.session_embeddings, ("cosines",))(
        n, WORKERS, rows, candidates, pointer, aid, weights, newest, last_ts, vectors,
        np.empty((WORKERS, int(np.diff(pointer).max())), np.float32), near,
    )  # fmt: skip
    out["embedding"] = near

    queries, encoded = random.choice(np.float32([-0.5, 0.5]), (3, 4)), np.zeros((len(candidates), 2), np.float32)
    each(encoder.session_encoder)(n, WORKERS, rows, candidates, np.arange(n) % 4 - 1, queries, vectors, encoded)
    out["encoder"] = encoded

    own = np.zeros((len(candidates), 12), np.float32)
    each(session.session_history_of_candidates)(
        n, WORKERS, rows, candidates, pointer, aid, counts, weights, newest, place, last_ts, own
    )
    out["session"] = own

    ranks = np.zeros((len(candidates), 6), np.float32)
    ranks[:, :3] = random.integers(-2, 12, (len(candidates), 3)).clip(0) - 1.0 * (random.random((len(candidates), 3)) < 0.1)
    each(rank.session_ranks, ("scratch",))(
        n, WORKERS, rows, ranks, np.array([2, 0, 1]), 3, np.empty((WORKERS, rank.AT_ONCE + 1, int(sizes.max())), np.float32)
    )
    out["rank"] = ranks
    return out


if __name__ == "__main__":
    np.savez(sys.argv[2], **results(cuda_kernel if sys.argv[1] == "cuda" else on_the_cpu))
