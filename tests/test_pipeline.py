"""The command line and what a second call does."""

import json
import re
import shutil
import sys
import time

import pyarrow.parquet as pq
import pytest
import yaml

from otto_gpu.config import known_configs, load_config
from otto_gpu.device import choose_device
from otto_gpu.embeddings.settings import PARTS
from otto_gpu.errors import MissingExtra, UserError
from otto_gpu.events.stage import SPLITS
from otto_gpu.pipeline import STAGES, Result, run_pipeline
from otto_gpu.run.directory import Run
from tests.runs import called, frame, metrics, of_file, pipeline, said, small, write_config, write_parquet

OUTPUTS = {
    "events", "labels", "official", "rejected.parquet", "matrices", "candidates", "features", "models", "predictions",
    "blend.json", "submission.csv", "scores.parquet", "metrics.json", "report.html", "model_card.md",
}  # fmt: skip
EMBEDDINGS = list(PARTS)  # nobody uses them in most runs here: they make nothing
EARLY = ["events", "matrices", *EMBEDDINGS, "candidates", "features"]
LATE = ["rankers", "predictions", "blend", "submission", "report"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of all stages by the command line: (config file, run directory, what it said)."""
    folder = tmp_path_factory.mktemp("finished")
    config = write_config(folder / "small.yaml", small())
    said = pipeline("--config", config, "--run-dir", folder / "run")
    assert said.returncode == 0, said.stderr
    return config, folder / "run", said


@pytest.fixture
def copy(finished, tmp_path):
    """run(**sections) -> the stages that ran, in a copy of the finished run; copy.directory is the copy."""

    class Copy:
        directory = tmp_path / "run"

        def __call__(self, *, from_stage=None, to_stage=None, **sections) -> Result:
            return run_pipeline(small(**sections), run_dir=self.directory, from_stage=from_stage, to_stage=to_stage)

    shutil.copytree(finished[1], Copy.directory)
    return Copy()


# ---------------------------------------------------------------------------------------------------- what it says
def test_help_names_every_option_and_the_configs():
    shown = pipeline("--help")
    assert shown.returncode == 0 and not shown.stderr
    for option in (
        "config",
        "data",
        "run-dir",
        "device",
        "cluster",
        "from",
        "to",
        "set",
        "list-stages",
        "dry-run",
        "debug",
        "version",
    ):
        assert re.search(rf"^  --{option}\b.*\S", shown.stdout, re.MULTILINE), option
    words = re.sub(r"\s+", " ", shown.stdout)
    assert all(name in words for name in known_configs())


def test_list_stages():
    shown = pipeline("--list-stages")
    assert shown.returncode == 0
    assert [line.split()[0] for line in shown.stdout.splitlines()] == list(STAGES)


def test_a_run_tells_its_stages_and_ends_with_its_figures(finished):
    _, run_dir, shown = finished
    assert not shown.stderr
    for stage in STAGES:
        assert re.search(rf"^{stage}: [\d.]+ s, peak [\d,]+ MB", shown.stdout, re.MULTILINE), stage
    for text in ("coverage", "recall@20", "weighted", "95 %", "peak memory"):
        assert text in shown.stdout
    assert shown.stdout.splitlines()[-3:] == [
        f"submission: {run_dir}/submission.csv",
        f"metrics:    {run_dir}/metrics.json",
        f"report:     {run_dir}/report.html",
    ]
    log = (run_dir / "run.log").read_text()
    assert all(f" {stage}: started" in log for stage in STAGES) and "recall@20" in log


def test_output_without_a_terminal_is_plain(finished):
    assert "\x1b" not in finished[2].stdout and "\r" not in finished[2].stdout


def test_everything_is_where_it_belongs(finished):
    _, run_dir, _ = finished
    assert OUTPUTS | {"manifests", "config.yaml", "run.log"} <= {p.name for p in run_dir.iterdir()}
    assert not list((run_dir / ".partial").iterdir())
    assert load_config(run_dir / "config.yaml").ranking == load_config(small()).ranking
    for stage in STAGES:
        manifest = json.loads((run_dir / "manifests" / f"{stage}.json").read_text())
        assert {"fingerprint", "settings", "versions", "seconds", "peak_memory_mb", "files"} <= manifest.keys()
        assert manifest["seconds"] >= (0 if stage in EMBEDDINGS else 0.001) and manifest["peak_memory_mb"] > 50
        assert {"otto_gpu", "numpy", "pyarrow", "numba"} <= manifest["versions"].keys()
        for name, size in manifest["files"].items():
            assert (run_dir / name).stat().st_size == size


# ----------------------------------------------------------------------------------------------------- a second call
def test_a_second_call_does_nothing_in_under_5_seconds(finished):
    config, run_dir, _ = finished
    before = {p: p.stat().st_mtime_ns for name in OUTPUTS for p in (run_dir / name).rglob("*")}
    for _ in range(3):  # a busy machine may take longer
        began = time.monotonic()
        shown = pipeline("--config", config, "--run-dir", run_dir)
        if (seconds := time.monotonic() - began) < 5:
            break
    assert seconds < 5
    assert shown.returncode == 0
    for stage in STAGES:
        assert f"{stage}: unchanged\n" in shown.stdout
    assert "recall@20" in shown.stdout and str(run_dir / "metrics.json") in shown.stdout
    assert {p: p.stat().st_mtime_ns for name in OUTPUTS for p in (run_dir / name).rglob("*")} == before


def test_a_dry_run_says_what_would_run_and_writes_nothing(finished, tmp_path):
    config, run_dir, _ = finished
    before = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}
    arguments = ("--config", config, "--run-dir", run_dir, "--dry-run")
    shown = called(*arguments, "--set", "ranking.seed=7")
    assert [f"{s}: unchanged" for s in EARLY] + [f"{s}: would run" for s in LATE] == shown.stdout.splitlines()[-len(STAGES) :]
    shown = called(*arguments, "--from", "candidates", "--to", "features")
    told = [f"{stage}: unchanged" for stage in EARLY[:-2]] + ["candidates: would run", "features: would run"]
    assert shown.stdout.splitlines()[-len(told) :] == told
    assert {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")} == before
    shown = pipeline("--config", config, "--dry-run", cwd=tmp_path)
    assert shown.returncode == 0 and not list(tmp_path.iterdir())


def test_what_is_done_needs_no_package_and_what_is_not_is_told_before_it_begins(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)  # as if it were not installed
    assert copy().ran == []
    before = {p: p.stat().st_mtime_ns for p in copy.directory.rglob("*")}
    with pytest.raises(MissingExtra, match="the ranker needs xgboost"):
        copy(candidates={"fill_to": 25})
    assert {p: p.stat().st_mtime_ns for p in copy.directory.rglob("*")} == before
    assert copy(from_stage="candidates", to_stage="features").ran == ["candidates", "features"]


def test_the_result_tells_what_ran(copy):
    result = copy()
    assert result == Result(copy.directory, [], metrics(copy.directory))


def test_a_changed_ranker_runs_the_rankers_and_what_follows(copy, finished):
    matrices = {p: p.stat().st_mtime_ns for p in (copy.directory / "matrices").rglob("*.parquet")}
    assert copy(ranking={"groups": {"binary": {"rounds": 3, "depth": 2}}}).ran == LATE
    assert {p: p.stat().st_mtime_ns for p in (copy.directory / "matrices").rglob("*.parquet")} == matrices
    # and back again: the same bytes as before
    assert copy().ran == LATE
    for name in (
        "submission.csv",
        "blend.json",
        "models/clicks/binary/fold-0.ubj",
        "predictions/test/carts/part-00000.parquet",
    ):
        assert (copy.directory / name).read_bytes() == (finished[1] / name).read_bytes()


def test_a_changed_blend_runs_the_blend_and_what_follows(copy):
    assert copy(blend={"steps": 2}).ran == ["blend", "submission", "report"]


def test_changed_candidates_run_from_there(copy):
    assert copy(candidates={"fill_to": 20}).ran == ["candidates", "features", *LATE]


def test_threads_and_weights_do_not_touch_the_early_stages(copy):
    ran = copy(targets={"weights": {"clicks": 0.2, "carts": 0.3, "orders": 0.5}}).ran
    assert "submission" in ran and "matrices" not in ran and "events" not in ran


def test_from_and_to(copy):
    result = copy(from_stage="blend")
    assert result.ran == ["blend", "submission", "report"] and result.metrics is not None
    result = copy(from_stage="submission", to_stage="submission")
    assert result.ran == ["submission"] and result.metrics is not None
    result = copy(from_stage="features", to_stage="features")
    assert result.ran == ["features"] and result.metrics is None
    # they gave the same bytes: what follows them stays
    assert copy().ran == []


def test_a_run_up_to_the_submission_shows_its_figures_and_no_page(copy, finished):
    run_dir = copy.directory
    for name in ("metrics.json", "report.html"):
        (run_dir / name).unlink()
    shown = called("--config", finished[0], "--run-dir", run_dir, "--to", "submission")
    assert shown.returncode == 0, shown.stderr
    assert "recall@20" in shown.stdout and shown.stdout.splitlines()[-1] == f"metrics:    {run_dir}/metrics.json"
    assert (run_dir / "metrics.json").exists() and not (run_dir / "report.html").exists()


def test_to_stops_a_fresh_run(tmp_path):
    result = run_pipeline(small(200), run_dir=tmp_path / "run", to_stage="matrices")
    assert result.ran == ["events", "matrices"] and result.metrics is None
    assert not (tmp_path / "run/candidates").exists()


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("matrices/test/time_decay.parquet", "matrices"),
        ("models/clicks/binary/fold-1.ubj", "rankers"),
        ("submission.csv", "submission"),
    ],
)
@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_damage_is_noticed_and_mended(copy, finished, name, stage, damage):
    path = copy.directory / name
    content = path.read_bytes()
    path.unlink() if damage == "deleted" else path.write_bytes(content[: len(content) // 2])
    assert copy().ran == [stage]
    assert path.read_bytes() == content


def test_a_changed_data_file_is_noticed(tmp_path):
    log = frame(200)
    data, config = write_parquet(tmp_path / "log.parquet", log), of_file()
    run = {"data": data, "run_dir": tmp_path / "run", "to_stage": "matrices"}
    assert run_pipeline(config, **run).ran == ["events", "matrices"]
    assert run_pipeline(config, **run).ran == []
    write_parquet(data, log.assign(aid=log["aid"].mask(log.index == 5, 123)))
    assert run_pipeline(config, **run).ran == ["events", "matrices"]


# ------------------------------------------------------------------------------------------------------------- vectors
def test_vectors_that_nobody_uses_are_not_made(finished, copy):
    run_dir = finished[1]
    assert not (run_dir / "embeddings").exists() and metrics(run_dir)["embeddings"] == {}
    for stage in EMBEDDINGS:
        assert json.loads((run_dir / "manifests" / f"{stage}.json").read_text())["files"] == {}
    # so it is all one how they would be made
    assert copy(embeddings={"word2vec": {"dim": 9}, "encoder": None, "seed": 5}).ran == []


def test_a_run_that_uses_the_encoder_tells_how_it_learnt(copy):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'otto_gpu[embeddings]'")
    encoder = {"dim": 8, "epochs": 2, "batch": 16}
    used = {
        "embeddings": {"encoder": encoder, "held_out": 0.2},
        "features": {"families": ["session", "recall", "encoder"]},
    }
    result = copy(**used)
    assert result.ran == ["encoder", "given", "text", "candidates", "features", *LATE]
    assert result.metrics["embeddings"].keys() == {"encoder"}
    for split in SPLITS:
        figures = result.metrics["embeddings"]["encoder"][split]
        first, second = figures["loss"]
        assert 0 < second < first < 20
        assert 0.5 < figures["auc"] < 1 and figures["events"] > 1000
    made = {str(p.relative_to(copy.directory)) for p in (copy.directory / "embeddings").rglob("*.*")}
    files = ("encoder.npy", "encoder.sessions.npy", "encoder.weights.npz")
    assert made == {f"embeddings/{s}/{n}" for s in SPLITS for n in files} | {"embeddings/encoder.json"}
    assert copy(**used).ran == []
    used["embeddings"]["encoder"] = encoder | {"epochs": 1}
    assert copy(**used, to_stage="encoder").ran == ["encoder"]
    # and out of use again: it runs and makes nothing
    assert copy(to_stage="encoder").ran == ["encoder"]
    assert json.loads((copy.directory / "manifests/encoder.json").read_text())["files"] == {}
    assert not [p for p in (copy.directory / "embeddings").rglob("*") if p.is_file()]


# ------------------------------------------------------------------------------------------------------------ mistakes
def test_an_unknown_stage_is_told_with_its_neighbour(tmp_path):
    for option in ("--from", "--to"):
        line = said(called(option, "rankrs", "--run-dir", tmp_path / "run"))
        assert line == "error: unknown stage 'rankrs'; did you mean 'rankers'?"
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path):
    shown = pipeline("--to", "rankrs", "--run-dir", tmp_path / "run", "--debug")
    assert shown.returncode not in (0, 2)
    assert "Traceback" in shown.stderr and "UserError: unknown stage 'rankrs'" in shown.stderr


def test_cuda_without_a_gpu_is_told_with_what_is_missing(tmp_path):
    if choose_device("auto").kind == "cuda":
        pytest.skip("there is a GPU with its packages here")
    for shown in (called("--device", "cuda", "--run-dir", tmp_path / "run"), called("--device", "cuda", "--dry-run")):
        line = said(shown)
        assert re.search(r"device 'cuda': .*(not installed|no usable GPU|no GPU)", line)
        assert "pip install 'otto_gpu[cuda13]'" in line
    assert not (tmp_path / "run").exists()


def test_a_log_that_is_not_named_or_not_there_is_told(tmp_path):
    assert "config 'otto' needs --data PATH" in said(called("--config", "otto"))
    line = said(called("--config", "otto", "--data", tmp_path / "none", "--run-dir", tmp_path / "run"))
    assert f"{tmp_path}/none: no such file or folder" in line
    (tmp_path / "empty").mkdir()
    line = said(called("--config", "otto", "--data", tmp_path / "empty", "--run-dir", tmp_path / "run"))
    assert "no file 'train.jsonl'" in line
    assert not (tmp_path / "run").exists()


def test_data_for_a_generated_log_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"leave --data .* out, or name a --config"):
        run_pipeline(None, data=tmp_path, run_dir=tmp_path / "run")


def test_an_unknown_key_is_one_line(tmp_path):
    config = write_config(tmp_path / "mine.yaml", {"ranking": {"fold": 3}})
    assert said(called("--config", config)) == f"error: {config}: unknown key 'ranking.fold'; did you mean 'folds'?"
    assert "unknown key 'ranking.fold'" in said(called("--set", "ranking.fold=3"))


def test_too_many_bad_rows_stop_the_run_and_leave_nothing_half_written(tmp_path):
    log = frame(200)
    lines = log.to_csv(index=False).splitlines()
    lines[3:9] = ["x,1,2,clicks", "1,2,minus,clicks", "1,2,3,bought", "1,2", "1,,3,clicks", "1,2,-5,carts"]
    data = tmp_path / "log.csv"
    data.write_text("\n".join(lines) + "\n")
    config, run_dir = write_config(tmp_path / "mine.yaml", of_file()), tmp_path / "run"
    line = said(called("--config", config, "--data", data, "--run-dir", run_dir))
    assert re.search(rf"{data}:\d+: ", line) and "events.max_rejected" in line and f"{run_dir}/rejected.parquet" in line
    assert (run_dir / "run.log").read_text().splitlines()[-1].endswith(line)
    rejected = pq.read_table(run_dir / "rejected.parquet")
    assert rejected.column_names == ["file", "row", "reason", "text"] and len(rejected) >= 5
    for name in ("events", "labels", "official", "matrices", "manifests/events.json", "submission.csv"):
        assert not (run_dir / name).exists()
    # and allowed, they are counted
    allowed = of_file(events={"max_rejected": 0.1})
    assert run_pipeline(allowed | {"split": "auto"}, data=data, run_dir=run_dir, to_stage="events").ran == ["events"]
    assert load_config(run_dir / "config.yaml").split.auto
    chosen = (run_dir / "config.yaml").read_text().partition("as it is:\n")[2].replace("# ", "")
    assert {"cut", "by", "test_days", "validation_days"} == set(yaml.safe_load(chosen)["split"])
    assert run_pipeline(allowed, data=data, run_dir=run_dir, to_stage="events").ran == ["events"]
    assert json.loads((run_dir / "events/summary.json").read_text())["counts"]["rejected"] == len(rejected)
    assert pq.read_table(run_dir / "rejected.parquet").equals(rejected)


def test_two_processes_in_one_run_directory(finished):
    config, run_dir, _ = finished
    from otto_gpu.run.progress import Reporter

    with Run(run_dir, Reporter(quiet=True)).locked():
        line = said(pipeline("--config", config, "--run-dir", run_dir))
    assert f"run directory {run_dir}: another process works in it" in line
    assert called("--config", config, "--run-dir", run_dir).returncode == 0


@pytest.mark.parametrize("theirs", ["events/log.csv", "models/best.bin", "config.yaml", "submission.csv"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_what_is_not_the_runs_own_is_left_alone(tmp_path, theirs, more):
    place = tmp_path / "shop" / theirs
    place.parent.mkdir(parents=True)
    place.write_text("precious")
    line = said(called("--set", "events.synthetic_sessions=50", "--run-dir", tmp_path / "shop", *more))
    assert f"holds {theirs.split('/')[0]}, which no run wrote" in line
    assert place.read_text() == "precious" and [p for p in (tmp_path / "shop").rglob("*") if p.is_file()] == [place]


def test_a_run_that_was_copied_without_hidden_files_goes_on(copy):
    (copy.directory / ".lock").unlink()
    assert copy().ran == []


def test_a_run_directory_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    assert "--run-dir" in said(called("--run-dir", tmp_path / "file"))
