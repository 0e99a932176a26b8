"""The section `matrices` of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from otto_gpu.cooccurrence.rule import RULES, MatrixRule
from otto_gpu.events.settings import MOST_EVENTS
from otto_gpu.schema import Name, Section, dump_with_removed, merge_packaged

Engine = Literal["auto", "rowwise", "rows", "pairs", "selfmerge"]


class MatricesConfig(Section):
    """Which co-occurrence matrices are built, and by which engine."""

    packaged: bool = Field(True, description="whether the packaged rules are there; false: only those under rules")
    rules: dict[Name, MatrixRule] = Field(
        RULES,
        min_length=1,
        description="changes to the packaged rules, by name: fields to change, a whole new rule, or null to leave it out",
    )
    most_events: int | None = Field(
        MOST_EVENTS,
        ge=1,
        description="of a longer session, such as a crawler's, the rules see so many events only, the newest; null: all",
    )
    engine: Engine = Field(
        "auto",
        description="auto: rowwise on the CPU; on CUDA rows, or pairs for what it cannot do; selfmerge: data frames, on either",
    )
    spill: bool = Field(
        False, description="engine selfmerge on CUDA: cuDF moves what does not fit into GPU memory to the host's memory"
    )

    @field_validator("rules", mode="before")
    @classmethod
    def _merge(cls, given, info):
        return merge_packaged(RULES if info.data.get("packaged", True) else {}, given)

    @field_serializer("rules", mode="wrap")
    def _dump(self, rules, dump):
        return dump_with_removed(RULES, dump(rules)) if self.packaged else dump(rules)

    @model_validator(mode="after")
    def _some(self):
        if not self.packaged and self.rules == RULES:
            raise ValueError("packaged: false leaves no rules; give your own under rules")
        return self
