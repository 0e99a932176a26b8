"""The stage as a whole: its parts, its sources from vectors, what fusion keeps, and that it goes on where it was stopped."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.candidates import stage
from otto_gpu.candidates.fusion import FUSION
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.nearest import Index, nearest_items
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.columns import label, recall_rank, recall_score
from otto_gpu.device import Device
from otto_gpu.embeddings.vectors import queries_path, save_vectors, vectors_path
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.events.stage import SPLITS, load_period
from otto_gpu.pipeline import run_pipeline
from otto_gpu.run.progress import Reporter
from tests.runs import small

CPU = Device("cpu", "for the test")
FUSED = {"fusion": {"keep": 25, "rounds": 4, "depth": 2, "min_sessions": 20}}
FUSED["order"] = {"clicks": "fusion", "carts": "orders", "orders": "orders"}
NEAREST = {"nearest": {"near": {"vectors": "words", "size": 7}, "searched": {"vectors": "asked", "size": 9, "last": 2}}}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """Events and matrices of a small log, and vectors for both periods: `words` of items, `asked` of sessions too."""
    place = tmp_path_factory.mktemp("stage") / "run"
    run_pipeline(small(600), run_dir=place, to_stage="matrices")
    rng = np.random.default_rng(5)
    for split in SPLITS:
        period = load_period(place, split)
        for name in ("words", "asked"):
            save_vectors(vectors_path(place, split, name), rng.normal(size=(period.known.n_items, 6)))
        save_vectors(queries_path(place, split, "asked"), rng.normal(size=(len(period.sessions), 6)))
    return place


class Lines(Reporter):
    """Remembers what was said; stops, as by Ctrl-C, at the n-th piece of work done."""

    def __init__(self, stop_at: int | None = None):
        super().__init__(quiet=True)
        self.lines, self.stop_at, self.done = [], stop_at, 0

    def note(self, line):
        self.lines.append(line)

    @contextmanager
    def work(self, *arguments):
        with super().work(*arguments) as work:
            advance = work.advance

            def stopping(n=1):
                advance(n)
                self.done += 1
                if self.done == self.stop_at:
                    raise KeyboardInterrupt

            work.advance = stopping
            yield work


def ran(folder: Path, run_dir: Path, reporter: Reporter | None = None, **candidates) -> dict:
    """The stage's facts."""
    config = CandidatesConfig(**{"chunk_sessions": 30} | candidates)
    return stage.run(folder, run_dir, config, TargetsConfig(), CPU, reporter or Lines())


def tables(folder: Path) -> dict[str, pa.Table]:
    return {s: pa.concat_tables(pq.read_table(p) for p in stage.parts(folder, s)) for s in SPLITS}


def figures(folder: Path) -> dict:
    return json.loads((folder / "candidates/coverage.json").read_text())


