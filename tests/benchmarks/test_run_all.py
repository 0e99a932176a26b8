from pathlib import Path

from benchmarks import run_all

OWN = {"crawlers", "matrices", "reading", "end_to_end"}  # whose tests beside this one run them on a tiny log already


def test_every_benchmark_runs_on_a_tiny_log(tmp_path, monkeypatch):
    assert {benchmark for benchmark, _ in run_all.FULL.values()} == {benchmark for benchmark, _ in run_all.QUICK.values()}
    assert all((Path(__file__).parent / f"test_{name}.py").is_file() for name in OWN)
    others = {name: how for name, how in run_all.QUICK.items() if name not in OWN}
    monkeypatch.setattr(run_all, "QUICK", others)
    assert run_all.main(["--quick", "--out", str(tmp_path)]) == 0
    assert {p.stem for p in tmp_path.glob("*.json")} == set(others) == {"throughput", "recommend"}
