"""Train a small base model from nothing: the bundled one, a Llama with a window of 1,024 tokens, or another shape.

What it is trained on is in sequences.py. Sequences grow while training goes on, because looking a fact up is
learned far faster in short sequences and carries over to longer ones.
"""

import argparse
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from optimizer import MuonWithAdamW
from sequences import ANSWER_WEIGHT, FIRST_WEIGHT, SequenceDrawer, Stage, stages_within
from torch.utils.data import Dataset, SequentialSampler
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from focusllm.bundled.text import installation_texts
from focusllm.condensing.families import family_of, layers_of
from focusllm.precision import is_emulated

BATCH_TOKENS = 4096
# After this share of the layers answers must show already, and how much that counts.
EARLY_SHARE, EARLY_WEIGHT = 0.6, 0.5
# On CPUs the plain attention, compiled, is twice as fast as the fused one up to this length, and slower beyond.
PLAIN_ATTENTION_LENGTH = 256


def new_base(shape: Path, vocab_size: int) -> PreTrainedModel:
    """Build an untrained base from a configuration of transformers' in JSON, which lacks what the tokenizer says."""
    settings = json.loads(shape.read_text(encoding="utf-8"))
    ids = {"vocab_size": vocab_size, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings, **ids))


class EarlyAnswers:
    """Reads answers off the output of a layer below the last, with the model's own head.

    Source: the early-exit loss of LayerSkip (arXiv 2404.16710), here for the answers alone and at one layer.
    Facts are then found in the lower layers, and the upper ones are free to read what candidates have found.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        layers = layers_of(model, family_of(model))
        modules = dict(model.base_model.named_modules())
        self._head = model.get_output_embeddings()
        # The norm behind the last layer is the shallowest that is called so; those of layers are deeper.
        last_norm = min((name for name in modules if name.endswith("norm")), key=lambda name: name.count("."))
        self._norm = modules[last_norm]
        self._states: torch.Tensor | None = None
        layers[round(EARLY_SHARE * len(layers)) - 1].register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, arguments: tuple[object, ...], output: torch.Tensor) -> None:
        self._states = output

    def logits(self, is_answer: torch.Tensor) -> torch.Tensor:
        """Return what the layer would say at the marked places of the latest forward pass."""
        assert self._states is not None
        return self._head(self._norm(self._states[:, :-1].flatten(0, 1)[is_answer])).float()


class BaseBatches(Dataset):
    """Batch ``i`` of the run, drawn from its own seed, so that a resumed run sees what it would have seen."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, stages: Sequence[Stage], num_batches: int, seed: int
    ) -> None:
        self._drawer = SequenceDrawer(
            lambda text: tokenizer(text, add_special_tokens=False, verbose=False).input_ids,
            tokenizer.bos_token_id,
            len(tokenizer),
            "".join(installation_texts("train")),
        )
        self._stages = stages
        self._num_batches = num_batches
        self._seed = seed

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{self._seed}/{index}")
        stage = next(stage for stage in self._stages if index / self._num_batches < stage.until)
        rows = [self._drawer.draw(rng, stage) for _ in range(BATCH_TOKENS // stage.length)]
        input_ids, weights = zip(*rows, strict=True)
        return {"input_ids": torch.tensor(input_ids), "weights": torch.tensor(weights)}


class BaseTrainer(Trainer):
    """A Trainer whose loss weighs tokens; it also logs how many answers begin, and go on, as they should."""

    def __init__(self, early: EarlyAnswers, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._early = early

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **_: object
    ) -> torch.Tensor:
        """Weigh each token's cross-entropy."""
        self._choose_attention(inputs["input_ids"])
        targets, weights = inputs["input_ids"][:, 1:].flatten(), inputs["weights"][:, 1:].flatten()
        # Autocast around the compiled model; inside it (the Trainer's own) gradients were not finite on CPUs.
        device = inputs["input_ids"].device
        with torch.autocast(device.type, torch.bfloat16, not is_emulated(torch.bfloat16, device)):
            logits = model(input_ids=inputs["input_ids"], use_cache=False).logits[:, :-1].flatten(0, 1).float()
            is_answer = weights >= ANSWER_WEIGHT
            early_logits = self._early.logits(is_answer)
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        early_losses = torch.nn.functional.cross_entropy(early_logits, targets[is_answer], reduction="none")
        if self.state.global_step % self.args.logging_steps == 0:
            is_right = (logits.argmax(-1) == targets).float()
            self.log(
                {
                    "first_accuracy": is_right[weights == FIRST_WEIGHT].mean().item(),
                    "rest_accuracy": is_right[weights == ANSWER_WEIGHT].mean().item(),
                    "early_accuracy": (early_logits.argmax(-1) == targets[is_answer]).float().mean().item(),
                    "sequence_length": inputs["input_ids"].shape[1],
                }
            )
        early_loss = (early_losses * weights[is_answer]).sum() / weights[is_answer].sum()
        return (losses * weights).sum() / weights.sum() + EARLY_WEIGHT * early_loss

    def _choose_attention(self, input_ids: torch.Tensor) -> None:
        is_plain = input_ids.device.type == "cpu" and input_ids.shape[1] <= PLAIN_ATTENTION_LENGTH
        wanted = "eager" if is_plain else "sdpa"
        if self.model.config._attn_implementation != wanted:
            self.model.set_attn_implementation(wanted)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer once."""
        if self.optimizer is None:
            self.optimizer = MuonWithAdamW(self.model, self.args.learning_rate, self.args.weight_decay)
        return self.optimizer

    def _get_train_sampler(self, *_: object) -> SequentialSampler:
        # The batches carry their own order (lengths grow), so they must not be shuffled.
        return SequentialSampler(self.train_dataset)


def main() -> None:
    """Train the base and write it, with its tokenizer, to the output folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--shape", type=Path, default=Path(__file__).parent / "base.json", help="Its configuration.")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=shutil.which("c++") is not None,
        help="Compile the model, which takes a C++ compiler and is twice as fast (default: where there is one).",
    )
    options = parser.parse_args()

    set_seed(options.seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.tokenizer)
    checkpoints = options.output / "checkpoints"
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=options.steps,
        per_device_train_batch_size=1,
        learning_rate=options.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": options.steps // 4},
        warmup_steps=100,
        weight_decay=0.1,
        max_grad_norm=1.0,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=20,
        save_steps=250,
        save_total_limit=2,
        report_to="none",
        dataloader_num_workers=0,
        remove_unused_columns=False,
        seed=options.seed,
    )
    model = new_base(options.shape, len(tokenizer))
    early = EarlyAnswers(model)
    stages = stages_within(model.config.max_position_embeddings)
    if options.compile:
        model.compile(dynamic=False)
    trainer = BaseTrainer(
        early,
        model=model,
        args=arguments,
        train_dataset=BaseBatches(tokenizer, stages, options.steps, options.seed),
        data_collator=lambda batches: batches[0],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if checkpoints.exists() else None)
    model.to(torch.bfloat16).save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)


if __name__ == "__main__":
    main()
