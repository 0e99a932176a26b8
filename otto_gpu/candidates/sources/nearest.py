"""Sources from vectors: the items nearest to a session's own vector, or to a mean of its items'."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from otto_gpu.candidates.sources import Loaded, Source

if TYPE_CHECKING:
    from otto_gpu.candidates.sources import PeriodInputs, SessionChunk


class Nearest(Source):
    """One more source of candidates: the items nearest to the session in the space of some vectors; those of its history
    are left out."""

    vectors: str = Field(description="the name of the vectors")
    size: int = Field(50, ge=1, le=1000, description="how many items it names")
    last: int = Field(
        10,
        ge=1,
        description="vectors without session vectors: the query is a mean of the newest n different items, the newest most",
    )
    exact: bool | None = Field(
        None,
        description="true: a query is compared with every vector; false: a graph finds nearly all of the nearest, on a CPU; "
        "null: the number of vectors decides",
    )

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"vectors": (self.vectors,)}

    def says(self) -> str:
        return f"items near the session's vector by {self.vectors}"


class NearestItems(Loaded):
    def __init__(self, inputs: PeriodInputs, sources: dict[str, Nearest]):
        from otto_gpu.candidates.nearest import Index
        from otto_gpu.embeddings.vectors import load_vectors

        self._sources, self._device = sources, inputs.device
        self._indexes = {
            name: Index(load_vectors(inputs.run_dir, inputs.split, source.vectors), inputs.device, source.exact)
            for name, source in sources.items()
        }
        self.told = {name: index.told for name, index in self._indexes.items()}

    def name(self, chunk: SessionChunk) -> dict[str, tuple]:
        from otto_gpu.candidates.nearest import nearest_items

        found = {}
        for name, source in self._sources.items():
            index, queries = self._indexes[name], chunk.queries.get(source.vectors)
            found[name] = nearest_items(chunk.on_host, queries, index.vectors, source, index)
        return self._device.to_device(found)


load = NearestItems
