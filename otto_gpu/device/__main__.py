"""`python -m otto_gpu.device`: what there is for CUDA, what is missing, how to install it."""

import sys

from otto_gpu.command import Parser, run_command
from otto_gpu.device.report import report


def main(arguments: list[str] | None = None) -> int:
    Parser(prog="python -m otto_gpu.device", description="What there is for CUDA, what is missing.").parse_args(arguments)

    def run() -> int:
        print(report())
        return 0

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
