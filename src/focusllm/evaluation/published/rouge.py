"""ROUGE-L, as two packages compute it, without recursion, so that long texts have a score.

Source: Lin, "ROUGE" (2004); pip's ``rouge`` 1.0.1, which LongBench uses, and ``rouge_score`` 0.1.2, which InfiniteBench
uses. They cut texts into sentences and words differently, count differently, and read different ones of several longest
common subsequences out of the same table.
"""

import re
from collections import Counter
from collections.abc import Sequence

_NO_WORD = re.compile(r"[^a-z0-9]+")


def rouge_l(output: str, answer: str) -> float:
    """Return the F score of ``rouge``: over the sets of words, its sentences ending at points; 0 for no sentence."""
    hypothesis, reference = ([" ".join(part.split()) for part in text.split(".") if part] for text in (output, answer))
    if not hypothesis or not reference:
        return 0.0
    hypothesis_words, reference_words = ([part.split(" ") for part in parts] for parts in (hypothesis, reference))
    common: set[str] = set()
    for ours in reference_words:
        for theirs in hypothesis_words:
            common.update(ours[place] for place in _common(ours, theirs, prefers_first=False))
    recall = len(common) / len(set().union(*reference_words))
    precision = len(common) / len(set().union(*hypothesis_words))
    return 2 * precision * recall / (precision + recall + 1e-8)


def rouge_l_sum(output: str, answer: str) -> float:
    """Return the F score of ``rougeLsum`` in ``rouge_score``, without stemming: its sentences end at line breaks."""
    hypothesis, reference = (
        [_NO_WORD.sub(" ", line.lower()).split() for line in text.split("\n") if line] for text in (output, answer)
    )
    left, right = (Counter(word for line in lines for word in line) for lines in (hypothesis, reference))
    totals = left.total(), right.total()
    hits = 0
    for line in reference:
        places = {place for other in hypothesis for place in _common(line, other, prefers_first=True)}
        for word in (line[place] for place in sorted(places)):
            # A word counts as often as both texts have it, whatever the lines share.
            if left[word] > 0 and right[word] > 0:
                hits += 1
                left[word] -= 1
                right[word] -= 1
    return 2 * hits / sum(totals) if hits else 0.0


def _common(first: Sequence[str], second: Sequence[str], prefers_first: bool) -> list[int]:
    """Return where in the first sequence its longest common subsequence with the second stands.

    Args:
        first: Words.
        second: Words.
        prefers_first: Which of two equally long ones is read out: that which steps back in the first sequence.
    """
    table = [[0] * (len(second) + 1)]
    for word in first:
        above, row = table[-1], [0]
        for column, other in enumerate(second):
            row.append(above[column] + 1 if word == other else max(above[column + 1], row[column]))
        table.append(row)
    i, j, places = len(first), len(second), []
    while i and j:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            places.append(i)
        elif table[i - 1][j] > table[i][j - 1] or (prefers_first and table[i - 1][j] == table[i][j - 1]):
            i -= 1
        else:
            j -= 1
    return places
