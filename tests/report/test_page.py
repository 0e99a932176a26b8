"""The page of a run: its numbers are the run's, computed here in another way; and runs of all kinds have one."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from otto_gpu import evaluate
from otto_gpu.outcome.scores import SessionScores
from otto_gpu.pipeline import run_pipeline
from otto_gpu.report.notes import notes
from otto_gpu.report.page import report_html
from otto_gpu.report.record import Record
from otto_gpu.report.sections import vectors
from otto_gpu.report.stage import run
from tests.outcome.test_submission import OTTO, kaggle, rows
from tests.report.pages import Page
from tests.runs import EMBEDDED, GROUP, TINY, frame, metrics, needs_embeddings, of_file, small, write_parquet

TARGETS = ["clicks", "carts", "orders"]


def page_of(run_dir) -> Page:
    return Page(run_dir / "report.html")


def numbers(cell: str) -> list[float]:
    return [float(n) for n in re.findall(r"[-+]?\d+\.?\d*", cell.replace("−", "-").replace(",", ", ").replace("\xa0", " "))]


@pytest.fixture(scope="module")
def page(finished):
    return page_of(finished)


# ------------------------------------------------------------------------------------------------------- the numbers
def recall_at(run_dir, target: str, k: int) -> float:
    """By the official files alone."""
    truth = [json.loads(line) for line in (run_dir / "official/test_labels.jsonl").read_text().splitlines()]
    lists, hits, most = rows(run_dir), 0, 0
    for session in truth:
        found = session["labels"].get(target)
        wanted = {str(a) for a in (found if isinstance(found, list) else [found] if found is not None else [])}
        hits += len(wanted & set(lists[str(session["session"]), target][:k]))
        most += min(len(wanted), k)
    return hits / most


def test_the_headline_is_the_score_of_the_submission(finished, page):
    recalls = {t: recall_at(finished, t, 20) for t in TARGETS}
    for target, value in recalls.items():
        assert page.tiles[f"recall@20, {target}"][0] == f"{value:.3f}"
    weighted = 0.1 * recalls["clicks"] + 0.3 * recalls["carts"] + 0.6 * recalls["orders"]
    value, note = page.tiles["recall@20, weighted"]
    assert value == f"{weighted:.3f}"
    low, high = metrics(finished)["test"]["interval"]["weighted"]
    sessions = metrics(finished)["test"]["sessions"]
    assert note == f"95 % [{low:.3f},\xa0{high:.3f}], {sessions} sessions" and low <= weighted <= high
    gain = metrics(finished)["test"]["gain_over_hand_set_order"]
    assert numbers(page.tiles["weighted, against the hand-set order"][0]) == [round(gain["difference"]["weighted"], 3)]


def test_beside_the_score_by_the_official_files_alone(finished, page):
    """MRR, recall of what is new to the session, and of what it saw last, by plain loops over the lines."""
    lines = [json.loads(line) for line in (finished / "official/test_sessions.jsonl").read_text().splitlines()]
    seen = {s["session"]: list(dict.fromkeys(str(e["aid"]) for e in reversed(s["events"]))) for s in lines}
    lengths = {s["session"]: len(s["events"]) for s in lines}
    truth = [json.loads(line) for line in (finished / "official/test_labels.jsonl").read_text().splitlines()]
    clicks = {s["session"]: str(s["labels"]["clicks"]) for s in truth if "clicks" in s["labels"]}
    lists = {s: rows(finished)[str(s), "clicks"] for s in clicks}
    new = {s: a for s, a in clicks.items() if a not in seen[s]}
    mrr = np.mean([1 / (lists[s].index(a) + 1) if a in lists[s] else 0 for s, a in clicks.items()])
    hits = np.mean([a in lists[s] for s, a in new.items()])
    table = page.table("", *TARGETS, title="Every metric")
    assert table.rows["MRR at 20"][0] == f"{mrr:.3f}" and table.rows["sessions with answers"][0] == str(len(clicks))
    assert table.rows["recall at 20"][0] == table.rows["hit rate at 20"][0] == page.tiles["recall@20, clicks"][0]
    table = page.table("this run's lead, weighted")
    every = page.tiles["recall@20, clicks"][0]
    assert table.rows["this run"][0] == f"{every} / {hits:.3f}" and table.rows["number of answers"][0].endswith(
        f" / {len(new)}"
    )
    last = np.mean([a in seen[s][:20] for s, a in clicks.items()])
    assert table.rows["last seen"][0] == f"{last:.3f} / 0.000"
    assert page.table("target", "new to the session").rows["clicks"][1].startswith(f"{hits:.3f}")
    table = page.table("events", title="By the length of the history")
    for name, (low, high) in {"1": (1, 1), "2-3": (2, 3), "4-10": (4, 10), "more than 10": (11, 999)}.items():
        mine = [a in lists[s] for s, a in clicks.items() if low <= lengths[s] <= high]
        assert table.rows[name][0] == f"{np.mean(mine):.3f} of {len(mine)}"


def test_sessions_longer_than_what_counts_are_a_note(finished):
    record = Record(finished)
    assert record.metrics["long_sessions"] == {} and not any("most_events" in note.text for note in notes(record))
    told = {"sessions": 2, "events": 7000, "left_out": 2500, "longest": "bot", "its_events": 3000}
    record.metrics["long_sessions"] = {"matrices": {"test": told}}
    assert [note.text for note in notes(record) if "most_events" in note.text] == [
        "2 sessions have more than 1,000 events in what is known in the test period, 'bot' the most: 3,000. Of each the newest "
        "1,000 count (matrices.most_events), 2,500 of 7,000 events do not."
    ]


def test_a_run_of_an_earlier_version_has_a_page(finished, tmp_path):
    """With the figures that it has."""
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("predictions", "part-*.parquet"))
    found = metrics(finished)
    for split in ("validation", "test"):
        for name in ("new_to_the_session", "baselines", "beside", "slices", "lists", "sessions_of"):
            del found[split][name]
        for name in ("left_out", "unknown_answers", "unanswered"):
            del found["events"]["periods"][split][name]
    (tmp_path / "run/metrics.json").write_text(json.dumps(found))
    run(tmp_path / "run", tmp_path / "run")
    page = page_of(tmp_path / "run")
    assert "beside" not in page.sections and page.tiles["recall@20, weighted"][0] == f"{found['test']['weighted']:.3f}"
    assert "What becomes" not in page.text and "left out" not in page.text


def test_recall_along_the_list(finished, page):
    for target in TARGETS:
        table = next(t for t in page.tables if t.head[:2] == ["k", "final lists, test"] and _is_of(page, t, target))
        assert list(table.rows) == [str(k) for k in range(1, 21)]
        for k in (1, 2, 7, 20):
            assert table.rows[str(k)][0] == f"{recall_at(finished, target, k):.3f}", (target, k)
        assert table.rows["20"][1] == f"{metrics(finished)['test']['hand_set_order']['recall@20'][target]:.3f}"
        assert table.rows["20"][2] == f"{metrics(finished)['validation']['recall@20'][target]:.3f}"


def _is_of(page: Page, table, target: str) -> bool:
    """The tables of recall come in the order of the targets."""
    return [t for t in page.tables if t.head[:2] == ["k", "final lists, test"]].index(table) == TARGETS.index(target)


def candidates(run_dir, split: str) -> pd.DataFrame:
    return pd.concat([pq.read_table(p).to_pandas() for p in sorted((run_dir / "candidates" / split).glob("part-*.parquet"))])


def test_coverage_at_every_depth(finished, page):
    frame, truth = candidates(finished, "test"), metrics(finished)["events"]["periods"]["test"]["labels"]
    tables = [t for t in page.tables if t.head[0] == "depth"]
    assert len(tables) == 3
    for target, table in zip(TARGETS, tables, strict=True):
        assert table.head[1:] == ["history", "clicks", "orders", "wide", "all"]
        hits = frame[frame[f"label_{target}"] == 1]
        for depth, cells in table.rows.items():
            for source, cell in zip(table.head[1:-1], cells[:-1], strict=True):
                rank = hits[f"recall_{source}_rank"]
                assert numbers(cell)[0] == pytest.approx(((rank >= 0) & (rank < int(depth))).sum() / truth[target], abs=6e-4)
        assert numbers(list(table.rows.values())[-1][-1])[0] == pytest.approx(len(hits) / truth[target], abs=6e-4)


def test_candidates_per_session(finished, page):
    table = page.table("period", "median")
    for split in ("test", "validation"):
        sizes = candidates(finished, split).groupby("session").size().sort_values().to_numpy()
        sessions, mean, *_, most = table.rows[split]
        assert sessions == f"{len(sizes):,}" and mean == f"{sizes.mean():.1f}" and most == str(sizes.max())
        # the smallest number that so many sessions do not exceed
        at = dict(zip(table.head, [split, *table.rows[split]], strict=True))
        for name, share in (("5 %", 0.05), ("median", 0.5), ("95 %", 0.95)):
            assert int(at[name]) == sizes[int(np.ceil(share * len(sizes))) - 1]


def test_the_features_that_matter(finished, page):
    for target in TARGETS:
        shares: dict[str, float] = {}
        logs = [json.loads(p.read_text())["importance"] for p in (finished / "models" / target).rglob("fold-*.json")]
        assert len(logs) == 6
        logs = [gains for gains in logs if gains]  # without those of a model that never splits
        for gains in logs:
            for name, gain in gains.items():
                shares[name] = shares.get(name, 0) + gain / sum(gains.values()) / len(logs)
        top = sorted(shares, key=lambda n: -shares[n])[:30]
        table = [t for t in page.tables if t.head[:2] == ["feature", "share of gain"]][TARGETS.index(target)]
        assert len(table.rows) == min(30, len(shares)) and set(table.rows) == set(top)
        assert [numbers(cells[0])[0] for cells in table.rows.values()] == [
            pytest.approx(100 * shares[n], abs=0.06) for n in table.rows
        ]
        assert next(iter(table.rows)) == top[0]
    families = page.table("family", "clicks", "carts", "orders")
    for column in range(3):
        assert sum(numbers(cells[column])[0] for cells in families.rows.values()) == pytest.approx(100, abs=0.3)


def test_the_folds(finished, page):
    tables = [t for t in page.tables if t.head[:2] == ["fold", "best round"]]
    assert len(tables) == 9
    for target, table in zip(TARGETS, tables[::3], strict=True):
        for fold, cells in table.rows.items():
            log = json.loads((finished / f"models/{target}/binary/fold-{fold}.json").read_text())
            best = int(np.argmax(log["eval"]["auc"]))
            assert cells[:3] == [str(best + 1), str(len(log["eval"]["auc"])), f"{max(log['eval']['auc']):.3f}"]
    assert "binary: XGBoost, binary:logistic, pairwise: XGBoost, rank:pairwise, leafwise: LightGBM, lambdarank" in page.text


def test_costs_and_settings_and_versions(finished, page):
    costs = page.table("stage", "seconds")
    for stage, cells in costs.rows.items():
        manifest = json.loads((finished / f"manifests/{stage}.json").read_text())
        assert cells == [f"{manifest['seconds']:,.1f}", f"{manifest['peak_memory_mb']:,}"]
    assert {"events", "rankers", "submission"} <= costs.rows.keys() and "report" not in costs.rows
    assert page.table("package", "version").rows["numpy"] == [np.__version__]
    assert "fill_to: 30" in page.text and "early_stopping: 5" in page.text
    counts = metrics(finished)["events"]["counts"]
    assert f"{counts['events']:,} events" in page.text


def test_calibration_is_told_with_the_expected_shift(finished, page):
    tables = [t for t in page.tables if "after the shift" in t.head]
    assert len(tables) == 3  # of the binary group alone
    for target, table in zip(TARGETS, tables, strict=True):
        rows = sum(numbers(n)[0] for n in (c.replace(",", "") for c in table.rows))
        frame = candidates(finished, "validation")
        assert rows <= len(frame)  # rows of bins with the same number share a key here
        sampled = pq.ParquetDataset(finished / "features/validation").read().to_pandas()
        sampled = sampled[sampled[f"sampled_{target}"] == 1]
        odds = [r / (1 - r) for r in (sampled[f"label_{target}"].mean(), frame[f"label_{target}"].mean())]
        assert f"{odds[0] / odds[1]:.1f} times too high" in page.text or f"{odds[0] / odds[1]:,.0f} times too high" in page.text


# ----------------------------------------------------------------------------------------------------- the run before
def test_since_the_run_before(finished, changed):
    page = page_of(changed)
    assert page.table("setting", "before", "now").rows == {"candidates.fill_to": ["30", "40"], "blend.steps": ["4", "2"]}
    after, before = (SessionScores.load(place / "scores.parquet") for place in (changed, finished))
    recalls = [np.array([len(h.row) / h.truth.sum() for h in s.hits]) for s in (after, before)]
    weights = np.array([0.1, 0.3, 0.6])
    tables = [t for t in page.tables if t.head == ["", "difference"]]
    assert len(tables) == 2  # over the hand-set order, and this one
    table = tables[1]
    for i, target in enumerate(TARGETS):
        assert numbers(table.rows[target][0])[0] == pytest.approx(recalls[0][i] - recalls[1][i], abs=6e-4)
    assert numbers(table.rows["weighted"][0])[0] == pytest.approx(weights @ (recalls[0] - recalls[1]), abs=6e-4)
    assert page.tiles["weighted, against the run before"][0] == table.rows["weighted"][0].split()[0]
    assert f"scored on {len(after.ids):,} test sessions" in page.text
    assert "before" in page.sections and "before" not in page_of(finished).sections


def test_settings_that_were_not_kept_are_not_missed(changed, tmp_path):
    """A run directory of before the settings were kept, its scores neither."""
    shutil.copytree(changed, tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path / "run/previous"):
        path = folder / "metrics.json"
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "config"}))
        (folder / "scores.parquet").unlink()
    (tmp_path / "run/candidates/coverage_curves.json").unlink()
    run(tmp_path / "run", tmp_path / "run")
    page = page_of(tmp_path / "run")
    assert "The settings of the run before were not kept." in page.text and "cannot be compared session by session" in page.text
    assert "fill_to: 40" in page.text  # of config.yaml


# ---------------------------------------------------------------------------------------------------- whole in itself
def test_the_page_asks_for_nothing(page):
    assert "script" not in page.tags and "iframe" not in page.tags and "img" not in page.tags
    assert "default-src 'none'" in page.source
    assert not re.search(r"https?:", page.source)
    assert not re.search(r"@import|@font-face|url\((?!#)", page.source)
    links = set(re.findall(r'href="([^"#][^"]*)"', page.source))
    assert links == {"data:,", "model_card.md"}


def test_every_section_is_in_the_contents_and_every_chart_is_told(page):
    anchors = re.findall(r'<a href="#([^"]+)"', page.source)
    assert anchors == [s for s in page.sections if s != "notes"]
    assert page.sections[:4] == ["notes", "score", "beside", "recall"]
    ids = re.findall(r'\sid="([^"]+)"', page.source)
    assert len(ids) == len(set(ids))
    charts = page.tags.count("svg")
    assert charts == len(page.labels) == page.tags.count("figure") and charts > 15
    assert all(len(label) > 30 for label in page.labels)
    assert page.source.count("<figcaption>") == charts


def test_what_becomes_of_the_periods(finished, page):
    """The fates of all events, which are told with their shares, add up."""
    for split in ("test", "validation"):
        counts = metrics(finished)["events"]["periods"][split]["left_out"]
        table = page.table("sessions", "events", *TARGETS, title=f"What becomes of the {split} period")
        whole = table.rows[f"all of the {split} period"]
        assert whole == [f"{counts[name]['all']:,}" for name in ("sessions", "events")] + [
            f"{counts['targets'][t]['all']:,}" for t in TARGETS
        ]
        parts = [row for name, row in table.rows.items() if name.startswith(("left out: ", "known: ", "asked: "))]
        for place in (1, 2, 3, 4):
            cells = [row[place].replace(",", "") for row in parts]
            total = int(whole[place].replace(",", ""))
            assert sum(int(cell.split("\n")[0]) for cell in cells) == total
            assert all(numbers(c)[1] == pytest.approx(100 * numbers(c)[0] / total, abs=0.5) for c in cells if "(" in c)
        began = counts["targets"]["orders"]["began_earlier"]
        assert table.rows["left out: of sessions that began before it"][4].startswith(f"{began}\n(") and began
        labels = metrics(finished)["events"]["periods"][split]["labels"]
        assert table.rows["answers"][2:] == [f"{labels[t]:,}" for t in TARGETS]
    assert "what older ones do in it is left out" in page.text and "items without an event in what is known" not in page.text


def test_much_that_is_left_out_is_a_warning_on_page_and_card(finished, tmp_path):
    """Also answers of a test file that were not taken, and rows of the log, where a reader counts them."""
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("predictions", "part-*.parquet"))
    found = metrics(finished)
    test, validation = (found["events"]["periods"][split] for split in ("test", "validation"))
    orders = test["left_out"]["targets"]["orders"]
    orders |= {"unknown_items": orders["asked"], "asked": 0}
    validation["unknown_answers"]["clicks"] = validation["labels"]["clicks"]
    test |= {"unanswered": 3, "answers": {"answers": 70, "other_sessions": 5, "not_next": 0}}
    counts = found["events"]["counts"]
    counts |= {"read": 1000, "reasons": {"no time": 4}, "duplicates": 60, "later": 200, "far": 1, "tail": 7}
    found["events"]["split"] = {"split": {"cut": "random", "by": "time", "test_days": 2}, "because": "sessions last a day"}
    counts |= {"left_out": {"remove_from_cart": 9, "": 1}, "missing": {"session": 300, "aid": 0}}
    (tmp_path / "run/metrics.json").write_text(json.dumps(found))
    run(tmp_path / "run", tmp_path / "run")
    page, card = page_of(tmp_path / "run"), (tmp_path / "run/model_card.md").read_text()
    share = round(100 * orders["unknown_items"] / orders["all"])
    clicks = validation["labels"]["clicks"]
    told = [
        f"In the test period {orders['unknown_items']} of {orders['all']} orders ({share} %) are of items that have no event",
        f"In the validation period {clicks} of {clicks} clicks that are asked (100 %) are of items without an event",
        "Sessions without an answer have lists, but no figure.",
        "5 of 70 rows of events.test_answers are of sessions that the test file lacks",
    ]
    for text in told:
        assert text in page.text and text in " ".join(card.split())
    assert "split: auto chose split: {cut: random, by: time, test_days: 2}, because sessions last a day." in page.text
    assert "far from the log's own days" in page.text and "thin tail" in page.text
    assert "come after the first" not in page.text
    table = page.table("sessions", "events", title="What becomes of the test period")
    assert table.rows["answers"][0] == f"{test['sessions'] - 3:,}"
    table = page.table("sessions", "events", title="What becomes of the validation period")
    assert table.rows["answers of items without an event in what is known"][2] == str(clicks)
    rows = page.table("", "rows", "share").rows
    assert rows["rejected: no time"] == ["4", "0.4\xa0%"] and rows["left out: at or after events.before"] == [
        "200",
        "20.0\xa0%",
    ]
    assert rows["left out: stood there before"] == ["60", "6\xa0%"]
    assert rows["left out: type remove_from_cart"][0] == "9" and rows["left out: type none"][0] == "1"
    assert rows["left out: no session"] == ["300", "30.0\xa0%"] and "left out: no item" not in rows
    warned = page.source[page.source.index('<section id="notes"') :].partition("</section>")[0].partition('<li class="note"')[0]
    assert "300 rows (30.0\xa0%) without an id" in warned and "60 events (6\xa0%) stood twice" in warned
    assert "set events.duplicates: keep" in warned and "200 events" not in warned


def test_the_same_run_gives_the_same_bytes(finished):
    assert report_html(Record(finished)) == (finished / "report.html").read_text()


def test_a_page_is_small(finished):
    assert (finished / "report.html").stat().st_size < 1_000_000


# ------------------------------------------------------------------------------------------------------ other kinds
def test_a_test_period_without_ground_truth(tmp_path):
    kaggle(tmp_path / "otto", 600, 50)
    changes = [f"{key}={json.dumps(value)}" for key, value in OTTO.items()]
    from otto_gpu.config import load_config

    run_pipeline(load_config("otto", changes), data=tmp_path / "otto", run_dir=tmp_path / "run")
    page, found = page_of(tmp_path / "run"), metrics(tmp_path / "run")
    assert page.tiles["validation: recall@20, weighted"][0] == f"{found['validation']['weighted']:.3f}"
    assert "The test period has no ground truth: its lists are not scored." in page.text
    assert not (tmp_path / "run/scores.parquet").exists()
    assert page.table("period", "sessions", "ground truth").rows["test"][-1] == "none"
    assert "recall" in page.sections and not any("test" in name for name in page.tiles)


@pytest.mark.parametrize("absent", [["orders"], ["carts", "orders"]])
def test_absent_types(tmp_path, absent):
    log = frame(500)
    data = write_parquet(tmp_path / "log.parquet", log[~log["type"].isin(absent)])
    run_pipeline(of_file(), data=data, run_dir=tmp_path / "run")
    page = page_of(tmp_path / "run")
    for name in absent:
        assert f"The log has no {name}, so there is nothing to learn and to score for that target." in page.text
        assert page.tiles[f"recall@20, {name}"] == ("–", "absent")
        assert page.table("target", "recall@20").rows[name][0] == "absent"
    assert page.tiles["recall@20, clicks"][0] != "–"


def test_targets_without_models(tmp_path):
    run_pipeline(small(300, ranking={"min_positives": 100_000}), run_dir=tmp_path / "run")
    page = page_of(tmp_path / "run")
    assert "No rankers for clicks, carts and orders: too few positives to train on" in page.text
    assert "calibration" not in page.sections and "rankers" in page.sections
    assert "hand-set order 1" in page.table("target", "weights").rows["clicks"][0]


def test_everything_that_a_run_can_have(tmp_path):
    """Vectors, fusion, a cascade, a search, two groups, and a target that shares the models of all."""
    needs_embeddings()
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'otto_gpu[search]'")
    config = small(
        700,
        **EMBEDDED,
        ranking={
            "groups": {"binary": GROUP, "pairwise": GROUP | {"objective": "rank:pairwise"}},
            "transfer": True,
            "min_positives": 60,
            "cascade": {"carts": ["clicks"]},
            "search": {"seconds": 0.1, "trials": 2},
        },
    )
    run_pipeline(config, run_dir=tmp_path / "run")
    page = page_of(tmp_path / "run")
    assert {"vectors", "rankers", "calibration"} <= set(page.sections)
    coverage = next(t for t in page.tables if t.head[0] == "depth")
    assert coverage.head[1:] == ["history", "clicks", "orders", "wide", "encoder", "fusion", "all"]
    assert page.table("vectors", "held-out AUC").rows.keys() >= {"word2vec, test", "encoder, validation"}
    facts = json.loads((tmp_path / "run/models/features.json").read_text())
    pooled = [target for target in TARGETS if facts[target]["folder"] == "all_targets"]
    assert "orders" in pooled and f"Too few positives of {' and '.join(pooled)} alone" in page.text
    assert "Scores of pairwise only order" in page.text
    families = page.table("family", "clicks", "all targets together")
    assert {"embedding", "recall"} <= families.rows.keys()
    assert page.table("trial", "score").rows
    assert "Fusion keeps at most 40" in page.text
    map_ = page.source[page.source.index('<section id="map"') :].partition("</section>")[0]
    assert "The vectors of encoder on a plane, by t-SNE" in map_ or "pip install &#39;otto_gpu[map]&#39;" in map_


def test_another_log_with_one_type_another_metric_and_a_wide_submission(tmp_path, capsys):
    log = frame(400)
    log = log[log["type"] == "clicks"].assign(type="listen")
    config = of_file(
        targets={"types": ["listen"], "weights": {"listen": 1.0}, "next_only": [], "k": 7, "metric": "mrr"},
        submission={"format": "wide", "prefix": "song_"},
        candidates={"order": {"listen": "orders"}},
        split={"by": "session"},
    )
    run_pipeline(config, data=write_parquet(tmp_path / "log.parquet", log), run_dir=tmp_path / "run")
    page = page_of(tmp_path / "run")
    assert page.tiles["mrr@7, listen"][0] == page.tiles["mrr@7, weighted"][0] != "–"
    assert page.table("", "listen", title="Every metric").rows["MRR at 7"][0] == page.tiles["mrr@7, listen"][0]
    header = (tmp_path / "run/submission.csv").read_text().partition("\n")[0]
    assert header == ",".join(["session", *(f"song_{place}" for place in range(1, 8))])
    labels = [json.loads(line) for line in (tmp_path / "run/official/test_labels.jsonl").read_text().splitlines()]
    answers = [f"{s['session']},{a}" for s in labels for a in s["labels"].get("listen", [])]
    (tmp_path / "answers.csv").write_text("\n".join(["session,aid", *answers]) + "\n")
    files = ["--answers", str(tmp_path / "answers.csv"), "--predictions", str(tmp_path / "run/submission.csv")]
    assert evaluate.main([*files, "--metric", "mrr", "--k", "7", "--json"]) == 0
    scored, figures = json.loads(capsys.readouterr().out), metrics(tmp_path / "run")["test"]
    assert scored["mrr@7"]["answers"] == figures["mrr@7"]["listen"] and scored["users"] == figures["sessions"]
    blend = metrics(tmp_path / "run")["blend"]["listen"]
    assert blend["mrr@7"] == round(metrics(tmp_path / "run")["validation"]["weighted"], 6)
    assert "random shares of the sessions" in page.text


def test_vectors_that_found_no_pairs_are_told_and_not_drawn(tmp_path):
    """Those of bought items, in a log of clicks alone."""
    needs_embeddings()
    log = frame(400)
    config = of_file(
        targets={"types": ["clicks"], "weights": {"clicks": 1}},
        candidates={"order": {"clicks": "clicks"}},
        embeddings={"word2vec": None, "factorization": {"factorization_1": TINY, "factorization_1_5": None}, "seq2seq": None},
        features={"families": ["session", "recall", "embedding"]},
    )
    run_pipeline(config, data=write_parquet(tmp_path / "log.parquet", log[log["type"] == "clicks"]), run_dir=tmp_path / "run")
    page = page_of(tmp_path / "run")
    table = page.table("vectors", "last loss").rows
    for split in ("test", "validation"):
        assert table[f"factorization_bought_1_9, {split}"] == ["0", "–", "–", "–"]
        assert table[f"factorization_1, {split}"][0] == "1" and float(table[f"factorization_1, {split}"][2]) > 0
        assert f"Before the {split} period factorization_bought_1_9 found nothing to learn from" in page.text
    drawn = page.source[page.source.index('<section id="vectors"') :].partition("<figure>")[2].partition("<details")[0]
    assert "factorization_1<" in drawn and "bought" not in drawn


def test_where_no_vectors_found_anything_there_is_no_picture():
    nothing = {"loss": [], "auc": None}
    record = SimpleNamespace(metrics={"embeddings": {"word2vec": {"test": nothing, "validation": nothing}}})
    made = vectors.section(record)
    assert not made.groups and made.tables[0].table.rows == [
        ["word2vec, validation", "0", "–", "–", "–"],
        ["word2vec, test", "0", "–", "–", "–"],
    ]
    assert sum("word2vec found nothing to learn from" in text for text in made.texts) == 2


SCRIPT, PICTURE = "<script>alert(1)<", "&lt;img src=x onerror=alert(1)&gt;"
RECIPE = "a|b (javascript:alert(1)) & 'c'"
HOSTILE_TYPES = [PICTURE, "$a_b$ 'q\"", "漢字 & more"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run whose types, sources, session ids and folders are markup: for HTML, for Markdown and for matplotlib."""
    folder = tmp_path_factory.mktemp("hostile")
    log = frame(400, types=HOSTILE_TYPES)
    log["session"] = "<b>" + log["session"].astype(str)
    (folder / SCRIPT).mkdir()
    config = of_file(
        targets={"types": HOSTILE_TYPES, "weights": dict.fromkeys(HOSTILE_TYPES, 1.0), "next_only": []},
        candidates={"recipes": {RECIPE: {"lines": [{"keys": "all", "matrix": "time_decay"}]}}, "bought": [], "order": {}},
        features={"families": ["recall"]},
    )
    run_pipeline(config, data=write_parquet(folder / SCRIPT / "log.parquet", log), run_dir=folder / "run")
    return folder / "run"


def test_markup_in_names_is_shown_and_not_obeyed(hostile):
    page = page_of(hostile)
    assert not {"script", "img"} & set(page.tags)
    assert page.tags.count("b") == page_of(hostile).source.count("<b>")
    assert f"recall@20, {PICTURE}" in page.tiles and SCRIPT in page.text and HOSTILE_TYPES[1] in page.text
    assert RECIPE in next(t for t in page.tables if t.head[0] == "depth").head
    assert not re.search(r"<[^>]*\salert", page.source)
    card = (hostile / "model_card.md").read_text()
    assert "<" not in card.replace("<br>", "") and "&amp;lt;img src=x onerror=alert(1)&amp;gt;" in card
    # a sign in a name does not make another column
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block
