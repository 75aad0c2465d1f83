"""Ways for the same base to read a few chunks of a long text at a time, without training."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from focusllm.chunking import cut_into_chunks
from focusllm.errors import MissingDependencyError
from focusllm.evaluation.baselines import QUESTION_TOKENS, Baseline
from focusllm.evaluation.ending import OWN_ENDS, Ending

# Chinese and Japanese have no gaps between words: every character is one.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


@dataclass(frozen=True)
class _OverChunks(Baseline):
    def _cut(self, prompt_ids: Sequence[int], max_new_tokens: int) -> tuple[Sequence[Sequence[int]], Sequence[int]]:
        """Cut a prompt into chunks and the question; no chunks where all of it fits the window.

        Raises:
            WindowError: The new tokens leave no room for a chunk and the question.
        """
        if len(prompt_ids) <= self.room_for(max_new_tokens):
            return (), prompt_ids
        text, question = prompt_ids[:-QUESTION_TOKENS], prompt_ids[-QUESTION_TOKENS:]
        length = min(self.config.chunk_length, self.room_for(max_new_tokens, QUESTION_TOKENS + 1) - QUESTION_TOKENS)
        return cut_into_chunks(text, length), question


@dataclass(frozen=True)
class RetrievalSystem(_OverChunks):
    """The base, given the chunks that share most with the question, as many as its window holds.

    Source: BM25 (Robertson and others, 1994), by the library bm25s.
    """

    name: str = "base, chunks found by BM25"

    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        """Decode greedily behind the chunks, in the order of the text, and the question.

        Raises:
            MissingDependencyError: bm25s is not installed.
        """
        chunks, question = self._cut(prompt_ids, max_new_tokens)
        if not chunks:
            return self.behind_window(prompt_ids, max_new_tokens, ending)
        ranked = self._ranked(chunks, question)
        room = self.room_for(max_new_tokens) - len(question)
        taken: list[int] = []
        for number in ranked:
            # The last chunk, which may be shorter, may fit behind one that does not.
            if len(chunks[number]) <= room:
                taken.append(number)
                room -= len(chunks[number])
        found = [token for number in sorted(taken) for token in chunks[number]]
        return self.behind_window([*found, *question], max_new_tokens, ending)

    def _ranked(self, chunks: Sequence[Sequence[int]], question: Sequence[int]) -> list[int]:
        try:
            import bm25s
        except ImportError as error:
            raise MissingDependencyError("Retrieval needs bm25s: pip install 'focusllm[eval]'.") from error
        words = [self._words(chunk) for chunk in chunks]
        known = set().union(*words)
        query = [word for word in self._words(question) if word in known]
        if not query:
            return list(range(len(chunks)))
        index = bm25s.BM25()
        index.index(words, show_progress=False)
        scores = index.get_scores(query)
        return sorted(range(len(chunks)), key=lambda number: -float(scores[number]))

    def _words(self, ids: Sequence[int]) -> list[str]:
        assert self.model.tokenizer is not None  # the samples were encoded with it
        return _WORD.findall(str(self.model.tokenizer.decode(list(ids))).lower())


@dataclass(frozen=True)
class BestChunkSystem(_OverChunks):
    """The base, given each chunk by itself; the surest first token decides which of them is answered from.

    The method without its parallel decoding. Source: the ablation of the paper, section 4.4, made precise by us.
    """

    name: str = "base, the best single chunk"

    @torch.no_grad()
    def continue_ids(self, prompt_ids: Sequence[int], max_new_tokens: int, ending: Ending = OWN_ENDS) -> list[int]:
        """Decode greedily behind the chosen chunk and the question."""
        chunks, question = self._cut(prompt_ids, max_new_tokens)
        if not chunks:
            return self.behind_window(prompt_ids, max_new_tokens, ending)
        with self.model.disabled() as base:
            sureness = []
            for chunk in chunks:
                call: Any = base
                scores = call(input_ids=self.with_bos([*chunk, *question]), use_cache=False, logits_to_keep=1).logits
                sureness.append(scores[0, -1].float().softmax(dim=-1).max())
            best = chunks[int(torch.stack(sureness).argmax())]
            return self.greedy(base, [*best, *question], max_new_tokens, ending)
