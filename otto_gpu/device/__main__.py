"""`python -m otto_gpu.device`: what there is for CUDA, what is missing, how to install it."""

from otto_gpu.device.report import report

if __name__ == "__main__":
    print(report())
