"""Sources from vectors: the items nearest to a session's own vector, or to a mean of its items'."""

from __future__ import annotations

from otto_gpu.candidates.nearest import Index, nearest_items
from otto_gpu.candidates.settings import Nearest
from otto_gpu.candidates.sources.loaded import Loaded, PeriodInputs, SessionChunk
from otto_gpu.embeddings.vectors import load_vectors


class NearestItems(Loaded):
    def __init__(self, inputs: PeriodInputs, sources: dict[str, Nearest]):
        self._sources, self._device = sources, inputs.device
        self._indexes = {
            name: Index(load_vectors(inputs.run_dir, inputs.split, source.vectors), inputs.device, source.exact)
            for name, source in sources.items()
        }
        self.told = {name: index.told for name, index in self._indexes.items()}

    def name(self, chunk: SessionChunk) -> dict[str, tuple]:
        found = {}
        for name, source in self._sources.items():
            index, queries = self._indexes[name], chunk.queries.get(source.vectors)
            found[name] = nearest_items(chunk.on_host, queries, index.vectors, source, index)
        return self._device.to_device(found)


load = NearestItems
