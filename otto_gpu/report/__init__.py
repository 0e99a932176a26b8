"""A run on one page, runs side by side, and a model card."""
