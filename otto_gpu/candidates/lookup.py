"""A recipe evaluated for all sessions at once: a kernel in which one worker owns one session at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numba import njit, prange

from otto_gpu.candidates.keys import ALL, BITS, key_bits
from otto_gpu.candidates.recipes import Recipe
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.device import CPU, Device, kernel
from otto_gpu.device.arrays import arrays_of, longest, on_device, pointers, spread, to_host
from otto_gpu.device.hashing import first_slot, table_size
from otto_gpu.device.kernel import Kernel
from otto_gpu.events.log import EventLog

TOP, RUNNING = 64, 128
WHOLE = ("keys", "matrix", "depth", "last", "top", "head", "per_key", "by_weight", "boost")
REAL = ("weight", "fade", "decay", "step", "floor", "neighbour_step", "neighbour_floor", "boost_weight")
LINE = np.dtype(
    [(name, np.int32) for name in WHOLE] + [("window", np.int64)] + [(name, np.float32) for name in REAL],
    align=True,  # CUDA reads no field that is not
)
LINEAR = -1.0  # the decay of a line that fades linearly
UNBOUNDED = np.iinfo(np.int32).max
FOREVER = np.iinfo(np.int64).max // 4


@dataclass(frozen=True)
class Histories:
    """The histories of some sessions, numbered from 0: starts int64 [S + 1], aid int32, ts int64, type int8 and the
    key bits uint8 per event; context: by name, what the log says of every session's last event, int32 [S] codes (-1: unknown)
    or float32 [S] numbers (nan: unknown)."""

    starts: np.ndarray
    aid: np.ndarray
    ts: np.ndarray
    type: np.ndarray
    bits: np.ndarray
    context: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of(cls, log: EventLog, config: CandidatesConfig, device: Device = CPU) -> Histories:
        """All sessions of a log (those without events too), where the device computes; of each its newest events."""
        log = log.newest(config.most_events)
        bought, context = np.array([t in config.bought for t in log.types]), device.to_device(_last_context(log))
        log = log.on(device)
        return cls(log.starts, log.aid, log.ts, log.type, key_bits(log, bought), context)

    def chunk(self, sessions: np.ndarray) -> Histories:
        """The given sessions (ids, in any order), where these histories lie; sessions: there, or on the host."""
        xp = arrays_of(self.starts)
        sessions = xp.asarray(sessions)
        first = self.starts[sessions]
        starts = pointers(self.starts[sessions + 1] - first)
        event = spread(first - starts[:-1], starts) + xp.arange(int(starts[-1]))
        context = {name: values[sessions] for name, values in self.context.items()}
        return Histories(starts, self.aid[event], self.ts[event], self.type[event], self.bits[event], context)


def _last_context(log: EventLog) -> dict[str, np.ndarray]:
    there = np.flatnonzero(np.diff(log.starts))
    found = {}
    for name, values in log.context.items():
        found[name] = np.full(log.n_sessions, -1 if values.dtype.kind == "i" else np.nan, values.dtype)
        found[name][there] = values[log.starts[there + 1] - 1]
    return found


def evaluate_recipes(histories: Histories, stack: MatrixStack, config: CandidatesConfig, types) -> dict[str, tuple]:
    """{recipe: (aids int32 [S, size] padded with -1, scores float32 [S, size])}, best first; ties in the order of first
    mention: newest key first, nearest neighbour first. Worked out, and left, where histories and stack lie.
    """
    if not on_device(histories.aid):
        return _evaluate_all(histories, stack, config, types)
    found = {name: _empty_lists(histories, recipe) for name, recipe in config.recipes.items()}
    for some in _alike(histories, stack, config):
        for name, lists in _evaluate_all(histories.chunk(some), stack, config, types).items():
            for whole, part in zip(found[name], lists, strict=True):
                whole[some] = part
    return found


def _alike(histories: Histories, stack: MatrixStack, config: CandidatesConfig) -> Iterator:
    """Sessions (int64, on the device), the longest first, at a time as many as there is scratch for.

    A launch lasts as long as its longest session, a warp as long as its own longest one, and scratch is sized for that of the
    launch: so those go together that are alike.
    """
    lengths = np.diff(histories.starts)
    order = np.argsort(-lengths, kind="stable")
    lengths, names, first = to_host(lengths[order]), list(config.recipes), 0
    recipes = [(encode_lines(r, stack, names), _width(r, config)) for r in config.recipes.values()]
    n_items = stack.pointer.shape[1] - 1
    least = kernel.MOST_WORKERS >> 6  # where memory is short, threads do several sessions each: launches have their price too
    while first < len(order):
        rooms = [room(lines, max(int(lengths[first]), 1), width, n_items) for lines, width in recipes]
        last = first + max(min(_recipe.most_workers(**_scratch(*r)) for r in rooms), least)
        yield order[first:last]
        first = last


def _evaluate_all(histories: Histories, stack: MatrixStack, config: CandidatesConfig, types) -> dict[str, tuple]:
    xp = arrays_of(histories.aid)
    results: dict[str, tuple] = {}
    type_weight = np.array([config.type_weights.get(t, 1.0) for t in types], np.float32)
    names = list(config.recipes)
    for name, recipe in config.recipes.items():
        # every recipe hands its list on; one array [recipes so far, S, widest] serves the look-ups of `top`
        used = _used(recipe)
        tops = xp.full((len(names) if used else 1, len(histories) if used else 1, _width(recipe, config)), -1, np.int32)
        for r in used:
            tops[names.index(r), :, : results[r][0].shape[1]] = results[r][0]
        results[name] = _evaluate(histories, stack, recipe, names, tops, type_weight)
    return results


def _used(recipe: Recipe) -> set[str]:
    """The recipes whose lists its lines look up."""
    return {line.recipe for line in recipe.lines if line.recipe}


def _width(recipe: Recipe, config: CandidatesConfig) -> int:
    """The length of the longest of these lists."""
    return max((config.recipes[r].size for r in _used(recipe)), default=1)


def _empty_lists(histories: Histories, recipe: Recipe) -> tuple:
    xp, shape = arrays_of(histories.aid), (len(histories), recipe.size)
    return xp.full(shape, -1, np.int32), xp.zeros(shape, np.float32)


def _evaluate(histories: Histories, stack: MatrixStack, recipe: Recipe, names, tops, type_weight):
    aids, scores = _empty_lists(histories, recipe)
    if not len(histories):
        return aids, scores
    lines, long = encode_lines(recipe, stack, names), recipe.long_history
    scratch = _scratch(*room(lines, longest(histories.starts), tops.shape[2], stack.pointer.shape[1] - 1))
    _recipe(
        histories.starts, histories.aid, histories.ts, histories.type, histories.bits, lines, tops,
        stack.pointer, stack.neighbours, stack.weights, type_weight,
        {"first": 0, "scored": 1, "left_out": 2}[recipe.history],
        UNBOUNDED if long is None else long.items,
        0.0 if long is None else long.oldest,
        1.0 if long is None else long.line_share,
        *(scratch[name] for name in SCRATCH), aids, scores,
    )  # fmt: skip
    return aids, scores


def encode_lines(recipe: Recipe, stack: MatrixStack, names: list[str]) -> np.ndarray:
    """LINE [lines]; depth is at most the longest row of the line's matrix."""
    rows = []
    for line in recipe.lines:
        rows.append(
            (
                {"top": TOP, "running": RUNNING}.get(line.keys) or BITS[line.keys],
                -1 if line.matrix is None else stack.index(line.matrix),
                1 if line.matrix is None else min(line.depth, int(stack.deepest[stack.index(line.matrix)])),
                line.last or UNBOUNDED,
                names.index(line.recipe) if line.recipe else 0,
                line.head,
                line.per_key,
                line.use == "weight",
                stack.index(line.boost.matrix) if line.boost else -1,
                int(line.hours * 3_600_000) if line.hours else FOREVER,
                line.weight,
                line.fade,
                LINEAR if line.decay is None else line.decay,
                line.step,
                line.floor,
                line.neighbour_step,
                line.neighbour_floor,
                line.boost.weight if line.boost else 0.0,
            )
        )
    return np.array(rows, LINE)


