"""The packed pass by one kernel, which GPUs take, is the packed pass run by run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from test_training import CONFIG, EXAMPLES, example, packed
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from focusllm import FocusConfig
from focusllm.condensing.families import layer_windows
from focusllm.training import objective as objectives
from focusllm.training.flex_layout import FlexLayout
from focusllm.training.objective import FocusObjective, Objective
from focusllm.training.packed_attention import BlockLayout
from tiny import tiny_model

# Chunks counted several times, other slots, every kind of refresh.
SHOWN = [
    replace(
        one,
        copies=[1.0 + number for number in range(len(one.chunks))],
        slots=[2 * number for number in range(len(one.chunks))],
        num_slots=2 * len(one.chunks),
        candidate_refresh=refresh,
    )
    for one, refresh in zip([*EXAMPLES, example(2, 9, 3, seed=4)], (1, 2, 0, 3), strict=True)
]
SLIDING = {"sliding_window": 4}
BASES = [("llama", {}), ("qwen3", {}), ("gpt_neox", {}), ("gemma2", SLIDING), ("gpt_oss", SLIDING)]


def attended_in_full(
    query: Tensor, key: Tensor, value: Tensor, *, score_mod: Any, block_mask: Any, scale: float, enable_gqa: bool
) -> Tensor:
    """Flex attention by its definition, over all scores at once; PyTorch's own has no backward pass on CPUs."""
    assert enable_gqa == (query.shape[1] != key.shape[1])
    heads, queries, keys = (torch.arange(size) for size in (query.shape[1], query.shape[2], key.shape[2]))
    places = (torch.tensor(0), heads[:, None, None], queries[:, None], keys)
    key, value = (states.repeat_interleave(len(heads) // states.shape[1], dim=1) for states in (key, value))
    scores = score_mod(query @ key.transpose(-1, -2) * scale, *places)
    return scores.masked_fill(~block_mask.mask_mod(*places), -torch.inf).softmax(dim=-1) @ value


@contextmanager
def laid_out(monkeypatch: pytest.MonkeyPatch, kind: Callable[..., Any]) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(objectives, "BlockLayout", kind)
        patch.setattr(objectives, "FlexLayout", kind)
        yield


def run(
    family: str, changes: dict[str, Any], device: str = "cpu", config: FocusConfig = CONFIG
) -> tuple[Objective, dict[str, Tensor]]:
    """Losses and gradients of a batch, in single precision."""
    model = tiny_model(family, config, torch.float32, **changes)
    assert any(layer_windows(model.base)) == bool(changes)
    objective = FocusObjective(model.base, model.adapter).to(device)
    result = objective(packed(SHOWN, config).to(torch.device(device)))
    if not torch.is_grad_enabled():
        return result, {}
    result.loss.backward()
    gradients = {name: value.grad for name, value in model.adapter.parameters().items() if value.grad is not None}
    assert len(gradients) == len(model.adapter.parameters())
    return result, gradients


def agree(ones: tuple[Objective, dict[str, Tensor]], others: tuple[Objective, dict[str, Tensor]]) -> None:
    assert (ones[0].token_losses - others[0].token_losses).abs().max() <= 1e-5
    largest = max((gradient.abs().max() for gradient in others[1].values()), default=torch.tensor(1.0))
    for name, gradient in others[1].items():
        assert (ones[1][name] - gradient).abs().max() <= 1e-5 * largest, name


@pytest.mark.parametrize(("family", "changes"), BASES)
def test_losses_and_gradients_of_both_layouts_agree(
    family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with laid_out(monkeypatch, partial(FlexLayout, flex_attention=attended_in_full)):
        flex = run(family, changes)
    with laid_out(monkeypatch, BlockLayout):
        agree(flex, run(family, changes))


@pytest.mark.parametrize(("family", "changes"), [BASES[0], BASES[3]])
def test_both_layouts_agree_with_several_candidates_a_chunk(
    family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, candidates_per_chunk=3)
    with laid_out(monkeypatch, partial(FlexLayout, flex_attention=attended_in_full)):
        flex = run(family, changes, config=config)
    with laid_out(monkeypatch, BlockLayout):
        agree(flex, run(family, changes, config=config))


@pytest.mark.parametrize(("family", "changes"), [BASES[0], *BASES[3:]])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_losses_by_the_flex_attention_of_pytorch_agree(
    family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():
        with laid_out(monkeypatch, partial(FlexLayout, flex_attention=flex_attention)):
            flex = run(family, changes)
        with laid_out(monkeypatch, BlockLayout):
            agree(flex, run(family, changes))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_queries_and_keys_have_the_precision_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's function takes them in one precision only, and autocast does not see to it."""
    with (
        laid_out(monkeypatch, partial(FlexLayout, flex_attention=flex_attention)),
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16),
    ):
        low, _ = run("llama", {})
    with torch.no_grad(), laid_out(monkeypatch, BlockLayout):
        full, _ = run("llama", {})
    assert 0 < (low.token_losses - full.token_losses).abs().max() <= 0.1 * full.token_losses.max()


def test_keys_of_other_rows_and_sequences_are_skipped() -> None:
    """128 candidates are those of 16 rows; the blocks of 128 keys with other rows are not computed for them."""
    model = tiny_model(config=CONFIG)
    batch = packed([replace(example(8, 14, 5, seed), chunks=[[5] * 120] * 8) for seed in range(8)])
    layout = FlexLayout(batch, {}, FocusObjective(model.base, model.adapter)._mover, [None])
    mask = layout._masks[None]
    keys = mask.seq_lengths[1]
    assert keys == batch.num_tokens + len(batch.candidate_ids) + 1
    # 16 rows of 132 tokens, the candidates themselves, the sink; of 76 blocks.
    assert keys > 75 * 128
    assert mask.to_dense().sum(dim=-1).max() <= 22


@pytest.mark.gpu
@pytest.mark.parametrize(("family", "changes"), [base for base in BASES if base[0] in ("qwen3", "gemma2")])
def test_the_compiled_kernel_agrees_on_a_gpu(
    family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads of fewer than 16 numbers are too small for it, so that not every base can be tried here."""
    if not torch.cuda.is_available():
        pytest.skip("There is no GPU.")
    flex = run(family, changes, "cuda")
    with laid_out(monkeypatch, BlockLayout):
        agree(flex, run(family, changes, "cuda"))
