"""The recommenders that `python -m benchmarks.quality` compares with. They run in an environment of their own (`make peers`),
read a split's files and write lists; nothing here imports otto_gpu."""
