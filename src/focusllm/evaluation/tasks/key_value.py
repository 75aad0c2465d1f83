"""Key-value retrieval: one value among many in a JSON object of random identifiers.

Source: Lost in the Middle (arXiv 2307.03172) and InfiniteBench's "Retrieve.KV" (arXiv 2402.13718). Generated here; the
wording is ours. MIT. Version 1. The object is as long as the length allows; line breaks behind it fill the rest.
"""

import random
import uuid
from dataclasses import dataclass

from focusllm.evaluation.tasks.haystack import check_room, line_breaks
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of
from focusllm.evaluation.tasks.scoring import is_a_word_of

INTRO = "Take the value of one key from this JSON object.\n\n{"
QUESTION = '\nThe key is "{key}". Its value in the object is "'


@dataclass(frozen=True)
class KeyValue:
    """Key-value retrieval: everything in the text looks like the needle."""

    name: str = "key-value"
    version: int = 1
    max_new_tokens: int = 50
    stays_right: bool = False

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens; the depth is that of the pair asked for.

        Raises:
            InputError: The length cannot hold a single pair and the question.
        """
        rng = rng_of(seed)
        wanted = (identifier(rng), identifier(rng))
        question_text = QUESTION.format(key=wanted[0])
        head, asked, end = encode(INTRO), encode(_pair(*wanted)), encode("}")
        question = encode(question_text)
        room = num_tokens - len(head) - len(asked) - len(end) - len(question)
        check_room(self.name, num_tokens, room)
        others: list[list[int]] = []
        while room >= len(ids := encode(_pair(identifier(rng), identifier(rng)))):
            others.append(ids)
            room -= len(ids)
        others.insert(round(depth * len(others)), asked)
        pairs = (token for ids in others for token in ids)
        prompt = [*head, *pairs, *end, *line_breaks(encode, room), *question]
        return EvalSample(prompt, (_pair(*wanted).strip(),), question_text, (wanted[1],), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Look for the value among the words of the output."""
        return is_a_word_of(output, sample.answer)


def identifier(rng: random.Random) -> str:
    """Draw a UUID."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _pair(key: str, value: str) -> str:
    return f'"{key}": "{value}",\n'
