"""A real service in a process of its own, and a plain client."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.runs import ROOT


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Service:
    process: subprocess.Popen
    address: str

    @property
    def place(self) -> tuple[str, int]:
        parts = urlsplit(self.address)
        return parts.hostname, parts.port

    def ask(self, method: str, path: str, body=None, headers: dict | None = None) -> Answer:
        """body: bytes as they are, anything else as JSON."""
        connection = http.client.HTTPConnection(*self.place, timeout=60)
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            given = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, body, given | (headers or {}))
            return answer_of(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body, headers: dict | None = None) -> Answer:
        return self.ask("POST", path, body, headers)

    def stop(self, by: int = signal.SIGTERM) -> tuple[int, str]:
        """(exit code, what it said on stderr)"""
        self.process.send_signal(by)
        return self.process.wait(60), self.process.stderr.read()


def answer_of(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@contextmanager
def serving(run_dir, *options, before=None, program=("-m", "otto_gpu.serve")):
    """Until the end of the block, on a free port. before: called in its process at the very first; program: of Python."""
    line = [sys.executable, *program, str(run_dir), "--port", "0", "--device", "cpu", *map(str, options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, env=environment, preexec_fn=before, **pipes) as process:
        try:
            said = ""
            for told in process.stdout:
                said += told
                found = re.search(r"serving (http://\S+)", told)
                if found:
                    yield Service(process, found[1])
                    break
            else:
                raise AssertionError(f"no service: {said}{process.stderr.read()}")
        finally:
            if process.poll() is None:
                process.kill()
