"""Training examples from generated facts: somewhere in the memory a fact, in the local context its question."""

import random
from collections.abc import Callable
from itertools import accumulate

from focusllm.chunking import cut_into_chunks
from focusllm.training.examples import Draws, Sample
from focusllm.training.fact_documents import FactDocument, FactDocumentMaker

Encode = Callable[[str], list[int]]


class FactSource:
    """Draws samples whose local context is a question about one fact of the memory, and its answer.

    Args:
        encode: Text to token ids, without special tokens.
        lines: Real text that surrounds the facts.
        characters_per_token: For sizing documents.
        question_weight: How much predicting the question's own tokens counts, next to 1 for the answer's.
    """

    def __init__(
        self, encode: Encode, lines: list[str], characters_per_token: float, question_weight: float = 0.05
    ) -> None:
        self._encode = encode
        self._maker = FactDocumentMaker(lines, characters_per_token)
        self._lines = lines
        self._question_weight = question_weight

    def draw(self, rng: random.Random, draws: Draws) -> Sample:
        """Draw one sample of about ``draws.memory_length`` tokens of memory."""
        document = self._maker.draw(rng, draws.memory_length, num_questions=1)
        memory, holds_fact = self._tokens(document)
        # A document overshoots its size by a line or a statement; whole chunks too many would be wasted work.
        chunks = cut_into_chunks(memory, draws.chunk_length)
        protected = [any(holds_fact[i * draws.chunk_length : (i + 1) * draws.chunk_length]) for i in range(len(chunks))]
        question = document.questions[0]
        lead = (
            self._encode(self._lead_text(rng, draws.local_filler))[-draws.local_filler :] if draws.local_filler else []
        )
        asked, answer = lead + self._encode(question.text), self._encode(question.answer)
        cut = len(asked) - 1 + draws.cut_offset(rng, len(asked), len(answer))
        weights = [self._question_weight] * len(asked) + [1.0] * len(answer)
        return Sample(chunks, protected, asked + answer, cut, weights)

    def _tokens(self, document: FactDocument) -> tuple[list[int], list[bool]]:
        """Encode the document as one text; mark the tokens that belong to the asked fact."""
        tokens: list[int] = []
        marks: list[bool] = []
        for piece in document.pieces:
            ids = self._encode(piece.text)
            tokens += ids
            marks += [piece.fact is not None and piece.fact in document.asked] * len(ids)
        return tokens, marks

    def _lead_text(self, rng: random.Random, num_tokens: int) -> str:
        start = rng.randrange(len(self._lines))
        lengths = accumulate(len(line) for line in self._lines[start : start + num_tokens])
        needed = sum(1 for length in lengths if length < 6 * num_tokens) + 1
        return "".join(self._lines[start : start + needed])
