"""Sources from matrices: all recipes together, since some look up the lists of others."""

from __future__ import annotations

from functools import cached_property

from otto_gpu.candidates.lookup import Histories, evaluate_recipes
from otto_gpu.candidates.recipes import Recipe
from otto_gpu.candidates.sources.loaded import Loaded, PeriodInputs, SessionChunk
from otto_gpu.candidates.trace import trace
from otto_gpu.cooccurrence.matrix import MatrixStack
from otto_gpu.device.arrays import to_host


class Recipes(Loaded):
    """stack: the recipes' matrices, on the device."""

    def __init__(self, inputs: PeriodInputs, sources: dict[str, Recipe]):
        self._config, self._types, self.stack = inputs.config, tuple(inputs.known.types), inputs.stack
        if self.stack is None:
            stack = MatrixStack.load(inputs.run_dir / "matrices" / inputs.split, inputs.config.matrices)
            self.stack = inputs.device.to_device(stack)

    @cached_property
    def _host_stack(self) -> MatrixStack:
        """Of a device's own it is brought once."""
        return to_host(self.stack)

    def name(self, chunk: SessionChunk) -> dict[str, tuple]:
        return evaluate_recipes(chunk.histories, self.stack, self._config, self._types)

    def trace(self, history: Histories) -> dict:
        return trace(history, self._host_stack, self._config, self._types)


load = Recipes
