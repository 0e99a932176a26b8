"""otto_gpu: session recommendation in two stages, on RAPIDS where there is a GPU and on NumPy and numba where not.

The public names are loaded on first use, so that ``import otto_gpu`` stays light.
"""

from __future__ import annotations

import importlib

from otto_gpu.device.compiled import ensure_cache_folder

__version__ = "0.1.0"

_HOMES = {
    "EventLog": "otto_gpu.events.log",
    "MatrixRule": "otto_gpu.cooccurrence.rule",
    "RULES": "otto_gpu.cooccurrence.rule",
    "build_matrix": "otto_gpu.cooccurrence.build",
    "Matrix": "otto_gpu.cooccurrence.matrix",
    "load_config": "otto_gpu.config",
    "run_pipeline": "otto_gpu.pipeline",
    "Recommender": "otto_gpu.recommend",
}

__all__ = ["__version__", *_HOMES]

ensure_cache_folder()


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'otto_gpu' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
