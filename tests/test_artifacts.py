"""docs/artifacts.md against the files of real runs."""

import json
import re
from dataclasses import dataclass, field

import pandas as pd
import pyarrow.parquet as pq
import pytest

from otto_gpu.pipeline import STAGES, run_pipeline
from tests.runs import EMBEDDED, GROUP, LEAFWISE, ROOT, frame, needs_embeddings, of_file, small

DOCUMENT = (ROOT / "docs/artifacts.md").read_text()
DTYPES = {"float": "float32", "double": "float64"}  # what Arrow calls otherwise
# of a run that is told of, but not of every run
NOT_ALWAYS = {
    "models/{target}/{group}/search.json", "previous/metrics.json", "previous/scores.parquet", ".partial/{stage}/{file}",
}  # fmt: skip


def expression(name: str) -> str:
    """A documented name, with {placeholders}, as a regular expression."""
    return "".join(r"[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", name))


@dataclass
class Column:
    name: str
    dtypes: list[str]

    def fits(self, name: str, dtype: str) -> bool:
        return bool(re.fullmatch(expression(self.name), name)) and (self.dtypes == ["any"] or dtype in self.dtypes)


@dataclass
class Documented:
    names: list[str]
    columns: list[Column] = field(default_factory=list)


def documented() -> list[Documented]:
    """The document's headings with their files, and the tables of columns below them."""
    found = []
    for section in re.split(r"^### ", DOCUMENT, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", body, re.MULTILINE)
        columns = [Column(name, re.split(r", | or ", dtypes.strip())) for name, dtypes in rows]
        found.append(Documented(re.findall(r"`([^`]+)`", heading), columns))
    return found


def of(name: str) -> Documented:
    """What is said of a file; of several names the one with the fewest placeholders fits best."""
    fitting = [(n.count("{"), d) for d in documented() for n in d.names if re.fullmatch(expression(n), name)]
    assert fitting, f"docs/artifacts.md does not tell of {name}"
    return min(fitting, key=lambda one: one[0])[1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run on a log with text ids, a further column, attributes of the items and a context."""
    folder = tmp_path_factory.mktemp("plain")
    log = frame(400).assign(aid=lambda f: "item " + f["aid"].astype(str), device="phone", hour=3)
    log.to_csv(folder / "log.csv", index=False)
    items = pd.DataFrame({"aid": log["aid"].unique(), "colour": "red", "size": 1.5, "made": 10**12, "title": "a thing"})
    items.to_csv(folder / "items.csv", index=False)
    kinds = {"colour": "code", "size": "number", "made": "time", "title": "text"}
    settings = of_file(
        events={"extra": ["device"], "context": {"hour": "code"}}, items={"file": "items.csv", "columns": kinds},
        features={"families": ["session", "recall", "attributes", "context", "rank"]},
        ranking={"groups": {"binary": GROUP, "leafwise": LEAFWISE}},
    )  # fmt: skip
    return run_pipeline(settings, data=folder / "log.csv", run_dir=folder / "run").run_dir


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """A run with vectors and learned fusion."""
    needs_embeddings()
    return run_pipeline(small(400, **EMBEDDED), run_dir=tmp_path_factory.mktemp("embedded") / "run").run_dir


@pytest.fixture(params=["plain", "embedded"])
def run_dir(request):
    return request.getfixturevalue(request.param)


def files(run_dir) -> list[str]:
    return sorted(str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if p.is_file())


def test_every_file_of_a_run_is_documented(run_dir):
    for name in files(run_dir):
        of(name)


def test_the_columns_are_those_of_the_document(run_dir):
    for name in files(run_dir):
        columns, path = of(name).columns, run_dir / name
        if name.endswith(".parquet"):
            made = [(f.name, DTYPES.get(str(f.type), str(f.type))) for f in pq.read_schema(path)]
        elif name.endswith(".csv"):
            made = [(column, "string") for column in pd.read_csv(path, nrows=0).columns]
        else:
            assert not columns, f"{name} has no columns"
            continue
        assert columns, f"docs/artifacts.md names no columns of {name}"
        places = []
        for column, dtype in made:
            fitting = [i for i, c in enumerate(columns) if c.fits(column, dtype)]
            own = [i for i in fitting if "{" not in columns[i].name] or fitting
            assert own, f"{name}: the column {column} of {dtype} is not in docs/artifacts.md"
            places.append(own[0])
        always = [i for i, c in enumerate(columns) if "{" not in c.name]
        assert [i for i in places if i in always] == always, f"{name}: columns are missing, or in another order"


def test_every_documented_file_is_made(plain, embedded):
    names = files(plain) + files(embedded)
    for name in (n for d in documented() for n in d.names):
        assert name in NOT_ALWAYS or any(re.fullmatch(expression(name), made) for made in names), name


def test_the_stages_that_write_and_read_are_stages():
    told = set(re.findall(r"^Written by `(\w+)`", DOCUMENT, re.MULTILINE))
    assert told <= set(STAGES) and len(told) > 8


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("events/summary.json", {"counts", "absent", "periods"}),
        ("metrics.json", {"validation", "test", "blend", "embeddings", "events", "stages", "versions"}),
        ("models/clicks/binary/fold-0.json", {"train", "eval", "best_round", "best_score", "importance"}),
        ("models/features.json", {"clicks"}),
        ("manifests/matrices.json", {"fingerprint", "files", "settings", "versions", "seconds", "peak_memory_mb", "rows"}),
        ("candidates/coverage.json", {"validation", "test"}),
    ],
)
def test_json_files_hold_what_is_said(plain, name, keys):
    assert keys <= set(json.loads((plain / name).read_text()))
