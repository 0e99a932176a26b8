"""The user's own vectors: by own id, of length 1, whatever the file; what is wrong with rows is counted, with files told."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.config import load_config
from otto_gpu.embeddings.given import align
from otto_gpu.embeddings.settings import Given
from otto_gpu.embeddings.vectors import load_vectors
from otto_gpu.errors import UserError
from otto_gpu.events.settings import SPLITS
from otto_gpu.events.stage import load_ids, load_period
from otto_gpu.pipeline import run_pipeline
from otto_gpu.run.progress import Reporter
from tests.runs import frame, of_file, write_parquet

ITEMS = pa.array([3, 5, 8, 13, 21])
IDS = [13, 99, 3, 8, 13, 5]  # one that nobody knows, one twice, 21 not at all
ROWS = np.array([[3, 4], [1, 1], [0, 2], [0, 0], [9, 9], [-1, 0]], np.float64)
WANTED = [[0, 1], [-1, 0], [0, 0], [0.6, 0.8], [0, 0]]


class Ear(Reporter):
    def __init__(self):
        super().__init__(quiet=True)
        self.said = []

    def say(self, line, style=None):
        self.said.append(line.strip())


def write(folder, kind: str, ids=IDS, rows=ROWS) -> Given:
    """The rows in a file of that kind."""
    columns = {f"e{i}": rows[:, i] for i in range(rows.shape[1])}
    if kind == "npy":
        np.save(folder / "v.npy", rows)
        np.save(folder / "ids.npy", np.array(ids))
        return Given(file="v.npy", ids="ids.npy")
    if kind == "npy and csv":
        np.save(folder / "v.npy", rows.astype(np.float32))
        pa.csv.write_csv(pa.table({"of": ["x"] * len(ids), "name": list(map(str, ids))}), folder / "ids.csv")
        return Given(file="v.npy", ids="ids.csv", id="name")
    if kind == "csv":
        pa.csv.write_csv(pa.table({"article": ids, **columns}), folder / "v.csv")
        return Given(file="v.csv")
    if kind == "lists":
        lists = pa.array(rows.tolist(), pa.list_(pa.float32()))
        pq.write_table(pa.table({"vector": lists, "item": list(map(str, ids))}), folder / "v.parquet", row_group_size=4)
        return Given(file="v.parquet", id="item")
    pq.write_table(pa.table({"item": ids, **columns}), folder / "v.parquet")
    return Given(file="v.parquet")


@pytest.mark.parametrize("kind", ["npy", "npy and csv", "csv", "lists", "columns"])
@pytest.mark.parametrize("items", [ITEMS, ITEMS.cast(pa.string())], ids=["integers", "text"])
def test_rows_come_to_the_items_that_they_name(tmp_path, kind, items):
    ear = Ear()
    vectors, facts = align("mine", write(tmp_path, kind), tmp_path, items, ear)
    assert vectors.dtype == np.float32 and np.allclose(vectors, WANTED)
    assert facts == {"dim": 2, "rows": 6, "unknown": 1}
    file = {"csv": "v.csv", "lists": "v.parquet", "columns": "v.parquet"}.get(kind, "v.npy")
    assert ear.said == [
        f"mine: 1 of 6 rows of {file} name items that nobody knows: left out",
        f"mine: 1 of 6 rows of {file} repeat an item: its first row counts",
        f"mine: 1 of 6 rows of {file} are zeros or hold missing values: counted as missing",
        "mine: 2 of 5 items have no vector",
    ]


def test_pieces_make_what_the_whole_makes(tmp_path, monkeypatch):
    """Across pieces too the first row of an item counts, and lists have one length."""
    config = write(tmp_path, "lists")
    whole = align("mine", config, tmp_path, ITEMS, Ear())
    monkeypatch.setattr("otto_gpu.embeddings.given.ROWS", 1)
    parts = align("mine", config, tmp_path, ITEMS, Ear())
    assert np.array_equal(whole[0], parts[0]) and whole[1] == parts[1]
    short = pa.array([[1.0, 2.0]] * 3 + [[1.0]])
    pq.write_table(pa.table({"item": [3, 5, 8, 13], "vector": short}), tmp_path / "v.parquet")
    with pytest.raises(UserError, match="vectors of 2 and of 1 numbers in one file"):
        align("mine", Given(file="v.parquet"), tmp_path, ITEMS, Ear())


def test_missing_values_are_no_vectors(tmp_path):
    (tmp_path / "v.csv").write_text("id,a,b\n3,1,\n5,0,1\n8,inf,1\n")
    ear = Ear()
    vectors, _ = align("mine", Given(file="v.csv"), tmp_path, ITEMS, ear)
    assert vectors.tolist() == [[0, 0], [0, 1], [0, 0], [0, 0], [0, 0]]
    assert "2 of 3 rows of v.csv are zeros or hold missing values" in ear.said[0]
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 2)):  # polars writes large ones
        pq.write_table(pa.table({"id": [3, 5], "v": pa.array([None, [0.0, 2.0]], kind)}), tmp_path / "v.parquet")
        assert align("mine", Given(file="v.parquet"), tmp_path, ITEMS, ear)[0].tolist()[:2] == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"id": [1, 2], "a": [1.0, 2.0]}, "no row names an item .* ids such as 1, the log such as 3"),
        ({"id": [3, 5], "a": ["x", "y"], "b": [1, 2]}, "'a' is string"),
        ({"id": [3.5, 5.0], "a": [1.0, 2.0]}, "ids must be integers or strings"),
        ({"id": [3, 5]}, "no column beside 'id'"),
        ({"id": [3, 5], "v": pa.array([[], []], pa.list_(pa.float64()))}, "vectors of 0 numbers"),
        ({"id": pa.array([], pa.int64()), "a": pa.array([], pa.float32())}, "no vectors there"),
    ],
)
def test_tables_that_hold_no_vectors_are_told(tmp_path, table, told):
    pq.write_table(pa.table(table), tmp_path / "v.parquet")
    with pytest.raises(UserError, match=told) as caught:
        align("mine", Given(file="v.parquet"), tmp_path, ITEMS, Ear())
    assert str(tmp_path / "v.parquet") in str(caught.value) and "embeddings.given.mine" in str(caught.value)


def test_files_that_are_none_are_told(tmp_path):
    def told(config: Given, data=tmp_path) -> str:
        with pytest.raises(UserError) as caught:
            align("mine", config, data, ITEMS, Ear())
        assert "\n" not in str(caught.value)
        return str(caught.value)

    array = Given(file="v.npy", ids="ids.npy")
    assert "v.npy: no such file (embeddings.given.mine)" in told(array)
    np.save(tmp_path / "ids.npy", np.arange(3))
    np.save(tmp_path / "v.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert "cannot be read as an array" in told(array)  # and is not unpickled
    for wrong in (np.zeros(3), np.zeros((3, 0)), np.zeros((3, 2), complex)):
        np.save(tmp_path / "v.npy", wrong)
        assert "expected an array of numbers [items, dimensions]" in told(array)
    np.save(tmp_path / "v.npy", np.zeros((4, 2)))
    assert "3 ids for the 4 rows of v.npy" in told(array)
    whole = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(whole[:-9])
    assert "cannot be read as an array" in told(array)
    (tmp_path / "v.csv").write_text("id,a\n3,1\n5,many\n")
    assert "v.csv: cannot be read as vectors" in told(Given(file="v.csv"))
    assert "expected one column 'name' (embeddings.given.mine.id)" in told(Given(file="v.csv", id="name"))
    (tmp_path / "v.txt").write_text("3 1 2")
    assert "expected a name that ends in .npy, .csv or .parquet" in told(Given(file="v.txt"))
    assert "a generated log has no data folder" in told(Given(file="v.csv"), None)


def test_settings():
    config = load_config({"embeddings": {"given": {"mine": "v.parquet", "other": {"file": "v.npy", "ids": "i.csv"}}}})
    assert config.embeddings.given == {"mine": Given(file="v.parquet"), "other": Given(file="v.npy", ids="i.csv")}
    assert config.embeddings.files == ("v.parquet", "v.npy", "i.csv")
    assert config.vectors == set() and {"mine", "other"} <= set(config.embeddings.known)
    for given, told in (
        ({"mine": "v.npy"}, "an array does not say whose its rows are: name the file of their items under ids"),
        ({"mine": {"file": "v.csv", "ids": "i.csv"}}, "ids names the items of an array's rows"),
        ({"word2vec": "v.csv"}, "'word2vec' is the name of another model"),
        ({"factorization_1": "v.csv"}, "'factorization_1' is the name of another model"),
        ({"a.sessions": "v.csv"}, "no name may end as"),
    ):
        with pytest.raises(UserError, match=told):
            load_config({"embeddings": {"given": given}})


# ---------------------------------------------------------------------------------------------------------- whole runs
def test_given_vectors_name_candidates_and_a_changed_file_is_noticed(tmp_path):
    """The item nearest to a session's newest is its first candidate, as the vectors in the file say."""
    log = frame(300)
    data = tmp_path / "data"
    data.mkdir()
    write_parquet(data / "log.parquet", log)
    ids = np.sort(log["aid"].unique())
    vectors = np.random.default_rng(1).normal(size=(len(ids), 4))
    write(data, "columns", ids[::-1], vectors[::-1])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    settings = of_file(
        embeddings={"given": {"mine": "v.parquet"}},
        candidates={"nearest": {"alike": {"vectors": "mine", "size": 5, "last": 1}}},
        features={"families": ["session", "embedding"]},
    )
    settings["embeddings"] |= {"word2vec": None, "factorization": None, "seq2seq": None}
    run = {"data": data, "run_dir": tmp_path / "run"}
    assert "given" in run_pipeline(settings, **run, to_stage="features").ran
    events = json.loads((tmp_path / "run/events/summary.json").read_text())["counts"]
    assert events["events"] == len(log.drop_duplicates(["session", "aid", "ts", "type"])) and events["rejected"] == 0
    assert load_ids(tmp_path / "run", "items").to_pylist() == ids.tolist()
    for split in SPLITS:
        assert np.allclose(load_vectors(tmp_path / "run", split, "mine"), vectors, atol=1e-6)
    history = load_period(tmp_path / "run", "test").history
    found = pq.read_table(tmp_path / "run/candidates/test").to_pandas().query("recall_alike_rank == 0")
    assert len(found) == np.count_nonzero(np.diff(history.starts))
    for session, aid in zip(found["session"], found["aid"], strict=True):
        mine = history.aid[history.starts[session] : history.starts[session + 1]]
        cosines = vectors @ vectors[mine[-1]]
        cosines[mine] = -2
        assert aid == cosines.argmax()
    columns = json.loads((tmp_path / "run/features/catalogue.json").read_text())
    assert "embed_mine_last_0" in json.dumps(columns)
    assert run_pipeline(settings, **run, to_stage="features").ran == []
    vectors[0] = -vectors[0]
    write(data, "columns", ids, vectors)
    assert run_pipeline(settings, **run, to_stage="given").ran == ["given"]  # and what was learnt before it stays
    (data / "v.parquet").unlink()
    with pytest.raises(UserError, match=r"v.parquet: no such file \(embeddings.given.mine\)"):
        run_pipeline(settings, **run)
