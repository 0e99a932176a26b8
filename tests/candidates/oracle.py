"""Keys and recipes by the book (RULES.md and the docstring of `Line`): dicts, lists and one session at a time.

Sums are kept in float32 in the order of mention, as the kernels keep them, so that ties are the same ties.
"""

import numpy as np

DAY = 86_400_000


def keys(kind: str, events, bought=("carts", "orders"), hours=None) -> list[int]:
    """The items of the events (aid, ts, type; oldest first) that stand for a kind of key: newest first, no repeats."""
    days = {}
    for event in events:
        days.setdefault(event[1] // DAY, []).append(event)
    if kind == "bought":
        chosen = [e for e in events if e[2] in bought]
    elif kind == "last_of_each_day":
        chosen = [of_day[-1] for of_day in days.values()]
    elif kind == "first_of_each_day":
        chosen = [of_day[0] for of_day in days.values()]
    elif kind == "last_day":
        chosen = days[max(days)]
    elif kind == "only":
        chosen = events if len({e[0] for e in events}) == 1 else []
    else:
        chosen = events
    if hours is not None:
        chosen = [e for e in chosen if e[1] >= events[-1][1] - int(hours * 3_600_000)]
    return list(dict.fromkeys(e[0] for e in reversed(chosen)))


def single(value) -> float:
    return float(np.float32(value))


def recipe_list(events, recipe, rows, lists, type_weights, bought=("carts", "orders"), weight=None) -> list[tuple[int, float]]:
    """What a recipe names, [(item, score)]. rows: {matrix: {item: neighbours}}; lists: {recipe: items} of those above it;
    weight(item, neighbour): of every row that keeps the neighbour."""
    history = keys("all", events)
    score = dict.fromkeys(history, np.float32(0))  # in the order of first mention
    long = recipe.long_history
    is_long = long is not None and len(history) >= long.items
    share = single(long.line_share) if is_long else 1.0
    if is_long:
        for i, (aid, _, kind) in enumerate(events):
            age = long.oldest + (1 - long.oldest) * i / max(len(events) - 1, 1)
            score[aid] += np.float32((2.0**age - 1) * single(type_weights.get(kind, 1.0)))

    def by_score():
        named = [x for x in score if not (recipe.history == "left_out" and x in history)]
        return sorted(named, key=lambda x: -score[x])  # stable: ties by first mention

    for line in recipe.lines:
        if line.keys == "top":
            mine = lists[line.recipe]
        elif line.keys == "running":
            mine = by_score()
        else:
            mine = keys(line.keys, events, bought, line.hours)
        mine = mine[: line.last]
        n = len(mine)
        for i, key in enumerate(mine):
            first = single(line.weight)
            if line.decay is None:
                gain = first * (single(line.fade) + (1 - single(line.fade)) * (n - i) / n)
            else:
                power = 1.0
                for _ in range(i):
                    power *= single(line.decay)
                gain = first * power
            gain -= single(line.step) * i
            gain = max(gain, single(line.floor)) * share
            if line.per_key:
                gain /= n
            if line.matrix is None:
                parts = [(key, gain)]
            else:
                parts = []
                for j, neighbour in enumerate(rows[line.matrix].get(key, [])[: line.depth]):
                    part = gain * max(1 - single(line.neighbour_step) * j, single(line.neighbour_floor))
                    if j < line.head:
                        part *= 2
                    if line.use == "weight":
                        part *= weight(key, neighbour)
                    if line.boost:
                        second = rows[line.boost.matrix]
                        pairs = [(a, b) for a, b in ((key, neighbour), (neighbour, key)) if b in second.get(a, [])]
                        part *= 1 + single(line.boost.weight) * sum(weight(a, b) for a, b in pairs)
                    parts.append((neighbour, part))
            for item, part in parts:
                if part > 0:  # what gains nothing is not named
                    score[item] = score.get(item, np.float32(0)) + np.float32(part)
    order = by_score()
    if recipe.history == "first" and not is_long:
        order = history + [x for x in order if x not in history]
    return [(x, float(score[x])) for x in order[: recipe.size]]


def all_lists(events, config, rows, weight=None) -> dict[str, list[tuple[int, float]]]:
    named, lists = {}, {}
    for name, recipe in config.recipes.items():
        named[name] = recipe_list(events, recipe, rows, lists, config.type_weights, config.bought, weight)
        lists[name] = [x for x, _ in named[name]]
    return named
