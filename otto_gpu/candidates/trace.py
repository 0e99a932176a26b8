"""Why a recipe names an item: the recipe done again for one session, slowly, with everything that was added up kept apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from otto_gpu.candidates.keys import ALL, BITS
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.recipes import Line, Recipe
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.cooccurrence.matrix import MatrixStack


@dataclass(frozen=True)
class Part:
    """What a line of a recipe gives to an item. key: the item that asked, dense id; matrix: None where the key itself gains;
    place: where the item stands among the key's neighbours, from 0; gain: what it adds to the recipe's score."""

    key: int
    matrix: str | None
    place: int
    gain: float


Parts = dict[int, list[Part]]  # by item


def trace(history: Histories, stack: MatrixStack, config: CandidatesConfig, types) -> dict[str, Parts]:
    """{recipe: {item: its parts}} of one session, items in the order of first mention. history, stack: on the host."""
    lists: dict[str, list[int]] = {}
    found: dict[str, Parts] = {}
    for name, recipe in config.recipes.items():
        found[name] = _traced(recipe, history, stack, lists, config.type_weights, types)
        lists[name] = _best(found[name], recipe, _keys("all", history))
    return found


def _traced(recipe: Recipe, history: Histories, stack: MatrixStack, lists, type_weights: Mapping[str, float], types) -> Parts:
    own, long = _keys("all", history), recipe.long_history
    parts: Parts = {aid: [] for aid in own}
    share, events = 1.0, len(history.aid)
    if long is not None and len(own) >= long.items:
        share = float(np.float32(long.line_share))
        for i, (aid, kind) in enumerate(zip(history.aid.tolist(), history.type.tolist(), strict=True)):
            age = long.oldest + (1 - long.oldest) * i / max(events - 1, 1)
            weight = float(np.float32(type_weights.get(types[kind], 1.0)))
            parts[aid].append(Part(aid, None, 0, (2.0**age - 1) * weight))
    for line in recipe.lines:
        keys, faded = _keys_of(line, recipe, history, own, parts, lists), 1.0
        for i, key in enumerate(keys):
            share_of_key = line.fade + (1 - line.fade) * (len(keys) - i) / len(keys) if line.decay is None else faded
            faded *= line.decay or 1
            gain = line.weight * share_of_key - line.step * i
            gain = max(gain, line.floor) * share / (len(keys) if line.per_key else 1)
            if gain <= 0:
                continue
            if line.matrix is None:
                parts.setdefault(key, []).append(Part(key, None, 0, gain))
                continue
            row = stack.pointer[stack.index(line.matrix), key : key + 2]
            near = slice(row[0], min(row[1], row[0] + line.depth))
            for j, (aid, weight) in enumerate(zip(stack.neighbours[near].tolist(), stack.weights[near].tolist(), strict=True)):
                more = gain * max(1 - line.neighbour_step * j, line.neighbour_floor)
                if more <= 0:
                    break
                more *= (2 if j < line.head else 1) * (weight if line.use == "weight" else 1) * _boost(line, stack, key, aid)
                if more > 0:
                    parts.setdefault(aid, []).append(Part(key, line.matrix, j, more))
    return parts


def _boost(line: Line, stack: MatrixStack, x: int, y: int) -> float:
    """What the second matrix makes of a gain."""
    if line.boost is None:
        return 1.0
    both = 0.0
    for one, other in ((x, y), (y, x)):
        row = slice(*stack.pointer[stack.index(line.boost.matrix), one : one + 2])
        both += float(stack.weights[row][stack.neighbours[row] == other].sum())
    return 1 + line.boost.weight * both


def _keys_of(line: Line, recipe: Recipe, history: Histories, own: list[int], parts: Parts, lists) -> list[int]:
    if line.keys == "top":
        keys = lists[line.recipe]
    elif line.keys == "running":
        keys = [aid for aid in _by_score(parts) if recipe.history != "left_out" or aid not in own]
    else:
        keys = _keys(line.keys, history, line.hours)
    return keys[: line.last]


def _keys(kind: str, history: Histories, hours: float | None = None) -> list[int]:
    """Newest first."""
    chosen = (history.bits & BITS.get(kind, ALL)) != 0
    if hours:
        chosen &= history.ts >= history.ts[-1] - int(hours * 3_600_000)
    return history.aid[chosen][::-1].tolist()


def _by_score(parts: Parts) -> list[int]:
    """Highest first, ties by first mention. Added up in float32, as the kernel does, for the same ties."""
    sums = {aid: _sum(gains) for aid, gains in parts.items()}
    return sorted(sums, key=lambda aid: -sums[aid])


def _sum(parts: list[Part]) -> np.float32:
    total = np.float32(0)
    for part in parts:
        total += np.float32(part.gain)
    return total


def _best(parts: Parts, recipe: Recipe, own: list[int]) -> list[int]:
    """The recipe's list."""
    ranked = _by_score(parts)
    long = recipe.long_history is not None and len(own) >= recipe.long_history.items
    if recipe.history == "left_out":
        ranked = [aid for aid in ranked if aid not in own]
    elif recipe.history == "first" and not long:
        ranked = own + [aid for aid in ranked if aid not in own]
    return ranked[: recipe.size]
