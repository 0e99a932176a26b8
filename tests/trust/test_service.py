"""The service's promises, in short; `make trust` has the long form."""

import shutil
from pathlib import Path

import pytest

from otto_gpu import run_pipeline
from tests.runs import GROUP, small
from tests.serve.service import serving
from tests.trust.service import Load, at_random, histories, killed, odd, overload, stop_under_load


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'otto_gpu[serve]'")
    return run_pipeline(small(400), run_dir=tmp_path_factory.mktemp("trust") / "run").run_dir


@pytest.fixture(scope="module")
def service(run_dir):
    with serving(run_dir, "--waiting", "24", "--header-seconds", "2", "--body-seconds", "2") as found:
        yield found


def test_odd_bytes(service):
    odd(service)


def test_random_requests_are_answered_as_the_service_says(service):
    pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install 'otto_gpu[test]'")
    assert at_random(service, 60).keys() <= {"200", "400", "404", "413", "422"}


def test_more_than_its_capacity(service, run_dir):
    # other tests run beside it: what it bears may change meanwhile
    load = overload(service, run_dir, 3, times=4, late=20)
    assert load["refused"] > 0


def test_it_ends_under_load(run_dir):
    stop_under_load(run_dir, 0)


@pytest.mark.long
def test_a_kill_leaves_the_run_as_it_was(run_dir):
    killed(run_dir, 1)


@pytest.mark.long
def test_two_services_and_a_pipeline_in_one_directory(run_dir, tmp_path):
    """Both answer from what they loaded, also while the run is made anew; one that starts then has the new models."""
    copied = Path(shutil.copytree(run_dir, tmp_path / "run"))
    asked = histories(copied, 20)
    with serving(copied) as one, serving(copied) as two:
        with Load(one, asked, 2) as load, Load(two, asked, 2) as other:
            run_pipeline(small(400, ranking={"groups": {"binary": GROUP | {"depth": 1}}}), run_dir=copied)
        for found in (load, other):
            assert found.outcomes.keys() == {"200"}, found.outcomes
        for service in (one, two):
            assert service.get("/examples").status == service.get("/").status == 200 and service.stop() == (0, "")
    with serving(copied) as service:
        found = [service.post("/recommend", body.encode()).json for body, _ in asked]
    assert found != [expected for _, expected in asked]
