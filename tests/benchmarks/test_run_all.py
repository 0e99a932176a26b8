from benchmarks.run_all import main


def test_every_benchmark_runs_on_a_tiny_log(tmp_path):
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    made = {p.stem for p in tmp_path.glob("*.json")}
    assert made == {"matrices", "reading", "throughput", "end_to_end", "recommend"}
