"""Names made up of syllables, which no dictionary holds. Source: ours."""

import random
from collections.abc import Sequence

_DOUBLE = ["br", "ch", "cl", "cr", "dr", "fl", "gr", "kl", "pl", "pr", "sh", "sk", "st", "th", "tr"]
_CONSONANTS = [*"bcdfghjklmnprstvwz", *_DOUBLE]
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "ee", "io", "ou"]
_ENDINGS = ["", "", "n", "r", "s", "l", "m", "nd", "rk", "ll", "x", "ston", "ville", "son", "man", "ton"]


def pseudo_word(rng: random.Random, syllables: int) -> str:
    """Make a pronounceable word of so many syllables that no dictionary holds."""
    parts = [rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(syllables)]
    return "".join(parts) + rng.choice(_ENDINGS)


def proper_name(rng: random.Random) -> str:
    """Make a name of one to three syllables."""
    return pseudo_word(rng, rng.choice((1, 2, 2, 3))).capitalize()


def similar_name(rng: random.Random, name: str) -> str:
    """Make a name that begins or ends as ``name`` does: names must be read to their last letter."""
    place = rng.randint(2, max(2, len(name) - 2))
    if rng.random() < 0.5:
        return name[:place] + pseudo_word(rng, rng.choice((1, 1, 2)))
    return pseudo_word(rng, rng.choice((1, 1, 2))).capitalize() + name[place:]


def draw_names(rng: random.Random, count: int) -> list[str]:
    """Draw names of which four in ten are similar to the one before."""
    names: list[str] = []
    for _ in range(count):
        names.append(similar_name(rng, names[-1]) if names and rng.random() < 0.4 else proper_name(rng))
    return names


def program_name(rng: random.Random, words: Sequence[str]) -> str:
    """Put words together as programs name things: ``billing-index``, ``old_table``, ``server-12``, or plainly."""
    parts = [rng.choice(words) for _ in range(rng.choice((1, 2, 2, 2, 3)))]
    if rng.random() < 0.3:
        parts.append(str(rng.randint(1, 99)))
    return rng.choice("-_.- ").join(parts)
