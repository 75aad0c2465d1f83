"""Intervals for shares, scores and differences."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from focusllm.chunking import pieces

Interval = tuple[float, float]
_Z_95 = 1.959963984540054
# Chance that what is as frequent as an interval allows would not have been seen.
_UNSEEN = 0.05
_RESAMPLES = 10_000
# One of their own: a report that is made again says the same.
_SEED = 0
# Values that are in memory together: all resamples of a long run would not fit.
_DRAWN_AT_ONCE = 1 << 20


def wilson_interval(right: int, trials: int) -> Interval:
    """Return Wilson's 95% interval of a share, both ends from 0 to 1. Source: Wilson (1927)."""
    if trials == 0:
        return 0.0, 1.0
    share, spread = right / trials, _Z_95**2 / trials
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(center - half, 0.0), min(center + half, 1.0)


def score_interval(scores: Sequence[float]) -> Interval:
    """Return the 95% interval of a mean of scores from 0 to 1.

    It is Wilson's where every score is 0 or 1, the percentile bootstrap's otherwise, and that of equal values where
    there is nothing to resample.
    """
    if all(score in (0, 1) for score in scores):
        return wilson_interval(int(sum(scores)), len(scores))
    return bootstrap_interval(scores) or _equal_interval(scores, 0.0, 1.0)


def paired_difference(
    scores: Sequence[float], others: Sequence[float], groups: Sequence[Any] | None = None
) -> tuple[float, Interval]:
    """Return by how much the mean score differs on the same samples, and the 95% interval.

    It is Newcombe's where every score is 0 or 1 and there is one group, the paired bootstrap's otherwise, and the mean
    of those of equal values where the differences of no group vary.

    Args:
        scores: Of one system.
        others: Of the other, sample by sample.
        groups: What each sample belongs to: samples are drawn within their group, and every group counts alike,
            however many samples it has. By default all belong together.
    """
    by_group: dict[Any, list[float]] = {}
    for score, other, group in zip(scores, others, groups or [None] * len(scores), strict=True):
        by_group.setdefault(group, []).append(score - other)
    if len(by_group) == 1 and all(score in (0, 1) for score in (*scores, *others)):
        return _newcombe_difference(scores, others)
    means = [sum(differences) / len(differences) for differences in by_group.values()]
    mean = sum(means) / len(means)
    if not any(map(_vary, by_group.values())):
        lows, highs = zip(*(_equal_interval(differences, -1.0, 1.0) for differences in by_group.values()), strict=True)
        return mean, (sum(lows) / len(lows), sum(highs) / len(highs))
    rng = np.random.default_rng(_SEED)
    resampled = np.mean([_resampled_means(differences, rng) for differences in by_group.values()], axis=0)
    return mean, _middle(resampled)


def _newcombe_difference(scores: Sequence[float], others: Sequence[float]) -> tuple[float, Interval]:
    """Return the difference of two paired shares and its interval. Source: Newcombe (1998), method 10."""
    count, right, others_right = len(scores), int(sum(scores)), int(sum(others))
    pairs = Counter(zip(scores, others, strict=True))
    agreement = pairs[1, 1] * pairs[0, 0] - pairs[1, 0] * pairs[0, 1]
    if agreement > 0:
        agreement = max(agreement - count / 2, 0)
    spread = right * (count - right) * others_right * (count - others_right)
    correlation = agreement / math.sqrt(spread) if spread else 0.0
    (low, high), (others_low, others_high) = wilson_interval(right, count), wilson_interval(others_right, count)
    share, others_share = right / count, others_right / count

    def combined(own: float, other: float) -> float:
        return math.sqrt(max(own**2 - 2 * correlation * own * other + other**2, 0))

    below, above = combined(share - low, others_high - others_share), combined(high - share, others_share - others_low)
    difference = share - others_share
    return difference, (difference - below, difference + above)


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95% interval of a mean by the percentile bootstrap; ``None`` where values do not vary.

    Resampled, a single value, or equal ones, would show that all others are the same.
    """
    return _middle(_resampled_means(values, np.random.default_rng(_SEED))) if _vary(values) else None


def _vary(values: Sequence[float]) -> bool:
    return len(set(values)) > 1


def _equal_interval(values: Sequence[float], least: float, most: float) -> Interval:
    """Return the 95% interval of a mean where all samples have one value: the others may be anything, but are rare.

    At most so many are expected that these had a chance of 5% to show none of them. Source: "rule of three", Hanley and
    Lippman-Hand (1983).
    """
    rare = 1 - _UNSEEN ** (1 / len(values))
    return values[0] - rare * (values[0] - least), values[0] + rare * (most - values[0])


def _resampled_means(values: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    given = np.asarray(values)
    parts = pieces(_RESAMPLES, max(_DRAWN_AT_ONCE // len(given), 1))
    return np.concatenate([rng.choice(given, size=(part.stop - part.start, len(given))).mean(axis=1) for part in parts])


def _middle(means: np.ndarray) -> Interval:
    # Of infinite values there is no interval.
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
