"""Documents that hold generated facts somewhere, with questions about them. Source: ours.

A document is a list of pieces of text: lines of real text, dull repeated sentences, or nothing but facts,
with the statements put between them. What is asked is chosen among the stated facts.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from focusllm.training.facts import (
    USUAL_STRANGENESS,
    Fact,
    Question,
    Strangeness,
    ask,
    draw_fact,
    draw_rival,
    repeated_filler,
    state,
)


@dataclass(frozen=True)
class Piece:
    """A run of text that belongs together; ``fact`` is set where the run states one."""

    text: str
    fact: Fact | None = None


@dataclass(frozen=True)
class FactDocument:
    """The pieces of a document in order, and questions on facts stated in it."""

    pieces: list[Piece]
    questions: list[Question]
    asked: list[Fact]


class FactDocumentMaker:
    """Draws fact documents over a corpus of real lines.

    Args:
        lines: Real text, line by line, each with its line break.
        characters_per_token: How many characters of this corpus one token covers, for sizing.
        strangeness: Of the statements.
    """

    def __init__(
        self, lines: Sequence[str], characters_per_token: float, strangeness: Strangeness = USUAL_STRANGENESS
    ) -> None:
        self._lines = lines
        self._strangeness = strangeness
        self._characters_per_token = characters_per_token

    def draw(self, rng: random.Random, num_tokens: int, num_questions: int) -> FactDocument:
        """Draw a document of about ``num_tokens`` tokens and ``num_questions`` questions about it."""
        budget = int(num_tokens * self._characters_per_token)
        asked = _distinct_facts(rng, num_questions)
        rivals = [draw_rival(rng, fact) for fact in asked for _ in range(rng.choice((0, 0, 1, 1, 2)))]
        others = _distinct_facts(rng, rng.choice((0, 2, 4)))
        stated = _without_clashes(asked, rivals + others)
        # Now and then a fact is stated twice, in two wordings.
        stated += [fact for fact in stated if rng.random() < 0.1]
        statements = [Piece(_as_piece(rng, state(rng, fact, self._strangeness)), fact) for fact in stated]
        budget -= sum(len(piece.text) for piece in statements)
        pieces = self._filler(rng, max(budget, 0))
        for piece in statements:
            pieces.insert(rng.randint(0, len(pieces)), piece)
        return FactDocument(pieces, [ask(rng, fact) for fact in asked], asked)

    def _filler(self, rng: random.Random, num_characters: int) -> list[Piece]:
        kind = rng.random()
        if kind < 0.55:
            return self._real_lines(rng, num_characters)
        if kind < 0.8:
            return _repeated_sentences(rng, num_characters)
        return self._only_facts(rng, num_characters)

    def _real_lines(self, rng: random.Random, num_characters: int) -> list[Piece]:
        index = rng.randrange(len(self._lines))
        pieces: list[Piece] = []
        length = 0
        while length < num_characters:
            line = self._lines[index % len(self._lines)]
            pieces.append(Piece(line))
            length += len(line)
            index += 1
        return pieces

    def _only_facts(self, rng: random.Random, num_characters: int) -> list[Piece]:
        pieces: list[Piece] = []
        length = 0
        while length < num_characters:
            fact = draw_fact(rng)
            pieces.append(Piece(_as_piece(rng, state(rng, fact, self._strangeness)), fact))
            length += len(pieces[-1].text)
        return pieces


def _distinct_facts(rng: random.Random, count: int) -> list[Fact]:
    return _without_clashes([], [draw_fact(rng) for _ in range(count)])


def _without_clashes(kept: list[Fact], added: list[Fact]) -> list[Fact]:
    """Leave out every added fact whose key and entity another one has already, so that answers are unique."""
    facts = list(kept)
    for fact in added:
        if all((fact.key, fact.entity) != (other.key, other.entity) for other in facts):
            facts.append(fact)
    return facts


def _as_piece(rng: random.Random, statement: str) -> str:
    return statement + rng.choice(("\n", "\n", " ", "\n\n"))


def _repeated_sentences(rng: random.Random, num_characters: int) -> list[Piece]:
    sentences = repeated_filler(rng, 4 + num_characters // 12)
    pieces: list[Piece] = []
    length = 0
    for sentence in sentences:
        if length >= num_characters:
            break
        pieces.append(Piece(sentence))
        length += len(sentence)
    return pieces
