"""Intervals for shares, scores and differences."""

import math
from collections.abc import Sequence

import numpy as np

from focusllm.chunking import pieces

_Z_95 = 1.959963984540054
_RESAMPLES = 10_000
# Values that are in memory together: all resamples of a long run would not fit.
_DRAWN_AT_ONCE = 1 << 22


def wilson_interval(right: int, trials: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a share, both ends from 0 to 1. Source: Wilson (1927)."""
    if trials == 0:
        return 0.0, 1.0
    share, spread = right / trials, _Z_95**2 / trials
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(center - half, 0.0), min(center + half, 1.0)


def score_interval(scores: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of a mean: Wilson's where every score is 0 or 1, the percentile bootstrap's otherwise."""
    if all(score in (0, 1) for score in scores):
        return wilson_interval(int(sum(scores)), len(scores))
    return bootstrap_interval(scores)


def paired_difference(scores: Sequence[float], others: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return by how much the mean score differs on the same samples, and the 95% interval by paired bootstrap.

    Args:
        scores: Of one system.
        others: Of the other, sample by sample.
    """
    differences = [score - other for score, other in zip(scores, others, strict=True)]
    return sum(differences) / len(differences), bootstrap_interval(differences)


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of a mean by the percentile bootstrap."""
    # A seed of its own: a report that is made again says the same.
    rng, given = np.random.default_rng(0), np.asarray(values)
    parts = pieces(_RESAMPLES, max(_DRAWN_AT_ONCE // len(values), 1))
    means = [rng.choice(given, size=(part.stop - part.start, len(given))).mean(axis=1) for part in parts]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)