def room(lines: np.ndarray, longest: int, width: int, n_items: int) -> tuple[int, int]:
    """(items that a session may touch, keys that a line may have). longest: events of the longest history; width: the length
    of the longest list that `top` looks up."""
    most = {TOP: width, RUNNING: n_items}
    keys = [min(int(line["last"]), most.get(int(line["keys"]), longest)) for line in lines]
    touched = min(longest + sum(k * int(line["depth"]) for k, line in zip(keys, lines, strict=True)), n_items) + 1
    return touched, max(keys)


def _scratch(touched: int, keys: int) -> dict[str, int]:
    """How long a worker's is."""
    return {"items": touched, "sums": touched, "table": table_size(touched), "keys": keys}


@njit(cache=True)
def touch(aid, items, table, mask, n):
    """(place of the item among the touched ones, how many are touched now)."""
    slot = first_slot(aid, mask)
    while table[slot] >= 0:
        if items[table[slot]] == aid:
            return table[slot], n
        slot = (slot + 1) & mask
    table[slot] = n
    items[n] = aid
    return n, n + 1


@njit(cache=True)
def _best(sums, n, after):
    """The best place, strictly after the place `after` in the order (score descending, first touched first)."""
    best = -1
    for i in range(n):
        if after >= 0 and (sums[i] > sums[after] or (sums[i] == sums[after] and i <= after)):
            continue
        if best < 0 or sums[i] > sums[best]:
            best = i
    return best


