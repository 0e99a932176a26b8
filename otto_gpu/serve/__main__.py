"""python -m otto_gpu.serve RUN: the lists of a finished run over HTTP."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

from otto_gpu.command import Parser, run_command
from otto_gpu.needs import Need, look_for
from otto_gpu.serve.limits import Limits

ENDING_SECONDS = 1.0  # for a call that is under way, whose request has had --stop-seconds


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    return run_command(lambda: _run(given), given.debug)


def _run(given: argparse.Namespace) -> int:
    look_for(Need("the service", package, "serve") for package in ("fastapi", "uvicorn"))
    from otto_gpu.recommend import Recommender
    from otto_gpu.serve.app import Service, application
    from otto_gpu.serve.hosts import names_of, only
    from otto_gpu.serve.server import address, bound_socket, serve
    from otto_gpu.serve.worker import Worker

    limits = Limits.of(given)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.WARNING)
    with bound_socket(given.host, given.port) as listening:  # before the run is loaded, which takes longer
        began = time.monotonic()
        recommender = Recommender.load(given.run, given.device, given.threads)
        worker = Worker(recommender, limits)
        service = Service(recommender, given.run, limits, worker)
        service.warm_up()
        worker.start()
        seconds = time.monotonic() - began

        def ready() -> None:
            print(
                f"run {recommender.config.name}, device {recommender.device}, loaded in {seconds:.1f} s\n"
                f"serving {address(listening)} (the page; its API: /docs); stop it with Ctrl-C or SIGTERM",
                flush=True,
            )

        names = names_of(given.host, listening.getsockname()[0], given.allow_host)
        serve(only(application(service), names), listening, limits, ready, service.stop)
        worker.stop(ENDING_SECONDS)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m otto_gpu.serve",
        description="A finished run answers over HTTP: lists for open sessions and why, a page to try it, its API at /docs. "
        "No TLS and no authentication: put a proxy before it.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's directory, such as runs/demo")
    parser.add_argument("--host", default="127.0.0.1", help="where it listens (default: %(default)s, this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free (default: %(default)s)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="a further name that it is asked by, such as that of a proxy before it (repeatable; default: this machine's own, "
        "or any where others than this machine can reach it)",
    )  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, metavar="N", help="of the kernels (default: all cores)")
    Limits.add_options(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error of the command line")
    return parser


if __name__ == "__main__":
    sys.exit(main())
