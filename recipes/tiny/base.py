"""Train the bundled base model from nothing: a small Llama with a window of 1,024 tokens.

Sequences are documents with generated facts and questions about them, the standard library's own text, and
runs of tokens that repeat. Lengths grow while training goes on, because finding a fact is learned far faster
in short sequences and carries over to longer ones.
"""

import argparse
import random
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from focusllm.bundled.text import installation_texts
from focusllm.training.fact_documents import FactDocumentMaker

BATCH_TOKENS = 4096
# Sequence length by the share of training that is over: (until, length).
LENGTH_SCHEDULE = ((0.55, 256), (0.8, 512), (1.0, 1024))
ANSWER_WEIGHT = 5.0
TEXT_SHARE, COPY_SHARE = 0.22, 0.15
QUESTION_BOS_SHARE = 0.3


def tiny_llama(vocab_size: int) -> LlamaForCausalLM:
    """Build the untrained base: 8 layers of 192, 3.6M parameters."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config)


class BaseBatches(Dataset):
    """Batch ``i`` of the run, drawn from its own seed, so that a resumed run sees what it would have seen."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, num_batches: int, seed: int) -> None:
        text = "".join(installation_texts("train"))
        self._tokenizer = tokenizer
        self._text_ids = tokenizer(text, verbose=False).input_ids
        lines = [line for line in text.splitlines(keepends=True) if line.strip()]
        self._documents = FactDocumentMaker(lines, len(text) / len(self._text_ids))
        self._num_batches = num_batches
        self._seed = seed

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{self._seed}/{index}")
        done = index / self._num_batches
        length = next(length for until, length in LENGTH_SCHEDULE if done < until)
        rows = [self._sequence(rng, length) for _ in range(BATCH_TOKENS // length)]
        input_ids, weights = zip(*rows, strict=True)
        return {"input_ids": torch.tensor(input_ids), "weights": torch.tensor(weights)}

    def _sequence(self, rng: random.Random, length: int) -> tuple[list[int], list[float]]:
        ids: list[int] = []
        weights: list[float] = []
        while len(ids) < length:
            new_ids, new_weights = self._part(rng, length - len(ids))
            ids += [self._tokenizer.bos_token_id, *new_ids]
            weights += [0.0, *new_weights]
        return ids[:length], weights[:length]

    def _part(self, rng: random.Random, room: int) -> tuple[list[int], list[float]]:
        kind = rng.random()
        if room < 60 or kind < TEXT_SHARE:
            start = rng.randrange(len(self._text_ids) - room)
            return self._text_ids[start : start + room], [1.0] * room
        if kind < TEXT_SHARE + COPY_SHARE:
            return self._copies(rng, room)
        return self._facts(rng, room)

    def _copies(self, rng: random.Random, room: int) -> tuple[list[int], list[float]]:
        run = [rng.randrange(3, self._tokenizer.vocab_size) for _ in range(rng.randint(8, max(9, room // 3)))]
        ids = (run * (room // len(run) + 1))[:room]
        # The first time round nothing can be predicted.
        return ids, [0.0] * min(len(run), room) + [1.0] * max(0, room - len(run))

    def _facts(self, rng: random.Random, room: int) -> tuple[list[int], list[float]]:
        num_questions = rng.randint(1, 4) if room < 400 else rng.randint(2, 8)
        num_tokens = int((room - 24 * num_questions) * rng.uniform(0.4, 1.0))
        document = self._documents.draw(rng, num_tokens, num_questions)
        ids = self._encode("".join(piece.text for piece in document.pieces))
        excess = len(ids) + 24 * num_questions - room
        if excess > 0 and num_tokens > 60:
            return self._facts(rng, room)
        weights = [1.0] * len(ids)
        for question in document.questions:
            lead = [self._tokenizer.bos_token_id] if rng.random() < QUESTION_BOS_SHARE else []
            question_ids, answer_ids = lead + self._encode(question.text), self._encode(question.answer)
            ids += question_ids + answer_ids
            weights += [0.3] * len(question_ids) + [ANSWER_WEIGHT] * len(answer_ids)
        return ids, weights

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids


class BaseTrainer(Trainer):
    """A Trainer whose loss weighs answers above other tokens; it also logs how many answer tokens are right."""

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **_: object
    ) -> torch.Tensor:
        """Weigh each token's cross-entropy."""
        logits = model(input_ids=inputs["input_ids"], use_cache=False).logits[:, :-1].flatten(0, 1).float()
        targets, weights = inputs["input_ids"][:, 1:].flatten(), inputs["weights"][:, 1:].flatten()
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        if self.state.global_step % self.args.logging_steps == 0:
            is_answer = weights == ANSWER_WEIGHT
            right = (logits.argmax(-1) == targets)[is_answer].float().mean()
            self.log({"answer_accuracy": right.item(), "sequence_length": inputs["input_ids"].shape[1]})
        return (losses * weights).sum() / weights.sum()


def main() -> None:
    """Train the base and write it, with its tokenizer, to the output folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    set_seed(options.seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.tokenizer)
    checkpoints = options.output / "checkpoints"
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=options.steps,
        per_device_train_batch_size=1,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=100,
        weight_decay=0.01,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=20,
        save_steps=200,
        save_total_limit=2,
        report_to="none",
        dataloader_num_workers=0,
        remove_unused_columns=False,
        seed=options.seed,
    )
    trainer = BaseTrainer(
        model=tiny_llama(len(tokenizer)),
        args=arguments,
        train_dataset=BaseBatches(tokenizer, options.steps, options.seed),
        data_collator=lambda batches: batches[0],
    )
    # The batches carry their own order (lengths grow), so the sampler must not shuffle them.
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)  # type: ignore[method-assign]
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if checkpoints.exists() else None)
    trainer.model.to(torch.bfloat16).save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)


if __name__ == "__main__":
    main()