@pytest.fixture(scope="module")
def plain(run_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    ran(folder, run_dir)
    return folder


@pytest.fixture(scope="module")
def fused(run_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    ran(folder, run_dir, **FUSED)
    return folder


def test_fusion_keeps_the_best_of_what_the_sources_name(plain, fused):
    for split, named in tables(plain).items():
        kept = tables(fused)[split]
        assert kept.column_names == [
            *named.column_names[:10], recall_score(FUSION), recall_rank(FUSION), *named.column_names[10:]
        ]  # fmt: skip
        rows, stayed = named.to_pandas(), kept.to_pandas()
        sizes = rows.groupby("session").size()
        assert (stayed.groupby("session").size() == sizes.clip(upper=25)).all() and sizes.max() > 25
        merged = rows.merge(stayed[["session", "aid", recall_score(FUSION), recall_rank(FUSION)]], on=["session", "aid"])
        assert merged[kept.column_names].equals(stayed)  # the same order, the same scores, ranks and labels
        for _, mine in stayed.groupby("session"):
            assert sorted(mine[recall_rank(FUSION)]) == list(range(len(mine)))
            assert mine.sort_values(recall_rank(FUSION))[recall_score(FUSION)].is_monotonic_decreasing
    assert not (plain / "candidates" / FUSION).exists()
    assert len(list((fused / "candidates" / FUSION).iterdir())) == 4


def test_coverage_has_a_row_for_fusion_beside_what_it_was_before(run_dir, plain, fused):
    for split, table in figures(fused).items():
        before = figures(plain)[split]
        assert list(table) == ["history", "clicks", "orders", "wide", FUSION, "all"]
        # of what was named, as without fusion; only the order of clicks is another
        for source in ("history", "clicks", "orders", "wide"):
            assert table[source] == before[source]
        assert table["all"]["candidates"] == before["all"]["candidates"]
        assert table["all"]["orders"] == before["all"]["orders"]
        assert table["all"]["clicks"]["20"] == table[FUSION]["clicks"]["20"]
        assert table["all"]["clicks"]["all"] == before["all"]["clicks"]["all"]
        frame, labels = tables(fused)[split].to_pandas(), load_period(run_dir, split).labels
        for code, target in enumerate(("clicks", "carts", "orders")):
            total = int((labels.type == code).sum())
            hits = frame[frame[label(target)] == 1][recall_rank(FUSION)]
            shares = {d: (hits < depth).sum() / total for d, depth in (("20", 20), ("50", 50), ("100", 100), ("all", 1e9))}
            assert table[FUSION][target] == pytest.approx(shares, abs=1e-5)
        assert table[FUSION]["candidates"]["mean"] == pytest.approx(len(frame) / frame["session"].nunique(), abs=0.01)


def test_facts(run_dir, tmp_path):
    facts = ran(tmp_path, run_dir, **FUSED)
    assert facts["candidates"] == sum(map(len, tables(tmp_path).values()))
    assert facts["sessions"] == sum(len(load_period(run_dir, split).sessions) for split in SPLITS)


@pytest.mark.parametrize("settings", [{}, FUSED, FUSED | NEAREST], ids=["plain", "fused", "nearest"])
def test_the_same_for_any_chunks_and_threads(run_dir, tmp_path, settings):
    before, made = numba.get_num_threads(), []
    try:
        for name, chunk, threads in (("a", 30, 1), ("b", 10_000, 1), ("c", 7, min(2, numba.config.NUMBA_NUM_THREADS))):
            numba.set_num_threads(threads)
            ran(tmp_path / name, run_dir, chunk_sessions=chunk, **settings)
            models = [p.read_bytes() for p in sorted((tmp_path / name / "candidates").glob("fusion/*"))]
            made.append(({s: t.combine_chunks() for s, t in tables(tmp_path / name).items()}, models, figures(tmp_path / name)))
    finally:
        numba.set_num_threads(before)
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("settings", [{}, FUSED], ids=["plain", "fused"])
def test_stopped_after_every_step_it_ends_with_the_same_bytes(run_dir, plain, fused, tmp_path, settings):
    stops = 0
    while True:
        try:
            ran(tmp_path, run_dir, Lines(stop_at=stops + 1), **settings)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops == (2 if settings else 1) * sum(len(stage.parts(plain, split)) for split in SPLITS)
    straight = fused if settings else plain
    files = sorted(p.relative_to(straight) for p in straight.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert [f for f in files if (tmp_path / f).read_bytes() != (straight / f).read_bytes()] == []


@pytest.mark.parametrize("settings", [{}, NEAREST], ids=["plain", "nearest"])
def test_parts_that_are_named_together_are_the_same_bytes(run_dir, tmp_path, monkeypatch, settings):
    """As on a GPU; also those that are left, where some are there already."""
    settings = settings | {"chunk_sessions": 8}
    ran(tmp_path / "alone", run_dir, **settings)
    lacks = [1, 2, 5]
    shutil.copytree(tmp_path / "alone", tmp_path / "some")
    for i in lacks:
        (tmp_path / f"some/candidates/validation/part-{i:05d}.parquet").unlink()
    monkeypatch.setattr(stage, "_parts_at_once", lambda config, free: 4)
    for folder in ("together", "some"):
        reporter = Lines()
        ran(tmp_path / folder, run_dir, reporter, **settings)
        parts = [stage.parts(tmp_path / folder, split) for split in SPLITS]
        assert reporter.done == sum(-(-len(p) // 4) for p in parts) and min(map(len, parts)) > 8
        for path in (tmp_path / folder).rglob("part-*.parquet"):
            assert path.read_bytes() == (tmp_path / "alone" / path.relative_to(tmp_path / folder)).read_bytes()


def test_how_many_parts_are_named_together():
    config = CandidatesConfig()
    assert stage._parts_at_once(config, None) == 1
    assert stage._parts_at_once(config, 0) == stage._parts_at_once(config, 1 << 20) == 1
    assert stage._parts_at_once(config, 80 << 30) == stage.MOST_SESSIONS // config.chunk_sessions > 20
    sizes = [stage._parts_at_once(CandidatesConfig(chunk_sessions=10, **s), 1 << 30) for s in ({}, NEAREST, FUSED)]
    assert 500 < sizes[1] < sizes[0] == sizes[2] < 5000


def test_a_part_that_lacks_is_made_again_and_the_others_stay(run_dir, fused, tmp_path):
    shutil.copytree(fused, tmp_path, dirs_exist_ok=True)
    lacks, stays = stage.parts(tmp_path, "validation")[:2]
    lacks.unlink()
    there = stays.stat().st_mtime_ns
    ran(tmp_path, run_dir, **FUSED)
    assert lacks.read_bytes() == (fused / lacks.relative_to(tmp_path)).read_bytes()
    assert stays.stat().st_mtime_ns == there


def changed(run_dir: Path, place: Path, split: str, change) -> Path:
    """A copy of the run with other labels: change(frame) -> frame, None: no labels at all."""
    shutil.copytree(run_dir, place)
    path = place / "labels" / f"{split}.parquet"
    table = pq.read_table(path)
    path.unlink()
    frame = change(table.to_pandas())
    if frame is not None:
        pq.write_table(pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False), path)
    return place


def without_labels(table: pa.Table):
    return table.select([c for c in table.column_names if not c.startswith("label_")]).to_pandas()


def test_a_session_s_own_labels_do_not_choose_its_candidates(run_dir, fused, tmp_path):
    frame = tables(fused)["validation"].to_pandas()
    # the session with most ground truth among its candidates: whoever learnt from it would change
    hits = frame.groupby("session")[[label(t) for t in ("clicks", "carts", "orders")]].sum().sum(axis=1)
    session = hits.idxmax()
    place = changed(run_dir, tmp_path / "run", "validation", lambda f: f[f["session"] != session])
    ran(tmp_path, place, **FUSED)
    before, after = (without_labels(tables(folder)["validation"]) for folder in (fused, tmp_path))
    assert before[before["session"] == session].equals(after[after["session"] == session].set_axis(
        before.index[before["session"] == session]))  # fmt: skip
    assert not before.equals(after)


def test_labels_of_the_test_period_choose_nothing(run_dir, fused, tmp_path):
    ran(tmp_path, changed(run_dir, tmp_path / "run", "test", lambda f: None), **FUSED)
    for split in SPLITS:
        assert without_labels(tables(tmp_path)[split]).equals(without_labels(tables(fused)[split]))
    assert figures(tmp_path)["test"][FUSION]["clicks"]["20"] is None


def test_too_little_to_learn_from(run_dir, plain, tmp_path):
    reporter = Lines()
    ran(tmp_path, run_dir, reporter, fusion={"keep": 25, "min_sessions": 10_000})
    assert [line for line in reporter.lines if "too few: reciprocal ranks decide" in line]
    assert not (tmp_path / "candidates" / FUSION).exists()
    for split, named in tables(plain).items():
        rows, kept = named.to_pandas(), tables(tmp_path)[split].to_pandas()
        by = {}
        ranks = [c for c in rows if c.endswith("_rank")]
        for row in rows.to_dict("records"):
            score = sum(1 / (61 + row[c]) for c in ranks if row[c] >= 0)
            by.setdefault(row["session"], []).append((-np.float32(score), row["aid"]))
        for session, mine in list(by.items())[::10]:
            best = sorted(mine, key=lambda pair: pair[0])[:25]
            found = kept[kept["session"] == session].sort_values(recall_rank(FUSION))
            np.testing.assert_allclose(found[recall_score(FUSION)], [-s for s, _ in best], rtol=1e-5)
            assert len(set(found["aid"]) ^ {a for _, a in best}) <= 2  # the last place may be a tie but for rounding


def test_without_any_labels_to_learn_from(run_dir, tmp_path):
    reporter = Lines()
    ran(tmp_path, changed(run_dir, tmp_path / "run", "validation", lambda f: None), reporter, **FUSED)
    assert [line for line in reporter.lines if "0 sessions to learn from" in line]
    assert len(tables(tmp_path)["test"]) > 1000


def test_sources_from_vectors(run_dir, tmp_path):
    config = CandidatesConfig(**NEAREST)
    assert config.sources == ["history", "clicks", "orders", "wide", "near", "searched"]
    reporter = Lines()
    ran(tmp_path, run_dir, reporter, **NEAREST)
    told = [line.split(": ")[0].strip() for line in reporter.lines if line.endswith("vectors are searched exactly by faiss")]
    assert told == [f"{split}, {source}" for split in SPLITS for source in ("near", "searched")]  # once, not for each part
    for split in SPLITS:
        period = load_period(run_dir, split)
        histories = Histories.of(period.history, config).chunk(period.sessions)
        frame = tables(tmp_path)[split].to_pandas()
        for source, vectors in (("near", "words"), ("searched", "asked")):
            there = np.load(vectors_path(run_dir, split, vectors))
            queries = np.load(queries_path(run_dir, split, vectors)) if source == "searched" else None
            aids, scores = nearest_items(histories, queries, there, config.nearest[source], Index(there, CPU))
            mine = frame[frame[recall_rank(source)] >= 0].sort_values(["session", recall_rank(source)])
            np.testing.assert_array_equal(mine["aid"], aids[aids >= 0])
            np.testing.assert_array_equal(mine[recall_score(source)], scores[aids >= 0])
        assert figures(tmp_path)[split]["searched"]["candidates"]["mean"] == 9
