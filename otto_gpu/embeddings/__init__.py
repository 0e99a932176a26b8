"""Vectors of the items (and of the sessions, where the model makes them), learnt from what is known in a period."""
