"""Where the settings of candidates stood: now candidates/settings.py and candidates/sources/recipes.py."""

from otto_gpu.candidates.settings import EVERYTHING, HISTORY, CandidatesConfig
from otto_gpu.candidates.sources.recipes import Boost, Line, LongHistory, Recipe, packaged_recipes

__all__ = ["EVERYTHING", "HISTORY", "Boost", "CandidatesConfig", "Line", "LongHistory", "Recipe", "packaged_recipes"]
