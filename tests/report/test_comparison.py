"""Runs side by side, and the command line of the report."""

import json
import shutil
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from otto_gpu.errors import UserError
from otto_gpu.events.settings import TargetsConfig
from otto_gpu.metrics import paired_interval
from otto_gpu.outcome.scores import SessionScores
from otto_gpu.pipeline import run_pipeline
from otto_gpu.report.__main__ import main
from otto_gpu.report.comparison import Comparison
from otto_gpu.report.record import Record
from tests.report.conftest import settings
from tests.report.pages import Page
from tests.runs import GROUP, called, metrics, pipeline, said

TARGETS = ["clicks", "carts", "orders"]
ONE = {"groups": {"binary": GROUP}}


def report(*arguments):
    return called(*arguments, module="report")


@pytest.fixture(scope="module")
def compared(finished, changed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    shown = pipeline(finished, changed, cwd=folder, module="report")
    assert shown.returncode == 0, shown.stderr
    return Page(folder / "comparison.html"), shown.stdout


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def test_the_differences_are_those_of_evaluate(compared, finished, changed):
    page, _ = compared
    before, after = (SessionScores.load(run / "scores.parquet") for run in (finished, changed))
    assert before.ids.equals(after.ids) and np.array_equal(before.ground_truth, after.ground_truth)
    expected = paired_interval(after.hits, before.hits, TargetsConfig())
    table = next(t for t in page.tables if t.head == ["", "changed"])
    for key in [*TARGETS, "weighted"]:
        low, high = expected["interval"][key]
        assert table.rows[key] == [f"{signed(expected['difference'][key])} [{signed(low)},\xa0{signed(high)}]"]
    assert f"{len(after.ids):,} test sessions in common" in page.text


def test_what_differs_and_what_it_costs(compared, finished, changed):
    page, told = compared
    assert page.table("setting", "finished", "changed").rows == {"candidates.fill_to": ["30", "40"], "blend.steps": ["4", "2"]}
    scores = page.table("", "finished", "changed", title="The numbers")
    for i, run in enumerate((finished, changed)):
        figures = metrics(run)["test"]
        assert scores.rows["weighted"][i].startswith(f"{figures['weighted']:.3f} [")
        assert page.tiles[f"{run.name}: recall@20, weighted"][0] == f"{figures['weighted']:.3f}"
        coverage = page.table("", "finished", title="Coverage of the test period")
        for target in TARGETS:
            for depth, name in (("20", "at 20"), ("all", "all")):
                assert coverage.rows[f"{target}, {name}"][i] == f"{figures['coverage']['all'][target][depth]:.3f}"
        costs = page.table("stage", "finished", "changed")
        manifest = json.loads((run / "manifests/rankers.json").read_text())
        assert costs.rows["rankers"][i] == f"{manifest['seconds']:,.1f}"
    assert "candidates.fill_to" in told and "written: comparison.html" in told and "finished" in told


def test_what_the_test_periods_leave_out(compared, finished):
    page, _ = compared
    counts = metrics(finished)["events"]["periods"]["test"]["left_out"]["targets"]["orders"]
    told = f"{counts['began_earlier']} of {counts['all']}"
    assert page.table("", "finished", "changed", title="Of the test period").rows[
        "orders, of sessions that began before it"
    ] == [told, told]


def test_a_run_against_itself(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "again")
    shown = report(finished, tmp_path / "again", "--out", tmp_path / "page.html")
    assert shown.returncode == 0 and not shown.stderr
    page = Page(tmp_path / "page.html")
    assert "No setting: the log, the program or chance did what is told below." in page.text
    assert "no difference can be told from chance" in page.text


def test_three_runs_and_other_targets_weights(finished, changed, tmp_path):
    config = settings(targets={"weights": {"clicks": 1.0, "carts": 1.0, "orders": 1.0}})
    shutil.copytree(finished, tmp_path / "third")
    run_pipeline(config, run_dir=tmp_path / "third")
    shown = report(finished, changed, tmp_path / "third", "--out", tmp_path / "page.html")
    assert shown.returncode == 0, shown.stderr
    page = Page(tmp_path / "page.html")
    assert page.table("setting", "third").rows["targets.weights.clicks"] == ["0.1", "0.1", "1.0"]
    # the weights of the first run count for the differences
    table = next(t for t in page.tables if t.head == ["", "changed", "third"])
    assert set(table.rows) == {*TARGETS, "weighted"}


def test_other_ground_truths_are_refused(finished, tmp_path):
    quick = {"run_dir": tmp_path / "other", "to_stage": "submission"}
    run_pipeline(settings(split={"seed": 7}, ranking=ONE), **quick)
    line = said(report(finished, tmp_path / "other", "--out", tmp_path / "page.html"))
    assert "other and finished: their ground truths differ in" in line and "same log and split" in line
    run_pipeline(settings(targets={"k": 5}, ranking=ONE), **quick)
    assert "recall@5 and recall@20 are other figures" in said(report(finished, tmp_path / "other"))
    assert not (tmp_path / "page.html").exists()


def test_runs_that_share_some_test_sessions_say_how_many(finished, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(finished, part, ignore=shutil.ignore_patterns("previous", "features", "predictions"))
    scores = pq.read_table(part / "scores.parquet")
    n, ids = len(scores) // 3, scores["id"].cast("string")  # as text: 7 and "7" are one session
    pq.write_table(scores.set_column(scores.column_names.index("id"), "id", ids).slice(0, n), part / "scores.parquet")
    compared = Comparison([Record(finished), Record(part)])
    (told,) = compared.partly
    assert told.startswith(f"part and finished have {n:,} test sessions in common, of {n:,} and {len(scores):,}")


def test_runs_without_ground_truth_are_compared_by_the_rest(finished, changed, tmp_path):
    for run in (finished, changed):
        copy = tmp_path / run.name
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("scores.parquet", "previous"))
        path = copy / "metrics.json"
        found = json.loads(path.read_text())
        found["test"] = {"sessions": found["test"]["sessions"], "labels": None, "coverage": found["test"]["coverage"]}
        path.write_text(json.dumps(found))
    one, other = tmp_path / finished.name, tmp_path / changed.name
    shown = report(one, other, "--out", tmp_path / "page.html")
    assert shown.returncode == 0, shown.stderr
    page = Page(tmp_path / "page.html")
    assert "None of the runs has ground truth" in page.text and page.table("stage", "changed").rows
    shown = report(finished, other, "--out", tmp_path / "page.html")
    assert shown.returncode == 0, shown.stderr
    told = Page(tmp_path / "page.html").text
    assert "changed has no scores of test sessions with ground truth: its scores are held against nothing." in told


# ------------------------------------------------------------------------------------------------------ command line
def test_one_run_writes_its_page_again(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    wanted = {name: (tmp_path / "run" / name).read_bytes() for name in ("report.html", "model_card.md")}
    for name in wanted:
        (tmp_path / "run" / name).unlink()
    shown = report(tmp_path / "run")
    assert shown.returncode == 0 and not shown.stderr, shown.stderr
    assert shown.stdout.splitlines()[-2:] == [f"written: {tmp_path / 'run' / name}" for name in wanted]
    assert f"{metrics(finished)['test']['weighted']:.3f}" in shown.stdout
    # the day of the run is told by the file of its figures, which the copy kept
    assert {name: (tmp_path / "run" / name).read_bytes() for name in wanted} == wanted
    assert run_pipeline(settings(), run_dir=tmp_path / "run").ran == []
    shown = report(tmp_path / "run", "--out", tmp_path / "elsewhere.html")
    assert (tmp_path / "elsewhere.html").read_bytes() == wanted["report.html"]


@pytest.fixture
def refused(capsys):
    """refused(arguments) -> the one line of the error."""

    def told(*arguments) -> str:
        assert main([str(a) for a in arguments]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: "), lines
        return lines[0]

    return told


def test_mistakes_are_one_line(finished, tmp_path, refused):
    assert f"{tmp_path}/none: no such run directory" in said(report(tmp_path / "none"))
    assert "there is no whole metrics.json: finish the run first" in refused(tmp_path)
    assert "is named twice" in refused(finished, finished)
    assert "cannot be written" in refused(finished, "--out", tmp_path / "no/such/folder/page.html")
    assert "cannot be written" in refused(finished, "--out", tmp_path)
    with pytest.raises(UserError):
        main([str(tmp_path / "none"), "--debug"])


def test_damaged_runs_are_told(finished, tmp_path, refused):
    broken = tmp_path / "broken"
    shutil.copytree(finished, broken)
    (broken / "models/clicks/binary/fold-0.json").write_text("{")
    assert f"{broken}/models/clicks/binary/fold-0.json: cannot be read" in refused(broken)
    shutil.copyfile(finished / "models/clicks/binary/fold-0.json", broken / "models/clicks/binary/fold-0.json")
    (broken / "predictions/test/clicks/part-00000.parquet").write_bytes(b"PAR1 and no more")
    assert "cannot be read as a finished run" in refused(broken)
    (broken / "metrics.json").write_text(json.dumps({"validation": {}, "test": {}}))
    assert "cannot be read as a finished run" in refused(broken)
    (broken / "metrics.json").write_text(json.dumps(metrics(finished) | {"config": {"name": "x", "targets": {"k": -1}}}))
    assert "section targets" in refused(broken)


def test_what_is_not_installed_is_told(finished, refused, monkeypatch):
    for name in [
        n for n in sys.modules if n.startswith(("otto_gpu.report.charts", "otto_gpu.report.page", "otto_gpu.report.s"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert refused(finished) == "error: the report needs matplotlib, which is not installed: pip install matplotlib"


def test_help():
    shown = pipeline("--help", module="report")
    assert shown.returncode == 0 and "--out" in shown.stdout and "RUN" in shown.stdout
    assert report().returncode == 2


def test_runs_of_other_metrics_are_compared_by_that_of_the_first(finished, tmp_path):
    """Every metric of every run is known."""
    shutil.copytree(finished, tmp_path / "other", ignore=shutil.ignore_patterns("predictions", "features", "models"))
    found = metrics(finished)
    found["config"]["targets"]["metric"], found["config"]["name"] = "mrr", "other"
    for split in ("validation", "test"):
        mine = found[split]
        del mine["recall@20"]
        mine["mrr@20"], mine["weighted"] = mine["beside"]["mrr@20"], mine["beside"]["mrr@20"]["weighted"]
    (tmp_path / "other/metrics.json").write_text(json.dumps(found))
    records = [Record(finished), Record(tmp_path / "other")]
    for c, name in ((Comparison(records), "recall@20"), (Comparison(records[::-1]), "mrr@20")):
        assert [c.score(r, "weighted")[0] for r in c.records] == [metrics(finished)["test"]["beside"][name]["weighted"]] * 2
        assert [d["difference"]["weighted"] for d in c.paired.values()] == [0]
