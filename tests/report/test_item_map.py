"""The page's map of the items: which vectors, which items, what is told of them. Where they are drawn is made up here."""

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from otto_gpu.embeddings.vectors import save_vectors, vectors_path
from otto_gpu.errors import MissingExtra
from otto_gpu.events.stage import load_period
from otto_gpu.pipeline import run_pipeline
from otto_gpu.report.sections import item_map
from otto_gpu.report.tally import item_events
from tests.runs import small

WITHOUT = 7  # items that no vector is learnt of


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Events, and vectors of three kinds."""
    place = tmp_path_factory.mktemp("map") / "run"
    run_pipeline(small(600), run_dir=place, to_stage="events")
    n = load_period(place, "test").known.n_items
    for seed, name in enumerate(("encoder", "word2vec", "factorization_1")):
        vectors = np.random.default_rng(seed).normal(size=(n, 8))
        vectors[:WITHOUT] = 0
        save_vectors(vectors_path(place, "test", name), vectors)
    return place


def record(run_dir, *names: str, without: tuple[str, ...] = ()):
    learnt = {name: {"test": {"loss": [] if name in without else [1.0, 0.5]}} for name in names}
    return SimpleNamespace(run_dir=run_dir, metrics={"embeddings": learnt}, config={"device": "cpu"})


@pytest.fixture
def seen(monkeypatch) -> list[np.ndarray]:
    """The vectors that were to be placed."""
    given = []

    def places(vectors, device):
        given.append(vectors)
        return np.random.default_rng(0).normal(size=(len(vectors), 2)) * (3, 1), "a stand-in"

    monkeypatch.setattr(item_map, "places", places)
    return given


def test_events_of_the_items(run_dir):
    known = load_period(run_dir, "test").known
    expected = np.bincount(known.aid, minlength=known.n_items)
    np.testing.assert_array_equal(item_events(run_dir, "test", known.n_items), expected)
    assert not item_events(run_dir / "elsewhere", "test", 5).any()


def test_the_most_popular_items_that_have_a_vector(run_dir, seen, monkeypatch):
    monkeypatch.setattr(item_map, "MOST", 60)
    made = item_map.section(record(run_dir, "word2vec"))
    events = np.bincount(load_period(run_dir, "test").known.aid, minlength=100)
    order = [i for i in sorted(range(len(events)), key=lambda i: (-events[i], i)) if i >= WITHOUT and events[i]]
    np.testing.assert_array_equal(seen[0], np.load(vectors_path(run_dir, "test", "word2vec"))[order[:60]])
    chart = made.groups[0].charts[0]
    assert f"The 60 most popular of {len(order)} items" in chart.caption and "by a stand-in" in made.texts[0]
    # every item is a dot of one colour, and the colours tell the events
    dots = {path.get("stroke"): path.get("d").count("M") for path in ElementTree.fromstring(str(chart.svg)).iter("path")}
    assert sum(dots.values()) == 60 and len(dots) == len(chart.legend) > 2
    left = [events[i] for i in order[:60]]
    for entry, row in zip(chart.legend, chart.table.rows, strict=True):
        numbers = [int(n.replace(",", "")) for n in re.findall(r"[\d,]+", entry.label)]
        least, most = numbers[0], np.inf if "more" in entry.label else numbers[-1]
        mine = [e for e in left if least <= e <= most]
        assert row[:2] == [entry.label, str(len(mine))] and dots[f"var(--{entry.colour})"] == len(mine)
        assert float(row[2].split("\xa0")[0]) == pytest.approx(100 * sum(mine) / sum(left), abs=0.06)


def test_which_vectors(run_dir, seen):
    for names, without, expected in (
        (("factorization_1", "word2vec", "encoder"), (), "encoder"),
        (("factorization_1", "word2vec", "encoder"), ("encoder",), "word2vec"),
        (("factorization_1", "word2vec", "elsewhere"), ("word2vec",), "factorization_1"),
        (("elsewhere", "factorization_1"), (), "factorization_1"),  # its file was cleared away
    ):
        made = item_map.section(record(run_dir, *names, without=without))
        assert made.texts[0].startswith(f"The vectors of {expected} on a plane")


def test_where_there_is_nothing_to_draw(run_dir, seen, monkeypatch):
    assert item_map.section(record(run_dir)) is None
    assert item_map.section(record(run_dir, "word2vec", without=("word2vec",))) is None
    monkeypatch.setattr(item_map, "FEWEST", 1000)
    assert item_map.section(record(run_dir, "word2vec")) is None


def test_all_items_as_popular(run_dir, seen, monkeypatch):
    monkeypatch.setattr(item_map, "item_events", lambda run_dir, split, n: np.ones(n, np.int64))
    chart = item_map.section(record(run_dir, "word2vec")).groups[0].charts[0]
    assert [entry.label for entry in chart.legend] == ["1 event and more"] and chart.caption.startswith("All ")


def test_what_is_missing_is_told_in_a_line(run_dir, monkeypatch):
    def missing(vectors, device):
        raise MissingExtra("a map of the items", "scikit-learn", "map")

    monkeypatch.setattr(item_map, "places", missing)
    made = item_map.section(record(run_dir, "word2vec"))
    assert not made.groups
    assert made.texts == ["A map of the items needs scikit-learn, which is not installed: pip install 'otto_gpu[map]'"]
