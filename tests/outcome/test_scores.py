"""What is kept of a run's results, what parts them from another run's, and that the results before survive kills."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.errors import UserError
from otto_gpu.events.labels import Labels
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import load_ids
from otto_gpu.metrics import TargetHits, find_hits, paired_interval
from otto_gpu.outcome import scores as outcome
from otto_gpu.outcome.scores import SessionScores, keep_previous, paired, save_scores
from otto_gpu.pipeline import run_pipeline
from otto_gpu.ranking.stage import ranked_lists
from tests.runs import metrics, small

TARGETS = TargetsConfig()
ITEMS = 50


def world(seed: int = 1, sessions: int = 80):
    """(labels, hits) of some sessions."""
    random = np.random.default_rng(seed)
    n = sessions * 6
    labels = Labels.from_arrays(random.integers(0, sessions, n), random.integers(0, 3, n), random.integers(0, ITEMS, n))
    lists = {t: random.permuted(np.tile(np.arange(ITEMS), (sessions, 1)), axis=1)[:, :20] for t in TARGETS.names}
    return labels, find_hits(labels, lists, np.arange(sessions), TARGETS)


def without_some(hits, lost) -> tuple[TargetHits, ...]:
    """lost: bool [S], sessions that lose all their hits."""
    return tuple(TargetHits(h.k, h.truth, h.row[~lost[h.row]], h.place[~lost[h.row]]) for h in hits)


def alike(one, other) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for a, b in zip(one, other, strict=True) for n in FIELDS)


FIELDS = ("truth", "row", "place")


def saved(path, labels, hits, sessions=None, items=None, targets=TARGETS) -> SessionScores:
    sessions = pa.array(np.arange(1000)) if sessions is None else sessions
    items = pa.array(np.arange(ITEMS) * 10) if items is None else items
    save_scores(path, labels, hits, np.unique(labels.session), sessions, items, targets)
    return SessionScores.load(path)


# ---------------------------------------------------------------------------------------------------- scores.parquet
def test_what_is_saved_comes_back(tmp_path):
    labels, hits = world()
    found = saved(tmp_path / "scores.parquet", labels, hits)
    assert found.names == tuple(TARGETS.names) and found.k == 20 and found.placed
    assert alike(found.hits, hits) and found.hits[0].place.dtype == np.int32
    assert found.ids.to_pylist() == np.unique(labels.session).tolist()
    assert pa.parquet.read_schema(tmp_path / "scores.parquet").field("places_clicks").type == pa.list_(pa.int16())
    assert SessionScores.load(tmp_path / "nothing.parquet") is None


def test_files_of_earlier_versions_count_hits_without_places(tmp_path):
    """They do for recall; a metric that asks for the places says so."""
    labels, hits = world()
    worse = without_some(hits, np.arange(len(hits[0].truth)) % 3 == 0)
    a, b = (saved(tmp_path / f"{n}.parquet", labels, h) for n, h in (("a", hits), ("b", worse)))
    table = pq.read_table(tmp_path / "b.parquet")
    for name, h in zip(TARGETS.names, worse, strict=True):
        table = table.drop_columns(f"places_{name}").append_column(f"hits_{name}", pa.array(h.per_session().astype(np.int8)))
    pq.write_table(table, tmp_path / "b.parquet")
    old = SessionScores.load(tmp_path / "b.parquet")
    assert not old.placed and paired(a, old, TARGETS, ("a", "b")) == paired(a, b, TARGETS, ("a", "b"))
    targets = TARGETS.model_copy(update={"metric": "mrr"})
    with pytest.raises(UserError, match=r"b: its scores\.parquet is of an earlier version.*mrr@20 asks for: run the pipeline"):
        paired(a, old, targets, ("a", "b"))
    found = paired(a, b, targets, ("a", "b"))
    assert found.pop("sessions") == len(hits[0].truth) and found == paired_interval(hits, worse, targets)


def test_a_ground_truth_is_known_by_its_items_types_and_ids(tmp_path):
    labels, _ = world()

    def digests(labels, items=None):
        hits = find_hits(labels, {t: np.zeros((1, 1), int) for t in TARGETS.names}, np.zeros(1, int), TARGETS)
        return saved(tmp_path / "s.parquet", labels, hits, items=items).ground_truth

    mine = digests(labels)
    other = Labels(labels.session, labels.type, labels.aid.copy())
    other.aid[5] = ITEMS - 1 - other.aid[5]
    assert np.flatnonzero(digests(Labels.from_arrays(other.session, other.type, other.aid)) != mine).tolist() == [
        np.unique(labels.session).tolist().index(labels.session[5])
    ]
    swapped = Labels.from_arrays(labels.session, (labels.type + 1) % 3, labels.aid)
    assert (digests(swapped) != mine).all()
    # the same items under other dense ids, and in a wider or a narrower type
    shift = pa.array(np.concatenate([[7], np.arange(ITEMS) * 10]).astype(np.int32))
    assert np.array_equal(digests(Labels(labels.session, labels.type, labels.aid + 1), shift), mine)
    assert not np.array_equal(digests(labels, pa.array([f"i{i}" for i in range(ITEMS)])), mine)


# ------------------------------------------------------------------------------------------------------------ pairs
def test_the_paired_interval_is_that_of_evaluate(tmp_path):
    labels, hits = world()
    worse = without_some(hits, np.arange(len(hits[0].truth)) % 3 == 0)
    a, b = (saved(tmp_path / f"{n}.parquet", labels, h) for n, h in (("a", hits), ("b", worse)))
    found = paired(a, b, TARGETS, ("a", "b"))
    assert found.pop("sessions") == len(hits[0].truth)
    assert found == paired_interval(hits, worse, TARGETS)
    assert found["difference"]["weighted"] > 0


@pytest.mark.parametrize("kind", ["text", "int64"])
def test_sessions_are_found_by_the_users_own_ids(tmp_path, kind):
    """Other dense numbers, and of each run some sessions that the other does not have."""
    labels, hits = world()
    sessions = np.unique(labels.session)

    def own(numbers):
        return pa.array([f"s{n:05}" for n in numbers] if kind == "text" else (numbers + (1 << 40)).tolist())

    a = saved(tmp_path / "a.parquet", labels, hits, own(np.arange(100)))
    keep = labels.session >= 20
    later = Labels(labels.session[keep] - 20, labels.type[keep], labels.aid[keep])
    rows = sessions >= 20
    mine = [h.take(np.flatnonzero(rows)) for h in hits]
    none = without_some(mine, np.ones(rows.sum(), bool))
    b = saved(tmp_path / "b.parquet", later, none, own(np.arange(20, 120)))
    found = paired(a, b, TARGETS, ("a", "b"))
    assert found.pop("sessions") == rows.sum()
    assert found == paired_interval(mine, none, TARGETS)


def test_what_cannot_be_compared_is_told(tmp_path):
    labels, hits = world()
    a = saved(tmp_path / "a.parquet", labels, hits)
    with pytest.raises(UserError, match=r"no scores\.parquet.*no ground truth"):
        paired(a, None, TARGETS, ("a", "b"))
    other = saved(tmp_path / "b.parquet", *world(2))
    with pytest.raises(UserError, match=r"a and b: their ground truths differ in \d+ of \d+ common test sessions, first \d+"):
        paired(a, other, TARGETS, ("a", "b"))
    elsewhere = saved(tmp_path / "b.parquet", labels, hits, pa.array(np.arange(1000) + 5000))
    with pytest.raises(UserError, match="no test session in common"):
        paired(a, elsewhere, TARGETS, ("a", "b"))
    as_text = saved(tmp_path / "b.parquet", labels, hits, pa.array([str(i) for i in range(1000)]))
    assert paired(a, as_text, TARGETS, ("a", "b")) == paired(a, a, TARGETS, ("a", "b"))  # 7 and '7' are one session
    shorter = saved(tmp_path / "b.parquet", labels, hits, targets=TargetsConfig(k=10))
    with pytest.raises(UserError, match="recall@20 and recall@10 are other figures"):
        paired(a, shorter, TARGETS, ("a", "b"))
    fewer = TargetsConfig(weights={"clicks": 1.0})
    one = saved(tmp_path / "b.parquet", labels, hits[:1], targets=fewer)
    with pytest.raises(UserError, match="their targets differ"):
        paired(a, one, TARGETS, ("a", "b"))


def test_the_same_counts_of_other_items_are_another_ground_truth(tmp_path):
    """Where one next item is the whole truth, counts alone would never tell."""
    session = np.arange(40)
    a, b = (Labels.from_arrays(session, np.zeros(40), aid) for aid in (np.arange(40), np.arange(40)[::-1]))
    hits = find_hits(a, {t: np.full((1, 1), -1) for t in TARGETS.names}, np.zeros(1, int), TARGETS)
    ours, theirs = (saved(tmp_path / f"{n}.parquet", labels, hits) for n, labels in (("a", a), ("b", b)))
    with pytest.raises(UserError, match="ground truths differ in 40 of 40"):
        paired(ours, theirs, TARGETS, ("a", "b"))


# --------------------------------------------------------------------------------------------------------- previous
class Directory:
    """A run directory with one result after the other, each in a partial folder as the stage has it."""

    def __init__(self, place):
        self.run_dir, self.folder = place / "run", place / "run/.partial/submission-1"
        self.run_dir.mkdir()

    def attempt(self, result: str, scores: bool = True) -> dict:
        """What the stage leaves in its folder; the metrics."""
        self.folder.mkdir(parents=True, exist_ok=True)
        made = {"test": {"weighted": result}, "stages": {"events": {"seconds": 1}}, "config": {"of": result}}
        (self.folder / "metrics.json").write_text(json.dumps(made))
        if scores:
            (self.folder / "scores.parquet").write_text(f"scores of {result}")
        keep_previous(self.folder, self.run_dir, made)
        return made

    def place(self, *names: str) -> None:
        """Moves outputs into place, as run.py does in the end; without names all, and the folder goes."""
        for name in names or ("previous", "scores.parquet", "metrics.json"):
            target = self.run_dir / name
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            if (self.folder / name).exists():
                (self.folder / name).rename(target)
        if not names:
            shutil.rmtree(self.folder)

    def finish(self, result: str, scores: bool = True) -> None:
        self.attempt(result, scores)
        self.place()

    @property
    def previous(self) -> tuple[str, str | None] | None:
        folder = self.run_dir / "previous"
        if not folder.exists():
            return None
        scores = folder / "scores.parquet"
        told = json.loads((folder / "metrics.json").read_text())["test"]["weighted"]
        return told, scores.read_text().removeprefix("scores of ") if scores.exists() else None


@pytest.fixture
def directory(tmp_path):
    return Directory(tmp_path)


def test_the_results_before_are_kept_for_one_generation(directory):
    directory.finish("a")
    assert directory.previous is None
    directory.finish("b")
    assert directory.previous == ("a", "a")
    directory.finish("c", scores=False)
    assert directory.previous == ("b", "b")
    directory.finish("d")
    assert directory.previous == ("c", None)


def test_the_same_results_keep_what_was_before_them(directory):
    for result in ("a", "b", "b", "b"):
        directory.finish(result)
    assert directory.previous == ("a", "a")


def test_half_written_metrics_are_no_results(directory):
    for result in ("a", "b"):
        directory.finish(result)
    (directory.run_dir / "metrics.json").write_text('{"test": {"wei')
    directory.finish("b")
    assert directory.previous == ("a", "a")


def test_a_kill_while_copying_leaves_nothing_half(directory, monkeypatch):
    class Killed(BaseException):
        pass

    def dies(source, place):
        place.write_text("ha")
        raise Killed

    directory.finish("a")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(outcome.shutil, "copy2", dies)
        directory.attempt("b")
    assert not (directory.folder / "previous").exists()
    directory.finish("b")
    assert directory.previous == ("a", "a")


@pytest.mark.parametrize(
    "moved", [(), ("previous",), ("previous", "scores.parquet"), ("previous", "scores.parquet", "metrics.json")]
)
def test_a_kill_while_outputs_are_moved_keeps_the_results_before(directory, moved):
    """In each moment between the removal of the old files and the end: the same attempt goes on, and ends the same."""
    for result in ("a", "b"):
        directory.finish(result)
    directory.attempt("c")
    shutil.rmtree(directory.run_dir / "previous")
    for name in ("scores.parquet", "metrics.json"):
        (directory.run_dir / name).unlink()
    directory.place(*moved) if moved else None
    directory.finish("c")
    assert directory.previous == ("b", "b")


def test_real_runs_keep_them_and_tell_the_settings(tmp_path):
    run = {"run_dir": tmp_path / "run"}
    first = run_pipeline(small(300), **run)
    assert not (tmp_path / "run/previous").exists() and first.metrics["config"]["blend"]["steps"] == 4
    before = {n: (tmp_path / "run" / n).read_bytes() for n in ("metrics.json", "scores.parquet")}
    labels = Labels.load(tmp_path / "run/labels/test.parquet")

    def own_hits():
        blend = metrics(tmp_path / "run")["blend"]
        lists = {}
        for target in TARGETS.names:
            weights = dict(zip(blend[target]["groups"], blend[target]["weights"], strict=True))
            sessions, lists[target] = ranked_lists(tmp_path / "run", "test", target, weights, 20, 10.0)
        return find_hits(labels, lists, sessions, TARGETS)

    found = SessionScores.load(tmp_path / "run/scores.parquet")
    assert alike(found.hits, own_hits())
    assert found.ids.to_pylist() == load_ids(tmp_path / "run", "sessions").take(np.unique(labels.session)).to_pylist()

    # forced, with the same results: there still was nothing before
    run_pipeline(small(300), **run, from_stage="submission")
    assert not (tmp_path / "run/previous").exists()
    second = run_pipeline(small(300, targets={"k": 10}), **run)
    assert second.metrics["test"].keys() >= {"recall@10"}
    kept = {n: (tmp_path / "run/previous" / n).read_bytes() for n in before}
    # the forced run wrote other seconds, and nothing else
    assert kept["scores.parquet"] == before["scores.parquet"]
    same = [json.loads(m) | {"stages": None} for m in (kept["metrics.json"], before["metrics.json"])]
    assert same[0] == same[1]
    run_pipeline(small(300, targets={"k": 10}), **run, from_stage="rankers")
    assert {n: (tmp_path / "run/previous" / n).read_bytes() for n in before} == kept
    # whoever clears them away has them cleared away
    shutil.rmtree(tmp_path / "run/previous")
    run_pipeline(small(300, targets={"k": 10}), **run)
    assert not (tmp_path / "run/previous").exists()
