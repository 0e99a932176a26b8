"""The news system on a generated log: nothing after a user's last known click moves any candidate, column, model or score; the
rows of an answer stand nowhere special; and the number of threads changes no byte."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.columns import AID, SESSION, label
from otto_gpu.config import load_config
from otto_gpu.events.labels import Labels
from otto_gpu.events.stage import SPLITS, load_ids
from otto_gpu.events.synthetic_news import write_news
from otto_gpu.features.families import FAMILIES
from otto_gpu.features.stage import feature_maker
from otto_gpu.pipeline import run_pipeline
from tests.runs import needs_embeddings

MADE = ("matrices", "embeddings", "features", "models", "predictions")  # folders whose bytes are compared
CHANGES = [
    "threads=1",
    "events.test_file=null",
    "events.test_answers=null",
    "split.test_fraction=0.25",
    "items.columns.title=text",
    "embeddings.text.words={columns: [title], dim: 16}",
    "candidates.nearest.words={vectors: words, size: 20, last: 3}",
    "features.families=[matrix, popularity, session, recall, attributes, context, similarity, rank]",
    "ranking.folds=2",
    "ranking.groups.lightgbm.rounds=10",
    "ranking.groups.softmax={objective: softmax, rounds: 10}",
]


def config(*more: str):
    return load_config("tianchi_news", [*CHANGES, *more])


def clicks(folder: Path) -> tuple[list[str], np.ndarray]:
    """(header, rows int64 [n, columns]) of the log; its first three columns are user, article, time."""
    with (folder / "train_click_log.csv").open() as file:
        header, *rows = csv.reader(file)
    return header, np.array(rows, np.int64)


def write_clicks(folder: Path, header: list[str], rows: np.ndarray) -> None:
    with (folder / "train_click_log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows.tolist()])


def files(run_dir: Path) -> dict[str, bytes]:
    found = [p for folder in MADE for p in sorted((run_dir / folder).rglob("*")) if p.is_file()]
    return {str(p.relative_to(run_dir)): p.read_bytes() for p in [*found, run_dir / "blend.json", run_dir / "submission.csv"]}


def asked(run_dir: Path, split: str) -> tuple:
    """(feature maker, candidates) of a period, of all of its sessions."""
    c = config()
    maker = feature_maker(run_dir, split, c.features, c.candidates, c.targets, c.matrices.rules, c.embeddings.names)
    return maker, [load_part(path, c.candidates.sources, ())[0] for path in parts(run_dir, split)]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    needs_embeddings()
    folder = tmp_path_factory.mktemp("news")
    write_news(folder / "log", 600, seed=5)
    run_pipeline(config(), data=folder / "log", run_dir=folder / "run", device="cpu")
    return folder


def test_what_a_user_clicks_after_the_last_known_click_moves_nothing(world, tmp_path):
    header, rows = clicks(world / "log")
    users = load_ids(world / "run", "sessions").to_numpy()
    tested = np.isin(rows[:, 0], users[np.unique(Labels.load(world / "run/labels/test.parquet").session)])
    last = np.append(rows[1:, 0] != rows[:-1, 0], True) & tested
    rng = np.random.default_rng(1)
    changed = rows.copy()
    changed[last, 1] = rng.permutation(rows[last, 1])
    changed[last, 2] += rng.integers(0, 5 * 3_600_000, last.sum())
    for column in range(3, rows.shape[1]):
        changed[last, column] = rng.choice([*np.unique(rows[:, column]), 999], last.sum())
    (tmp_path / "log").mkdir()
    (tmp_path / "log/articles.csv").write_bytes((world / "log/articles.csv").read_bytes())
    write_clicks(tmp_path / "log", header, changed)
    run_pipeline(config(), data=tmp_path / "log", run_dir=tmp_path / "run", device="cpu")

    one, other = (Labels.load(run / "labels/test.parquet") for run in (world / "run", tmp_path / "run"))
    assert len(one) == len(other) > 100 and np.mean(one.aid == other.aid) < 0.3
    assert files(world / "run") == files(tmp_path / "run")
    for split in SPLITS:
        (maker, some), (other_maker, others) = asked(world / "run", split), asked(tmp_path / "run", split)
        assert {column.family for column in maker.catalogue.columns} == FAMILIES.keys() - {"embedding", "encoder"} | {"rank"}
        for a, b in zip(some, others, strict=True):
            for name in ("sessions", "pointer", "aid", "scores", "ranks"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
            np.testing.assert_array_equal(maker.make(a), other_maker.make(b))


def test_the_rows_of_answers_stand_where_they_are_named(world):
    """Training rows keep the order of the candidates, which knows no answers; and none of a session's places holds them all."""
    [path], [candidates] = parts(world / "run", "validation"), asked(world / "run", "validation")[1]
    place = {key: i for i, key in enumerate(zip(candidates.session.tolist(), candidates.aid.tolist(), strict=True))}
    rows = pq.read_table(sorted((world / "run/features/validation").glob("part-*.parquet")))
    session, positive = rows[SESSION].to_numpy(), rows[label("clicks")].to_numpy() > 0
    at = np.array([place[key] for key in zip(session.tolist(), rows[AID].to_pylist(), strict=True)])
    assert np.all(np.diff(at) > 0) and path.name == "part-00000.parquet"
    first = np.flatnonzero(np.diff(session, prepend=-1))
    within = np.arange(len(session)) - np.repeat(first, np.diff(np.append(first, len(session))))
    assert positive.sum() > 50 and np.bincount(within[positive]).max() < 0.5 * positive.sum()


def test_two_threads_change_no_byte(world, tmp_path):
    run_pipeline(config("threads=2"), data=world / "log", run_dir=tmp_path / "run", device="cpu")
    assert files(world / "run") == files(tmp_path / "run")