@njit(cache=True)
def _entry(matrix, x, y, pointer, neighbours, weights):
    """The weight of y in x's row of a matrix, 0 where the row does not keep it."""
    for e in range(pointer[matrix, x], pointer[matrix, x + 1]):
        if neighbours[e] == y:
            return weights[e]
    return np.float32(0)


@njit(cache=True)
def evaluate_session(
    s, starts, aid, ts, kind, bits, lines, tops, pointer, neighbours, weights, type_weight, history, long_items, oldest,
    line_share, items, sums, table, keys, out_aids, out_scores,
):  # fmt: skip
    """The body for one session (CPU and CUDA). items, sums, table (all -1), keys: scratch of the worker."""
    begin, end = starts[s], starts[s + 1]
    if begin == end:
        return
    # a table as small as the session allows stays in the caches
    bound = end - begin
    for number in range(len(lines)):
        many = end - begin
        if lines[number].keys == TOP:
            many = tops.shape[2]
        elif lines[number].keys == RUNNING:
            many = len(keys)
        bound += min(many, lines[number].last) * lines[number].depth
    mask = 15
    while mask + 1 < 2 * bound and mask + 1 < len(table):
        mask = 2 * mask + 1
    known = 0
    for i in range(end - 1, begin - 1, -1):
        if bits[i] & ALL:
            place, known = touch(aid[i], items, table, mask, known)
            sums[place] = 0
    n = known
    share = np.float32(1)
    if known >= long_items:
        share = np.float32(line_share)
        for i in range(begin, end):
            age = oldest + (1 - oldest) * (i - begin) / max(end - begin - 1, 1)
            place, n = touch(aid[i], items, table, mask, n)
            sums[place] += np.float32((2.0**age - 1) * type_weight[kind[i]])
    for number in range(len(lines)):
        line = lines[number]
        m = 0
        if line.keys == TOP:
            while m < min(line.last, tops.shape[2]) and tops[line.top, s, m] >= 0:
                keys[m] = tops[line.top, s, m]
                m += 1
        elif line.keys == RUNNING:
            place = -1
            while m < min(line.last, len(keys)):
                place = _best(sums, n, place)
                if place < 0:
                    break
                if history == 2 and place < known:
                    continue
                keys[m] = items[place]
                m += 1
        else:
            i = end - 1
            while i >= begin and m < line.last and ts[i] >= ts[end - 1] - line.window:
                if bits[i] & line.keys:
                    keys[m] = aid[i]
                    m += 1
                i -= 1
        faded = 1.0
        for i in range(m):
            if line.decay < 0:
                gain = line.weight * (line.fade + (1 - line.fade) * (m - i) / m) - line.step * i
            else:
                gain = line.weight * faded - line.step * i
                faded *= line.decay
            gain = max(gain, line.floor) * share
            if line.per_key:
                gain /= m
            if gain <= 0:
                continue
            if line.matrix < 0:
                place, more = touch(keys[i], items, table, mask, n)
                if more > n:
                    sums[place] = 0
                    n = more
                sums[place] += np.float32(gain)
                continue
            first = pointer[line.matrix, keys[i]]
            for j in range(min(pointer[line.matrix, keys[i] + 1] - first, line.depth)):
                more_weight = gain * max(1 - line.neighbour_step * j, line.neighbour_floor)
                if more_weight <= 0:
                    break
                if j < line.head:
                    more_weight *= 2
                if line.by_weight:
                    more_weight *= weights[first + j]
                if line.boost >= 0:
                    both = _entry(line.boost, keys[i], neighbours[first + j], pointer, neighbours, weights)
                    both += _entry(line.boost, neighbours[first + j], keys[i], pointer, neighbours, weights)
                    more_weight *= 1 + line.boost_weight * both
                if more_weight <= 0:  # a weight of nothing
                    continue
                place, more = touch(neighbours[first + j], items, table, mask, n)
                if more > n:
                    sums[place] = 0
                    n = more
                sums[place] += np.float32(more_weight)
    _write_best(items, sums, known, n, history if known < long_items or history == 2 else 1, out_aids[s], out_scores[s])
    for i in range(n):  # leave the table as it was found
        slot = first_slot(items[i], mask)
        while table[slot] >= 0:
            table[slot] = -1
            slot = (slot + 1) & mask


