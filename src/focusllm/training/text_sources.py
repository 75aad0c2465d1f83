"""Training samples from users' own data: running text, and records with a prompt and a completion."""

import logging
import math
import random
from collections.abc import Sequence
from itertools import accumulate, product
from typing import Literal

from focusllm.chunking import cut_into_chunks
from focusllm.errors import TrainingError, WindowError
from focusllm.training.examples import Draws, DrawSettings, Sample
from focusllm.training.token_store import TokenSequences

_LOG = logging.getLogger(__name__)
Loss = Literal["continuation", "reconstruction"]


class TextSource:
    """Draws samples of running text. Source: paper, section 2.3.

    ``"continuation"``: the local context follows the memory. ``"reconstruction"``: the local context is a run
    of tokens out of the memory, so that the model learns to bring back what it has read; a memory that is no longer
    than it holds no such run, and is followed by it instead.

    Args:
        documents: Token ids of each document.
        loss: Which of the two.
        max_supervised: Most positions supervised in a sample; each has a candidate of every chunk of its own.
    """

    def __init__(self, documents: TokenSequences, loss: Loss, max_supervised: int = 16) -> None:
        self._documents, sizes = documents, documents.lengths
        self._kept = [number for number, size in enumerate(sizes) if size >= 8]
        _report_left_out(len(sizes) - len(self._kept), len(sizes), "documents of fewer than 8 tokens")
        if not self._kept:
            raise TrainingError("No document of the text source has 8 tokens or more: there is nothing to train on.")
        self._ends = list(accumulate(sizes[number] for number in self._kept))
        self._loss = loss
        self._max_supervised = max_supervised

    def draw(self, rng: random.Random, draws: Draws) -> Sample:
        """Draw a window of a document, longer documents more often."""
        [number] = rng.choices(self._kept, cum_weights=self._ends)
        document = self._documents[number]
        local_length = draws.local_filler + rng.randint(10, most_text(self._max_supervised))
        local_length = min(local_length, len(document) // 2)
        memory_length = min(draws.memory_length, len(document) - local_length)
        start = rng.randint(0, len(document) - memory_length - local_length)
        memory = document[start : start + memory_length]
        after = start + memory_length
        if self._loss == "reconstruction" and memory_length > local_length:
            after = start + rng.randint(0, memory_length - local_length)
        local = document[after : after + local_length]
        supervised = rng.randint(1, min(self._max_supervised, local_length - 1))
        chunks = cut_into_chunks(memory, draws.chunk_length)
        return Sample(chunks, self._protected(len(chunks)), local, local_length - 1 - supervised, [1.0] * local_length)

    def _protected(self, num_chunks: int) -> list[bool]:
        """Say which chunks what is supervised rests on: how a text goes on, mostly on what came last.

        The others stand for the many chunks of a longer text, that going on is learned among those, too.
        """
        if self._loss == "reconstruction":
            return [True] * num_chunks
        num_others = num_chunks * 3 // 4
        return [False] * num_others + [True] * (num_chunks - num_others)


class RecordSource:
    """Draws samples from records: the prompt is the memory but for its end, the completion is supervised.

    Args:
        records: Token ids of prompts and completions, by turns.
        max_supervised: Most tokens of a completion that are supervised at once; longer ones are entered later.
    """

    def __init__(self, records: TokenSequences, max_supervised: int = 16) -> None:
        self._records, sizes = records, records.lengths
        pairs = list(zip(sizes[::2], sizes[1::2], strict=True))
        self._kept = [number for number, (prompt, completion) in enumerate(pairs) if prompt >= 4 and completion]
        left_out = len(pairs) - len(self._kept)
        _report_left_out(left_out, len(pairs), "records with a prompt of fewer than 4 tokens or no completion")
        if not self._kept:
            raise TrainingError("No record has a prompt of 4 tokens or more and a completion.")
        self._max_supervised = max_supervised

    def check_room(self, stages: Sequence[DrawSettings], window: float, per_chunk: int = 1) -> None:
        """Check that the candidates of every prompt, and its completion, fit the base's window, whatever is drawn.

        Args:
            stages: From what the draws are made.
            window: Tokens the base can attend to at once.
            per_chunk: How many candidates stand for a chunk.

        Raises:
            WindowError: They do not.
        """
        sizes = self._records.lengths
        for stage, number in product(stages, self._kept):
            prompt, completion = sizes[2 * number : 2 * number + 2]
            local = 1 + min(prompt // 2, _most_tail(stage.local_filler)) + completion
            slots = max(math.ceil(prompt / min(stage.chunk_lengths)), stage.virtual_chunks) * per_chunk
            if slots + local > window:
                raise WindowError(
                    f"Record {number + 1} has a prompt of {prompt} tokens and a completion of {completion}: up to "
                    f"{slots} candidates and a local context of {local} tokens, where the base's window has {window}. "
                    f"Leave out short `chunk_lengths` in `draws` (shortest: {min(stage.chunk_lengths)}), or the record."
                )

    def draw(self, rng: random.Random, draws: Draws) -> Sample:
        """Draw a record; the local context starts somewhere in the end of its prompt."""
        number = rng.choice(self._kept)
        prompt, completion = self._records[2 * number], self._records[2 * number + 1]
        tail = min(len(prompt) // 2, _most_tail(draws.local_filler) - 32 + rng.randint(0, 32))
        first = rng.randint(0, max(len(completion) - self._max_supervised, 0))
        last = min(first + self._max_supervised, len(completion))
        local = [*prompt[-tail:], *completion[:last]]
        # Whole memories are kept: a record is never cut to fit the draw, and fewer of them share a batch.
        chunks = cut_into_chunks(prompt[:-tail], draws.chunk_length)
        room = math.ceil(len(chunks) / draws.num_chunks)
        return Sample(chunks, [True] * len(chunks), local, tail + first - 1, [1.0] * len(local), room)


def most_text(max_supervised: int) -> int:
    """Return how many tokens a local context of running text has besides its filler, at most."""
    return 2 + max(4 * max_supervised, 8)


def _most_tail(local_filler: int) -> int:
    """Return how many tokens of its prompt a record has in its local context, at most."""
    return 48 + local_filler


def _report_left_out(count: int, total: int, what: str) -> None:
    if count:
        _LOG.warning("%d of %d sequences are left out: %s.", count, total, what)
