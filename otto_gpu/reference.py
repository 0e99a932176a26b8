"""python -m otto_gpu.reference: docs/configuration.md, on stdout."""

from otto_gpu.config.reference import page

if __name__ == "__main__":
    print(page(), end="")
