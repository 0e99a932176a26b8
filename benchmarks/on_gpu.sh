#!/usr/bin/env bash
# Everything that needs a GPU, in one go and less than eight minutes: the tests marked `gpu`, the pipeline on the GPU and on the
# CPU, and the comparison, as JSON in $OUT (default: benchmarks/results). Options: those of `python -m benchmarks.gpu`.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
