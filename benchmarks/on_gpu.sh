#!/usr/bin/env bash
# All that a GPU has to prove, in one go and less than six minutes, as JSON in $OUT (default: benchmarks/results). Options: those
# of `python -m benchmarks.gpu`. $PYTHON: whose packages; $CUDA_HOME, $CUPY_CACHE_DIR, $NUMBA_CACHE_DIR stay as they are given,
# empty ones too: then kernels are kept where the libraries keep them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${CUDA_HOME:-}" ] && nvcc="$(command -v nvcc)"; then
    CUDA_HOME="$(dirname "$(dirname "$(readlink -f "$nvcc")")")" # where numba-cuda looks for NVVM
    export CUDA_HOME
fi
caches="${TMPDIR:-/tmp}/otto_gpu-$(id -u)" # of compiled kernels: a later call finds them
mkdir -p -m 700 "$caches"
export CUPY_CACHE_DIR="${CUPY_CACHE_DIR-$caches/cupy}" NUMBA_CACHE_DIR="${NUMBA_CACHE_DIR-$caches/numba}"
export NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS="${NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS:-0}"
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