@njit(cache=True)
def _write_best(items, sums, known, n, history, aids, scores):
    """history: 0 its items come first, newest first; 1 by score among the others; 2 left out."""
    fixed = 0
    if history == 0:
        fixed = min(known, len(aids))
        for i in range(fixed):
            aids[i], scores[i] = items[i], sums[i]
    size = fixed
    for i in range(0 if history == 1 else known, n):
        if size == len(aids):
            if size == fixed or sums[i] <= scores[size - 1]:
                continue
            size -= 1
        p = size
        while p > fixed and scores[p - 1] < sums[i]:
            scores[p], aids[p] = scores[p - 1], aids[p - 1]
            p -= 1
        scores[p], aids[p] = sums[i], items[i]
        size += 1


@njit(parallel=True, cache=True)
def _every_session(
    starts, aid, ts, kind, bits, lines, tops, pointer, neighbours, weights, type_weight, history, long_items, oldest,
    line_share, items, sums, table, keys, out_aids, out_scores,
):  # fmt: skip
    workers = len(table)
    for w in prange(workers):
        for s in range(w, len(starts) - 1, workers):
            evaluate_session(
                s, starts, aid, ts, kind, bits, lines, tops, pointer, neighbours, weights, type_weight, history, long_items,
                oldest, line_share, items[w], sums[w], table[w], keys[w], out_aids, out_scores,
            )  # fmt: skip


# the touched items and their sums, the hash table, a line's keys
SCRATCH = {"items": (np.int32, None), "sums": (np.float32, None), "table": (np.int32, -1), "keys": (np.int32, None)}
_recipe = Kernel(_every_session, evaluate_session, SCRATCH)
