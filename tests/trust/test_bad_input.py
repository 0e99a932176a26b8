"""Every kind of bad input ends in one clear line and exit code 2, or is counted: no traceback, nothing half-written."""

import re

import pytest

from tests.runs import artifacts, frame, write_config
from tests.trust.machine import call, half_written, mistake
from tests.trust.spoilt import COUNTED, MENDED, MISTAKES, SETTINGS, Place, csv, rejected_of


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """(config file, data, run directory) of a run that is whole."""
    folder = tmp_path_factory.mktemp("finished")
    config, data = write_config(folder / "c.yaml", SETTINGS), folder / "log.csv"
    data.write_bytes(csv(frame(250)))
    done = call("pipeline", "--config", config, "--data", data, "--run-dir", folder / "run")
    assert done.code == 0, done.err
    return config, data, folder / "run"


@pytest.fixture
def place(tmp_path, finished):
    return Place(tmp_path, finished)


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_end_in_one_line(place, kind):
    prepare, said = MISTAKES[kind]
    module, arguments = prepare(place)
    spoilt = half_written(place.folder)  # what the case itself cut short
    line = mistake(call(module, *arguments))
    assert re.search(said, line), line
    assert len(line) < 2100
    assert set(half_written(place.folder)) <= set(spoilt)
    assert not (place.folder / "lists.csv").exists() and not (place.folder.parent / "elsewhere").exists()


@pytest.mark.parametrize("kind", MENDED)
def test_damage_to_a_run_is_put_right(place, kind):
    prepare, said = MENDED[kind]
    module, arguments = prepare(place)
    done = call(module, *arguments)
    assert done.code == 0 and not done.err, done.err
    assert re.search(said, done.out), done.out
    assert artifacts(place.folder / "run") == artifacts(place.finished[2])
    precious = place.folder / "precious.txt"
    assert not precious.exists() or precious.read_text() == "precious"


@pytest.mark.parametrize("kind", COUNTED)
def test_bad_rows_are_counted(place, kind):
    prepare, rejected = COUNTED[kind]
    module, arguments = prepare(place)
    done = call(module, *arguments)
    assert done.code == 0 and not done.err, done.err
    assert rejected_of(done, place.folder / "run") == rejected
    assert half_written(place.folder) == []
    assert ("set events.ts_unit" in done.out) == (kind == "times in s, split by session")
