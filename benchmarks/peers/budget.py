"""How long SASRec may train: work is counted, not timed, so that a run is the same on every machine.

The unit is one place of a (padded) sequence against one item: about 35 ns of a core, forward and back, with 64 factors. What a
place costs besides is that of about 1000 items (softmax); against a few negatives, which are gathered from memory, a
place costs about 36 units each. 1.75e10 units are about 5 minutes on 2 cores.
"""

from __future__ import annotations

import numpy as np

from benchmarks.peers.split import Split

PLACE, NEGATIVE = 1000, 36


def plan(
    split: Split, recent: np.ndarray, places: int, negatives: int, budget: float, most_epochs: int, least_epochs: int
) -> tuple[str, int, int]:
    """(loss, how many of the recent sessions, epochs): the whole softmax where the budget allows least_epochs over them all,
    else the sampled one; as many epochs over all as it allows, at most most_epochs; where it allows fewer than
    least_epochs, these over fewer sessions.

    recent: int64, places in split.known_sessions, newest first; places: the length of a sequence.
    """
    whole = len(recent) * places * (len(np.unique(split.aid[split.events_of(recent)])) + PLACE)
    if least_epochs * whole <= budget:
        return "softmax", len(recent), int(min(budget // whole, most_epochs))
    one = places * NEGATIVE * (negatives + 1)  # epoch of one session
    epochs = int(min(budget // (one * len(recent)), most_epochs))
    if epochs >= least_epochs:
        return "sampled_softmax", len(recent), epochs
    return "sampled_softmax", max(int(budget // (one * least_epochs)), 1), least_epochs
