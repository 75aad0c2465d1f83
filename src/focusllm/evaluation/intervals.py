"""Intervals for shares of right answers."""

import math

_Z_95 = 1.959963984540054


def wilson_interval(right: int, trials: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a share, both ends from 0 to 1. Source: Wilson (1927)."""
    if trials == 0:
        return 0.0, 1.0
    share, spread = right / trials, _Z_95**2 / trials
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(center - half, 0.0), min(center + half, 1.0)
