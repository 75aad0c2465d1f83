"""Passkey retrieval, in the two published forms.

Source: Landmark Attention (arXiv 2305.16300), as used by the FocusLLM paper (figure 1), and InfiniteBench
(arXiv 2402.13718). Generated here, MIT; the prompts' wording is that of the papers. Version 1.

The text repeats five sentences; somewhere among them a five-digit key is stated. The model must continue
"The pass key is". An output is right if the first number in it is the key (InfiniteBench's rule).
"""

from dataclasses import dataclass
from typing import Literal

from focusllm.evaluation.tasks.haystack import check_room
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of
from focusllm.evaluation.tasks.scoring import first_number_is

FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
NEEDLE = "The pass key is {key}. Remember it. {key} is the pass key."
LANDMARK_INTRO = (
    "There is an important info hidden inside a lot of irrelevant text. "
    "Find it and memorize them. I will quiz you about the important information there."
)
INFINITE_INTRO = (
    "There is an important info hidden inside a lot of irrelevant text. Find it. "
    "I will quiz you about the important information there."
)
QUESTION = "What is the pass key? The pass key is"


@dataclass(frozen=True)
class Passkey:
    """Passkey retrieval.

    Attributes:
        form: ``"landmark"`` separates filler by spaces, ``"infinitebench"`` by line breaks.
    """

    form: Literal["landmark", "infinitebench"] = "landmark"
    version: int = 1
    max_new_tokens: int = 6
    stays_right: bool = False

    @property
    def name(self) -> str:
        """The name results carry."""
        return f"passkey-{self.form}"

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens.

        The filler is cut in front of the question to reach the length.

        Raises:
            InputError: The length cannot hold introduction, needle and question.
        """
        key = str(rng_of(seed).randint(10_000, 99_999))
        separator = " " if self.form == "landmark" else "\n"
        intro = encode((LANDMARK_INTRO if self.form == "landmark" else INFINITE_INTRO) + "\n")
        needle = encode(NEEDLE.format(key=key) + separator)
        question = encode("\n" + QUESTION)
        unit = encode(FILLER + separator)
        room = num_tokens - len(intro) - len(needle) - len(question)
        check_room("passkey", num_tokens, room)
        before = round(depth * (room // len(unit))) * len(unit)
        filler = (unit * (room // len(unit) + 1))[:room]
        prompt = intro + filler[:before] + needle + filler[before:] + question
        return EvalSample(prompt, (NEEDLE.format(key=key),), QUESTION, (key,), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Compare the first number of the output with the key."""
        return first_number_is(output, sample.answer)
