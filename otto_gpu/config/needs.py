"""What a run needs beside what is always installed, stage by stage."""

from __future__ import annotations

from dataclasses import replace

from otto_gpu.candidates.settings import FAISS, XGBOOST
from otto_gpu.config import Config
from otto_gpu.device import Device
from otto_gpu.embeddings.settings import NEEDS
from otto_gpu.needs import Need, installed
from otto_gpu.ranking.settings import NVFOREST, OPTUNA

SEARCH_ON_GPU = ("faiss", "cuvs", "torch")  # one of them is enough there


def needs_of(config: Config, device: Device) -> dict[str, list[Need]]:
    """{stage: packages}, of those stages that need any. Nothing is imported."""
    c, cuda = config, device.kind == "cuda"
    parts = c.embeddings.only(c.vectors).by_part()
    found = {part: [need] for part, need in NEEDS.items() if parts[part]}
    nearest = bool(c.candidates.of_kind("nearest")) and not (cuda and any(map(installed, SEARCH_ON_GPU)))
    scoring = [NVFOREST] if cuda and c.ranking.scoring == "nvforest" else []
    found["candidates"] = [*([XGBOOST] if c.candidates.fusion else []), *([FAISS] if nearest else [])]
    found["rankers"] = [*c.ranking.needs, *([OPTUNA] if c.ranking.search else [])]
    found["predictions"] = [*c.ranking.needs, *scoring]
    build = "cuda13" if cuda else "cpu"  # which of the extras that exclude each other
    return {s: [replace(n, extra=build) if n.extra == "cpu" else n for n in needs] for s, needs in found.items() if needs}
