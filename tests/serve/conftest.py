import pytest

from otto_gpu import Recommender, run_pipeline
from tests.runs import frame, of_file, small, write_parquet
from tests.serve.service import serving

OWN_NAMES = {"clicks": "view", "carts": "basket", "orders": "purchase"}


@pytest.fixture(scope="session", autouse=True)
def extra():
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'otto_gpu[serve]'")


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    """A small run whose ids are integers and whose times are ms."""
    return run_pipeline(small(400), run_dir=tmp_path_factory.mktemp("serve") / "run").run_dir


@pytest.fixture(scope="session")
def recommender(run_dir):
    return Recommender.load(run_dir, device="cpu")


@pytest.fixture(scope="session")
def service(run_dir):
    with serving(run_dir) as found:
        yield found


@pytest.fixture(scope="session")
def worded_dir(tmp_path_factory):
    """A small run whose log has words of its own: items with markup in their ids, times as text, other names of the types, and
    a context whose columns no name in Python could have."""
    folder = tmp_path_factory.mktemp("worded")
    log = frame(300)
    log["aid"] = "<b>" + log["aid"].astype(str) + "</b><script>alert(1)</script>"
    log["session"] = "visit " + log["session"].astype(str)
    log["type"] = log["type"].map(OWN_NAMES)
    log["ts"] = log["ts"].astype("datetime64[ms]").dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    log["click os"] = (log["ts"].str[-4:-2].astype(int) % 3).map({0: "a <b>", 1: "7"})
    log["class"] = log["type"].str.len() / 2
    events = {
        "context": {"click os": "code", "class": "number"},
        "ts_unit": "iso",
        "types": {own: name for name, own in OWN_NAMES.items()},
    }
    config = of_file(events=events, features={"families": ["session", "recall", "context"]}, name="worded")
    return run_pipeline(config, data=write_parquet(folder / "log.parquet", log), run_dir=folder / "run").run_dir
