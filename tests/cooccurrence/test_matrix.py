import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.matrix import Matrix, MatrixStack
from otto_gpu.cooccurrence.rule import RULES
from otto_gpu.events.log import EventLog

# row 0: 3 (2.5), 1 (1); row 1: empty; row 2: 0 (0.5); row 3: 1, 2, 4 (7 each); row 4: empty
MATRIX = Matrix(
    np.array([0, 2, 2, 3, 6, 6], np.int64),
    np.array([3, 1, 0, 1, 2, 4], np.int32),
    np.array([2.5, 1, 0.5, 7, 7, 7], np.float32),
)
EMPTY = Matrix(np.zeros(4, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def same(a: Matrix, b: Matrix) -> bool:
    return all(
        getattr(a, n).dtype == getattr(b, n).dtype and np.array_equal(getattr(a, n), getattr(b, n))
        for n in ("pointer", "neighbours", "weights")
    )


def test_lookup_pads_short_rows():
    neighbours, weights = MATRIX.lookup(np.array([3, 0, 1, 2, 3]), 2)
    assert (neighbours.dtype, weights.dtype) == (np.int32, np.float32)
    assert neighbours.tolist() == [[1, 2], [3, 1], [-1, -1], [0, -1], [1, 2]]
    assert weights.tolist() == [[7, 7], [2.5, 1], [0, 0], [0.5, 0], [7, 7]]


def test_lookup_deeper_than_every_row():
    neighbours, weights = MATRIX.lookup(np.array([3, 4]), 5)
    assert neighbours.tolist() == [[1, 2, 4, -1, -1], [-1] * 5]
    assert weights.tolist() == [[7, 7, 7, 0, 0], [0] * 5]


@pytest.mark.parametrize("unknown", [-1, 5, 10**9])
def test_lookup_of_an_item_that_the_matrix_does_not_know(unknown):
    neighbours, weights = MATRIX.lookup([unknown, 2], 2)
    assert neighbours.tolist() == [[-1, -1], [0, -1]]
    assert weights.tolist() == [[0, 0], [0.5, 0]]


def test_lookup_of_nothing():
    neighbours, weights = MATRIX.lookup(np.empty(0, np.int32), 3)
    assert neighbours.shape == weights.shape == (0, 3)


@pytest.mark.parametrize("matrix", [EMPTY, Matrix(np.zeros(1, np.int64), EMPTY.neighbours, EMPTY.weights)])
def test_lookup_in_an_empty_matrix(matrix):
    neighbours, weights = matrix.lookup([0, 2], 2)
    assert neighbours.tolist() == [[-1, -1]] * 2
    assert weights.tolist() == [[0, 0]] * 2


@pytest.mark.parametrize("matrix", [MATRIX, EMPTY])
def test_a_saved_matrix_comes_back(matrix, tmp_path):
    matrix.save(tmp_path / "rule.parquet")
    assert same(Matrix.load(tmp_path / "rule.parquet"), matrix)


def test_the_file_has_the_columns_of_the_design(tmp_path):
    MATRIX.save(tmp_path / "rule.parquet")
    table = pq.read_table(tmp_path / "rule.parquet")
    assert table.schema.names == ["aid_x", "aid_y", "weight"]
    assert table.schema.types == [pa.int32(), pa.int32(), pa.float32()]
    assert table["aid_x"].to_pylist() == [0, 0, 2, 3, 3, 3]


def test_to_frame_with_dense_ids():
    frame = MATRIX.to_frame()
    expected = {"aid_x": [0, 0, 2, 3, 3, 3], "aid_y": [3, 1, 0, 1, 2, 4], "weight": [2.5, 1, 0.5, 7, 7, 7]}
    assert frame.to_dict("list") == expected


def test_to_frame_has_the_users_own_ids():
    events = pd.DataFrame(
        {"session": ["a", "a", "b", "b"], "aid": ["hat", "shoe", "shoe", "hat"], "ts": [0, 1000, 0, 9], "type": ["clicks"] * 4}
    )
    frame = build_matrix(EventLog.from_frame(events), RULES["adjacent"], device="cpu").to_frame()
    rows = set(zip(frame["aid_x"], frame["aid_y"], frame["weight"], strict=True))
    assert rows == {("hat", "shoe", 2.0), ("shoe", "hat", 2.0)}


def test_a_stack_holds_what_its_matrices_hold(tmp_path):
    empty = Matrix(np.zeros(6, np.int64), EMPTY.neighbours, EMPTY.weights)
    matrices = {"first": MATRIX, "none": empty, "again": MATRIX}
    for name, matrix in matrices.items():
        matrix.save(tmp_path / f"{name}.parquet")
    for stack in (MatrixStack.of(matrices), MatrixStack.load(tmp_path, matrices)):
        assert stack.names == tuple(matrices)
        assert stack.pointer.shape == (3, 6) and stack.pointer.dtype == np.int64
        for name, matrix in matrices.items():
            pointer = stack.pointer[stack.index(name)]
            rows = slice(pointer[0], pointer[-1])
            assert same(Matrix(pointer - pointer[0], stack.neighbours[rows], stack.weights[rows]), matrix)
