"""Co-occurrence by the book: every step of otto_gpu/cooccurrence/rule.py as an obvious loop over events, in float64."""

from collections import defaultdict

from otto_gpu.cooccurrence.rule import DAY_MS


def oracle(log, rule, most_events=None) -> dict[int, list[tuple[int, float]]]:
    """{aid_x: [(aid_y, weight), ...]}: all neighbours, not only the `keep` heaviest; by weight descending, then aid."""
    if not len(log):
        return {}
    first_ts, last_ts = int(log.ts.min()), int(log.ts.max())
    left, right = (set(rule.codes(side, log.types)) for side in ("left", "right"))
    sums = defaultdict(lambda: defaultdict(float))
    for events in sessions(log):
        # 0. the newest events of a long session
        events = events if most_events is None else events[-most_events:]
        for x, y in session_pairs(events, rule, left, right, last_ts):
            sums[x.aid][y.aid] += weight(x, y, rule, log.types, first_ts, last_ts)
    return {x: sorted(row.items(), key=lambda item: (-item[1], item[0])) for x, row in sums.items()}


class Event:
    def __init__(self, aid, ts, type):
        self.aid, self.ts, self.type, self.position = aid, ts, type, None


def sessions(log):
    events = defaultdict(list)
    for session, aid, ts, type in zip(log.session.tolist(), log.aid.tolist(), log.ts.tolist(), log.type.tolist(), strict=True):
        events[session].append(Event(aid, ts, type))
    return events.values()


def session_pairs(events, rule, left, right, last_ts):
    # 1. events
    began = events[0].ts
    if rule.new_sessions_days is not None and began < last_ts - rule.new_sessions_days * DAY_MS:
        return []
    if rule.since_days is not None:
        events = [e for e in events if e.ts >= last_ts - rule.since_days * DAY_MS]
    if left == right:
        events = [e for e in events if e.type in left]
    if rule.tail is not None:
        events = events[-rule.tail :]
    for position, event in enumerate(events):
        event.position = position
    # 2. x and y
    xs = [e for e in events if e.type in left and (e.position == 0 or not rule.left_first)]
    seen = set()
    ys = []
    for e in events:
        if e.type in right and not (rule.right_first_seen and e.aid in seen):
            ys.append(e)
        seen.add(e.aid)
    # 3. pairs
    pairs = [(x, y) for x in xs for y in ys if x is not y and (rule.self_pairs or x.aid != y.aid) and within_gaps(x, y, rule)]
    # 4. duplicates: of each group the pair that comes last in this order
    if rule.once_per is None:
        return pairs
    chosen = {}
    for x, y in pairs:
        group = (x.aid, y.aid) if rule.once_per == "pair" else (x.aid, y.aid, y.type)
        if group not in chosen or preference(x, y, rule) > preference(*chosen[group], rule):
            chosen[group] = (x, y)
    return chosen.values()


def preference(x, y, rule):
    latest = (x.position, y.position)
    return (-abs(y.ts - x.ts), *latest) if rule.which == "closest" else latest


def within_gaps(x, y, rule) -> bool:
    if rule.gap_positions is not None:
        gap = y.position - x.position
        if not rule.gap_positions.lo <= (abs(gap) if rule.gap_positions.abs else gap) <= rule.gap_positions.hi:
            return False
    if rule.gap_seconds is not None:
        gap = (y.ts - x.ts) / 1000
        if rule.gap_seconds.abs:
            gap = abs(gap)
        elif gap < 0:
            return False
        if rule.gap_seconds.lo is not None and not gap > rule.gap_seconds.lo:
            return False
        if rule.gap_seconds.hi is not None and not gap < rule.gap_seconds.hi:
            return False
    return True


def weight(x, y, rule, types, first_ts, last_ts) -> float:
    result = 1.0
    if rule.weight.half_life_hours is not None:
        result *= 0.5 ** (abs(y.ts - x.ts) / 3_600_000 / rule.weight.half_life_hours)
    if rule.weight.recency is not None:
        a, b = rule.weight.recency
        result *= a + (b - a) * (x.ts - first_ts) / max(last_ts - first_ts, 1)
    if rule.weight.type_y is not None:
        result *= rule.weight.type_y.get(types[y.type], 1.0)
    return result
