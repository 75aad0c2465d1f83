"""Train the bundled model's tokenizer: byte-level BPE of 2,048 tokens, digits in pairs."""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from focusllm.bundled.text import installation_texts
from focusllm.training.facts import ask, draw_fact, state

VOCABULARY_SIZE = 2048
# Words keep their leading space, digits go in pairs from the left, everything else in runs.
SPLIT_PATTERN = r"\p{N}{1,2}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def training_text(seed: int, num_facts: int) -> Iterator[str]:
    """Yield the training share of the installation's text, then generated facts with their questions."""
    yield from installation_texts("train")
    rng = random.Random(seed)
    for _ in range(num_facts):
        fact = draw_fact(rng)
        question = ask(rng, fact)
        yield f"{state(rng, fact)} {question.text}{question.answer}"
    yield from (" ".join(str(rng.randint(10, 99)) for _ in range(50)) for _ in range(2000))


def train_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """Train the tokenizer; the same seed and Python installation give the same vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(seed, num_facts=60_000), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=1024
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    train_tokenizer().save_pretrained(parser.parse_args().output)
