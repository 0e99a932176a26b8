"""The command line: what a user gets wrong ends in one line."""

import json
import shutil
import socket
import subprocess
import sys

from tests.runs import ROOT, called, said
from tests.serve.service import serving


def test_a_port_that_is_taken(run_dir, service):
    _, port = service.place
    refused = said(called(run_dir, "--port", port, module="serve"))
    assert f"127.0.0.1:{port}: something listens there already; choose another --port" in refused


def test_addresses_that_are_none(run_dir):
    assert "192.0.2.1:0: " in said(called(run_dir, "--port", "0", "--host", "192.0.2.1", module="serve"))
    assert "nowhere.invalid:0: " in said(called(run_dir, "--port", "0", "--host", "nowhere.invalid", module="serve"))
    assert "--port must be between 0 and 65535" in said(called(run_dir, "--port", "70000", module="serve"))


def test_runs_that_are_not_whole(run_dir, tmp_path):
    assert "no such run directory" in said(called(tmp_path / "none", "--port", "0", module="serve"))
    shutil.copytree(run_dir, tmp_path / "half")
    (tmp_path / "half/manifests/submission.json").unlink()
    assert "not finished" in said(called(tmp_path / "half", "--port", "0", module="serve"))


def test_limits_that_are_none(run_dir):
    assert "limits: body_bytes: " in said(called(run_dir, "--port", "0", "--body-bytes", "10", module="serve"))
    assert "limits: k: " in said(called(run_dir, "--port", "0", "--k", "2000", module="serve"))


def test_help_names_every_limit(run_dir):
    told = called("--help", module="serve")
    assert told.returncode == 0 and "--body-bytes" in told.stdout and "put a proxy before it" in told.stdout


def test_without_the_extra(run_dir):
    program = f"""
import sys
sys.modules["uvicorn"] = None
from otto_gpu.serve.__main__ import main
sys.exit(main([{str(run_dir)!r}]))
"""
    refused = said(subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60))
    assert refused == "error: the service needs uvicorn, which is not installed: pip install 'otto_gpu[serve]'"


def test_ipv6(run_dir):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return
    with serving(run_dir, "--host", "::1") as service:
        assert service.address.startswith("http://[::1]:") and json.loads(service.get("/health").body)["ready"]
        assert service.stop() == (0, "")
