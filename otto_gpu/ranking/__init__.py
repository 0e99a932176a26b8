"""Gradient-boosted rankers per target and fold, out-of-fold scores, blend."""
