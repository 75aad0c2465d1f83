"""Training sequences of the bundled base: what it reads, and how much each token counts.

Looking a value up by its key is what the base must learn, and in long text nearly no token asks for it.
So the sequences start short and dense (statements and questions about all of them, in plain words), and grow
to the window, with real text around the facts; and the first token of an answer, which the look-up alone can
give, counts most.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from focusllm.bundled.text import installation_words
from focusllm.training.fact_documents import FactDocumentMaker
from focusllm.training.facts import (
    USUAL_STRANGENESS,
    Fact,
    Strangeness,
    ask,
    ask_unstated,
    draw_fact,
    draw_rival,
    draw_value,
    state,
    state_plainly,
)
from focusllm.training.names import pseudo_word

Encode = Callable[[str], list[int]]
Weighted = tuple[list[int], list[float]]

# Weights of the loss. An answer's first telling token is where the look-up shows; the rest is copying.
FIRST_WEIGHT, ANSWER_WEIGHT, COPY_WEIGHT = 3.0, 1.0, 0.5
# Share of questions about what is not stated: a reader must know when it has found nothing.
UNSTATED_SHARE = 0.1
# Room that a question and its answer take, in tokens.
QUESTION_TOKENS = 24


@dataclass(frozen=True)
class Stage:
    """What is drawn until a share of the steps is over.

    Attributes:
        until: Share of all steps at which the stage ends.
        length: Tokens of a sequence.
        copies, lists, statements, text: Shares of runs of random tokens said again, of lists of keys and
            values, of statements without other text, and of real text; the rest are documents with facts.
        plain: Share of statements in the plainest wording, where there is nothing but statements.
        breaks: Share of questions in documents with BOS, and sometimes other text, before them, as a dynamic
            prompt behind its chunk has.
        single: Share of documents about which one question is asked.
        text_weight: Weight of tokens that are not part of answers; those of questions have half of it.
        strangeness: How much of the wordings is random.
    """

    until: float
    length: int
    copies: float
    lists: float
    statements: float
    text: float = 0.05
    plain: float = 0.1
    breaks: float = 0.4
    single: float = 0.4
    text_weight: float = 0.05
    strangeness: Strangeness = USUAL_STRANGENESS


STAGES = (
    Stage(
        2000 / 12000,
        128,
        plain=0.5,
        breaks=0.2,
        single=0.3,
        text_weight=0.2,
        strangeness=Strangeness(scattered=0.15, noisy=0.3, before_value=0.3, words=False),
        copies=0.15,
        lists=0.25,
        statements=0.58,
        text=0.02,
    ),
    Stage(3400 / 12000, 256, plain=0.2, single=0.3, text_weight=0.2, copies=0.06, lists=0.12, statements=0.3),
    Stage(9800 / 12000, 512, copies=0.04, lists=0.08, statements=0.15, text_weight=0.1),
    Stage(1.00, 1024, copies=0.03, lists=0.06, statements=0.1, text_weight=0.1),
)


def stages_within(window: int) -> list[Stage]:
    """Return the stages whose sequences fit a window, over all steps.

    Raises:
        ValueError: Not even the first one's do.
    """
    fitting = [stage for stage in STAGES if stage.length <= window]
    if not fitting:
        raise ValueError(f"A window of {window} tokens is too short; sequences have at least {STAGES[0].length}.")
    return [replace(stage, until=stage.until / fitting[-1].until) for stage in fitting]


class SequenceDrawer:
    """Draws sequences of exactly a stage's length, made of parts that each open with the BOS token.

    Args:
        encode: Text to token ids, without special tokens.
        bos: The id that opens a part.
        vocabulary_size: How many token ids there are, special ones first.
        text: Real text.
    """

    def __init__(self, encode: Encode, bos: int, vocabulary_size: int, text: str) -> None:
        self._encode = encode
        self._bos = bos
        self._vocabulary_size = vocabulary_size
        self._text_ids = encode(text)
        # Before a number comes a space that is a token of its own.
        self._space = encode(" ")[0]
        lines = [line for line in text.splitlines(keepends=True) if line.strip()]
        self._documents = {
            stage.strangeness: FactDocumentMaker(lines, len(text) / len(self._text_ids), stage.strangeness)
            for stage in STAGES
        }

    def draw(self, rng: random.Random, stage: Stage) -> Weighted:
        """Draw one sequence and the weight of each of its tokens."""
        ids: list[int] = []
        weights: list[float] = []
        while len(ids) < stage.length:
            new_ids, new_weights = self._part(rng, stage, stage.length - len(ids))
            ids += [self._bos, *new_ids]
            weights += [0.0, *new_weights]
        return ids[: stage.length], weights[: stage.length]

    def _part(self, rng: random.Random, stage: Stage, room: int) -> Weighted:
        kind = rng.random()
        if (kind := kind - stage.copies) < 0:
            return self._copies(rng, room)
        if (kind := kind - stage.lists) < 0:
            return self._lists(rng, room, stage)
        if (kind := kind - stage.statements) < 0 or room < 110:
            return self._statements(rng, room, stage)
        if kind - stage.text < 0:
            start = rng.randrange(len(self._text_ids) - room)
            return self._text_ids[start : start + room], [stage.text_weight] * room
        return self._document(rng, room, stage)

    def _copies(self, rng: random.Random, room: int) -> Weighted:
        run = [rng.randrange(3, self._vocabulary_size) for _ in range(rng.randint(4, max(24, room // 3)))]
        repeats = rng.randint(1, 2)
        # The first time round nothing can be predicted.
        return run * (repeats + 1), [0.0] * len(run) + [COPY_WEIGHT] * len(run) * repeats

    def _lists(self, rng: random.Random, room: int, stage: Stage) -> Weighted:
        """List pairs of keys and values, then ask for the values in another order."""
        pairs = _draw_pairs(rng, rng.randint(2, max(6, room // 24)))
        link = rng.choice((":", " =", " ->", " is", ",", ""))
        end = rng.choice(("\n", "\n", "; ", ". "))
        ids = self._encode("".join(f"{key}{link} {value}{end}" for key, value in pairs.items()))
        weights = [stage.text_weight] * len(ids)
        for key in rng.sample(list(pairs), len(pairs)):
            self._append_question(ids, weights, stage, f"{key}{link}", f" {pairs[key]}{end}")
        return ids, weights

    def _statements(self, rng: random.Random, room: int, stage: Stage) -> Weighted:
        """State a few facts that are easily confused, and ask for each."""
        facts = _draw_facts(rng, rng.randint(1, max(4, room // 64)))
        stated = [
            state_plainly(fact) if rng.random() < stage.plain else state(rng, fact, stage.strangeness) for fact in facts
        ]
        ids = self._encode("".join(sentence + rng.choice(("\n", " ")) for sentence in stated))
        weights = [stage.text_weight] * len(ids)
        for fact in rng.sample(facts, len(facts)):
            question = ask_unstated(rng, facts) if rng.random() < UNSTATED_SHARE else ask(rng, fact)
            if rng.random() < stage.breaks / 2:
                ids.append(self._bos)
                weights.append(0.0)
            self._append_question(ids, weights, stage, question.text, question.answer)
        return ids, weights

    def _document(self, rng: random.Random, room: int, stage: Stage) -> Weighted:
        """Hide facts in a document that fills most of the room, and ask for some."""
        num_questions = 1 if rng.random() < stage.single else rng.randint(2, max(2, room // 80))
        num_tokens = int((room - QUESTION_TOKENS * num_questions) * rng.uniform(0.5, 1.0))
        document = self._documents[stage.strangeness].draw(rng, num_tokens, num_questions)
        ids = self._encode("".join(piece.text for piece in document.pieces))
        if len(ids) + QUESTION_TOKENS * num_questions > room:
            return self._document(rng, room, stage)
        weights = [stage.text_weight] * len(ids)
        stated = [piece.fact for piece in document.pieces if piece.fact is not None]
        for question in document.questions:
            if rng.random() < UNSTATED_SHARE:
                question = ask_unstated(rng, stated)
            if rng.random() < stage.breaks:
                lead = self._lead(rng, room - len(ids) - QUESTION_TOKENS)
                ids += lead
                weights += [0.0] * len(lead)
            self._append_question(ids, weights, stage, question.text, question.answer)
        return ids, weights

    def _lead(self, rng: random.Random, room: int) -> list[int]:
        """BOS and, half of the time, some real text."""
        length = rng.randint(0, 90) if rng.random() < 0.5 else 0
        length = min(length, max(room - 1, 0))
        start = rng.randrange(len(self._text_ids) - length)
        return [self._bos, *self._text_ids[start : start + length]]

    def _append_question(self, ids: list[int], weights: list[float], stage: Stage, question: str, answer: str) -> None:
        question_ids, answer_ids = self._encode(question), self._encode(answer)
        first = 1 if answer_ids[0] == self._space else 0
        answer_weights = [ANSWER_WEIGHT] * len(answer_ids)
        answer_weights[first] = FIRST_WEIGHT
        ids += question_ids + answer_ids
        weights += [stage.text_weight / 2] * len(question_ids) + answer_weights


def _draw_pairs(rng: random.Random, count: int) -> dict[str, str]:
    """Draw keys that share words with one another, each with a value."""
    words = installation_words("train")
    shared = [rng.choice(words) if rng.random() < 0.7 else pseudo_word(rng, 2).capitalize() for _ in range(count)]
    pairs: dict[str, str] = {}
    for _ in range(count):
        parts = [
            rng.choice(shared) if rng.random() < 0.6 else rng.choice(words) for _ in range(rng.choice((1, 2, 2, 3)))
        ]
        pairs.setdefault(" ".join(parts), draw_value(rng))
    return pairs


def _draw_facts(rng: random.Random, count: int) -> list[Fact]:
    """Draw facts of which four in ten share a key or an entity with one before."""
    facts: dict[tuple[str, str | None], Fact] = {}
    for _ in range(count):
        earlier = list(facts.values())
        fact = draw_rival(rng, rng.choice(earlier)) if earlier and rng.random() < 0.4 else draw_fact(rng)
        facts.setdefault((fact.key, fact.entity), fact)
    return list(facts.values())
