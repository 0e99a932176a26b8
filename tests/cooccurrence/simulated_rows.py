"""The engine `rows` in numba's simulator, on random logs and rules: `python -m tests.cooccurrence.simulated_rows OUT.npz`.

Its tables are so small that rows overflow every one of them, and are sorted through more numbers than there is room for.
"""

import os
import sys

import numpy as np
from hypothesis import HealthCheck, assume, example, given, settings

from otto_gpu.cooccurrence import row_kernel, rows
from otto_gpu.cooccurrence.rule import RULES, MatrixRule, PairWeight, TimeGap
from otto_gpu.device import Device, arrays
from otto_gpu.events.log import EventLog
from tests.cooccurrence.compare import assert_follows, assert_well_formed
from tests.cooccurrence.oracle import oracle
from tests.cooccurrence.strategies import DECAY, SESSION_OF_ALL, log_of, logs, rules
from tests.device import cupy_on_numpy

EXAMPLES = int(os.environ.get("OTTO_FUZZ", 100)) // 2  # the simulator is slow; many more in `make trust`
SIMULATED = Device("cuda", "numba's simulator")
plain = row_kernel.compiled
launches: dict[tuple[int, int], int] = {}  # by slots in shared memory, and of tables in global memory


def counted(slots: int, room: int):
    """row_kernel.compiled, whose launches are counted."""
    kernel = plain(slots, room)

    class Counted:
        def __getitem__(self, configuration):
            def launch(queue, *arguments):
                tables = arguments[19]
                launches[slots, tables.shape[1]] = launches.get((slots, tables.shape[1]), 0) + len(queue)
                kernel[configuration](queue, *arguments)

            return launch

    return Counted()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(log=logs, rule=rules())
@example(log=SESSION_OF_ALL, rule=MatrixRule(gap_seconds=TimeGap(lo=60), keep=9))
@example(log=SESSION_OF_ALL, rule=MatrixRule(right=("carts", "orders"), self_pairs=True, weight=DECAY, keep=9))
@example(log=SESSION_OF_ALL, rule=MatrixRule(once_per=None, self_pairs=True, weight=DECAY, keep=2))
@example(log=log_of((0, 1, 0, "clicks"), (0, 2, 50 * 86_400, "carts")), rule=MatrixRule(keep=1))  # more than 32 bits of ms
def follows_the_oracle(log, rule):
    assume(rows.able(rule))
    matrix = rows.build(log, rule, SIMULATED)
    assert_well_formed(matrix, rule, log.n_items)
    assert_follows(matrix, oracle(log, rule), rule)


def a_log() -> EventLog:
    """Items with more neighbours than any but the last table holds."""
    random = np.random.default_rng(5)
    session = np.repeat(np.arange(7), 18)
    ts = np.cumsum(random.integers(0, 3_600_000, len(session)))
    aid, kind = random.zipf(1.3, len(session)) % 80, random.choice(3, len(session), p=[0.6, 0.2, 0.2])
    return EventLog.from_arrays(session, aid, ts, kind, n_sessions=7, n_items=80)


def every_table_overflows(log: EventLog):
    """With weights that differ, and with equal ones, of which the smallest items stay."""
    for fields in ({"weight": PairWeight(half_life_hours=1, recency=(1, 4)), "keep": 5}, {"keep": 3, "self_pairs": True}):
        launches.clear()
        rule = MatrixRule(**fields)
        matrix = rows.build(log, rule, SIMULATED)
        assert_well_formed(matrix, rule, log.n_items)
        assert_follows(matrix, oracle(log, rule), rule)
        assert list(launches) == [(16, 1), (32, 1), (0, 32), (0, 256)], launches
        assert list(launches.values()) == sorted(launches.values(), reverse=True) and launches[0, 256] > 0, launches


def main(path: str) -> None:
    """Writes what the engine makes of a_log by every packaged rule that it does."""
    cupy_on_numpy.install()
    row_kernel.compiled = counted
    arrays.PIECE = 64  # results are brought home in several pieces
    rows.SHARED, rows.LARGE, rows.THREADS = ((16, 3), (32, 2)), 32, 2
    follows_the_oracle()
    log, made = a_log(), {}
    every_table_overflows(log)
    for name, rule in RULES.items():
        if rows.able(rule):
            matrix = rows.build(log, rule, SIMULATED)
            made |= {f"{name} {field}": getattr(matrix, field) for field in ("pointer", "neighbours", "weights")}
    np.savez(path, **made)


if __name__ == "__main__":
    main(sys.argv[1])
