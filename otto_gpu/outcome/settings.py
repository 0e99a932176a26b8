"""The section `submission` of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from otto_gpu.schema import Section


class SubmissionConfig(Section):
    """What submission.csv looks like."""

    format: Literal["otto", "wide"] = Field(
        "otto",
        description="otto: `session_type,labels`, a row per session and target; wide: `user_id,article_1,article_2,...` up to "
        "targets.k, a row per session, for a single target; the first column is called as in the log",
    )
    prefix: str = Field("article_", min_length=1, description="for the wide format: what the columns of the items begin with")
