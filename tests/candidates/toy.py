"""A kind of sources: the file that a new one is. It names the items whose numbers follow that of the session's last item."""

import numpy as np
from pydantic import Field

from otto_gpu.candidates.sources import FurtherSource
from otto_gpu.candidates.sources.loaded import Loaded
from otto_gpu.candidates.trace import Part


class Settings(FurtherSource):
    """Items by their numbers."""

    step: int = Field(1, ge=1, description="from one number to the next")
    vectors: str | None = Field(None, description="it asks for vectors, of which it makes nothing")

    def needs(self):
        return {"vectors": (self.vectors,) if self.vectors else ()}

    def says(self):
        return f"every {self.step}th number"


class Toy(Loaded):
    def __init__(self, inputs, sources):
        self._sources, self._n_items = sources, inputs.known.n_items
        self.told = {name: f"counts to {source.size}" for name, source in sources.items()}

    def _following(self, last, source):
        return (last[:, None] + source.step * np.arange(1, source.size + 1)) % self._n_items

    def name(self, chunk):
        histories, found = chunk.histories, {}
        last = histories.aid[histories.starts[1:] - 1].astype(np.int64)
        for name, source in self._sources.items():
            aids = self._following(last, source).astype(np.int32)
            found[name] = aids, np.broadcast_to(1 / np.arange(1, source.size + 1, dtype=np.float32), aids.shape)
        return found

    def trace(self, history):
        last = history.aid[-1:].astype(np.int64)
        return {
            name: {
                int(aid): [Part(int(last[0]), None, place, 1 / (place + 1))]
                for place, aid in enumerate(self._following(last, source)[0])
            }
            for name, source in self._sources.items()
        }


load = Toy
