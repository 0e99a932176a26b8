"""The kinds of rankers, one file each."""
