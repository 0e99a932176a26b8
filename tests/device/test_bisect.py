import numpy as np

from otto_gpu.device.bisect import first_after


def test_first_after():
    times = np.array([1, 3, 3, 3, 8])
    for ts in range(10):
        for low in range(6):
            for high in range(low, 6):
                assert first_after(times, low, high, ts) == low + np.searchsorted(times[low:high], ts, side="right")
