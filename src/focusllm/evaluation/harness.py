"""FocusLLM as a model of lm-evaluation-harness, which nothing else here imports.

Source: ``TemplateLM`` and ``HFLM`` of the harness, version 0.4.13, for what a model must answer and how texts become
tokens. Nothing is cut off: what does not fit the window is read in chunks.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jinja2.exceptions import TemplateError
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from focusllm.chunking import block
from focusllm.errors import ConfigurationError, InputError, MissingDependencyError
from focusllm.evaluation.continuations import ContinuationScorer
from focusllm.model import FocusModel
from focusllm.provenance import versions

try:
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import Collator, normalize_gen_kwargs, postprocess_generated_text
except ImportError as error:
    raise MissingDependencyError("lm-evaluation-harness is needed: pip install 'focusllm[lm-eval]'.") from error

_LOGGER = logging.getLogger(__name__)
# What the harness's own models generate where a task does not say.
_USUAL_NEW_TOKENS = 256
# Settings that tasks give along with greedy decoding, where they mean nothing.
_OF_SAMPLING = ("temperature", "top_p", "top_k", "min_p")


@register_model("focusllm")
class FocusLM(TemplateLM):
    """A FocusLLM that the harness can ask.

    Args:
        base: Name (with ``@revision``, if need be) or path of the base, or a loaded model; the bundled one, if none is
            given.
        adapter: Folder of the adapter, or its name, or ``"bundled"``.
        pretrained: The harness's own name for ``base``: it names folders of results by it, and some of its tasks load
            the tokenizer by it.
        dtype: As for transformers.
        device: Where the model goes; a GPU if there is one, by default.
        batch_size: Contexts that are continued together; continuations of one context are always scored together.
            ``"auto"`` is 1: chunks that are read together are chosen by the memory there is, in any case.
        max_batch_size: Taken for the harness's sake; it means nothing here.
        max_parallel_chunks: See :class:`~focusllm.model.FocusModel`.
        add_bos_token: Whether texts begin with BOS; as the tokenizer has it, by default.
        stride: See :class:`~focusllm.evaluation.continuations.ContinuationScorer`.
        **settings: Of :class:`~focusllm.config.FocusConfig`, such as ``chunk_length``.

    Raises:
        ConfigurationError: A setting is unknown or out of range, or there is no tokenizer.
        InputError: There is no base by that name.
    """

    def __init__(
        self,
        base: str | FocusModel | None = None,
        adapter: str | None = None,
        pretrained: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        max_parallel_chunks: int | None = None,
        add_bos_token: bool | None = None,
        stride: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if base is not None and pretrained is not None:
            raise ConfigurationError("`base` and `pretrained` are two names for one thing: give one of them.")
        base = pretrained if base is None else base
        if isinstance(base, FocusModel):
            self._model = base.configure(**settings)
        else:
            self._model = FocusModel.from_pretrained(
                base, adapter, config=settings, dtype=dtype, device=device, max_parallel_chunks=max_parallel_chunks
            )
        if self._model.tokenizer is None:
            raise ConfigurationError("The harness asks in text: give a base that comes with its tokenizer.")
        self.tokenizer: PreTrainedTokenizerBase = self._model.tokenizer
        self._device = self._model.device
        self._add_bos_token = add_bos_token
        self._batch_size = _batch_size(batch_size)
        self._scorer = ContinuationScorer(self._model, stride)

    @property
    def batch_size(self) -> int:
        """Contexts that are continued together."""
        return self._batch_size

    @property
    def max_length(self) -> int:
        """The longest context: there is no limit of ours."""
        return sys.maxsize

    @property
    def max_gen_toks(self) -> int:
        """Tokens that are generated where a task does not say."""
        return _USUAL_NEW_TOKENS

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        token: Any = self.tokenizer.eos_token_id
        return token

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text that has nothing before it: BOS, or EOS where there is none."""
        token: Any = self.tokenizer.bos_token_id
        return self.eot_token_id if token is None else token

    @property
    def tokenizer_name(self) -> str:
        """The name under which the harness keeps requests."""
        return self.tokenizer.name_or_path.replace("/", "__")

    def get_model_info(self) -> dict[str, Any]:
        """Return what results say of the model."""
        return {
            "model_num_parameters": self._model.base.num_parameters(),
            "model_dtype": str(next(self._model.base.parameters()).dtype),
            "focusllm_config": self._model.config.to_dict(),
            "focusllm_versions": versions(),
        }

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Word a conversation; a system message is left out where the template takes none.

        Raises:
            ConfigurationError: The tokenizer has no chat template.
        """
        if not self.tokenizer.chat_template:
            raise ConfigurationError("The tokenizer has no chat template: leave out --apply_chat_template.")
        wording: dict[str, Any] = {
            "tokenize": False,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": not add_generation_prompt,
        }
        try:
            return str(self.tokenizer.apply_chat_template(chat_history, **wording))
        except TemplateError:
            _LOGGER.warning("The chat template takes no system message: it is left out.")
            others = [message for message in chat_history if message["role"] != "system"]
            return str(self.tokenizer.apply_chat_template(others, **wording))

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Turn a text into tokens, all of them.

        Args:
            string: The text.
            add_special_tokens: Whether it begins with BOS; by default as the model was told, but never twice.
            **kwargs: Taken for the harness's sake; they mean nothing here.
        """
        bos: Any = self.tokenizer.bos_token
        if add_special_tokens is None:
            has_bos = bos is not None and string.startswith(bos)
            add_special_tokens = False if has_bos else self._add_bos_token
        is_special: dict[str, Any] = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        ids: list[int] = self.tokenizer(string, verbose=False, **is_special).input_ids
        # Tokenizers that know BOS and do not put it anywhere would pass the wish over.
        bos_id: Any = self.tokenizer.bos_token_id
        return block(ids, bos_id) if add_special_tokens else ids

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        **kwargs: Any,
    ) -> list[tuple[float, bool]]:
        """Score continuations, all of one context together, the longest context first."""
        by_context: dict[tuple[int, ...], list[int]] = {}
        for number, (_, context, _) in enumerate(requests):
            by_context.setdefault(tuple(self._not_empty(context)), []).append(number)
        found: dict[int, tuple[float, bool]] = {}
        with tqdm(total=len(requests), desc="Running loglikelihood requests", disable=disable_tqdm) as bar:
            for context in sorted(by_context, key=len, reverse=True):
                numbers = by_context[context]
                scores = self._scorer.scores(context, [requests[number][2] for number in numbers])
                for number, score in zip(numbers, scores, strict=True):
                    found[number] = (score.log_probability, score.is_greedy)
                    self.cache_hook.add_partial("loglikelihood", requests[number][0], found[number])
                bar.update(len(numbers))
        return [found[number] for number in range(len(requests))]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Score whole texts: every token once, from all before it; the first one from BOS."""
        found = []
        for request in tqdm(requests, desc="Running loglikelihood_rolling requests", disable=disable_tqdm):
            ids = self.tok_encode(request.args[0], add_special_tokens=False)
            [score] = self._scorer.scores([self.prefix_token_id], [ids])
            found.append(score.log_probability)
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, score.log_probability)
        return found

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continue contexts until a text that ends the answer, greedily unless a task asks for draws."""
        given: list[Any] = [request.args for request in requests]
        ordered = Collator(
            given,
            sort_fn=lambda asked: (-len(self.tok_encode(asked[0])), asked[0]),
            group_by="gen_kwargs",
            group_fn=lambda asked: asked[1],
        )
        found: list[str] = []
        with tqdm(total=len(requests), desc="Running generate_until requests", disable=disable_tqdm) as bar:
            for batch in ordered.get_batched(n=self._batch_size):
                texts = self._continued([context for context, _ in batch], batch[0][1])
                for asked, text in zip(batch, texts, strict=True):
                    self.cache_hook.add_partial("generate_until", asked, text)
                found += texts
                bar.update(len(batch))
        return ordered.get_original(found)

    def _continued(self, contexts: Sequence[str], given: Mapping[str, Any]) -> list[str]:
        """Continue contexts that have the same settings."""
        settings: dict[str, Any] = {**normalize_gen_kwargs(dict(given), self.max_gen_toks)}
        until = [text for text in settings.pop("until") if text]
        new_tokens = settings.pop("max_gen_toks")
        if not settings["do_sample"]:
            settings = {name: value for name, value in settings.items() if name not in _OF_SAMPLING}
        rows = [self._not_empty(self.tok_encode(context)) for context in contexts]
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=self._device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self._device)
        stops = StoppingCriteriaList([_Until(self.tokenizer, until, width)])
        output: Any = self._model.generate(ids, mask, max_new_tokens=new_tokens, stopping_criteria=stops, **settings)
        return [self._text(row, until) for row in output[:, width:].tolist()]

    def _text(self, token_ids: list[int], until: list[str]) -> str:
        """Return what was written before anything that ended it."""
        named: Any = self._model.base.generation_config.eos_token_id
        ends = named if isinstance(named, list) else [named]
        length = next((place for place, token in enumerate(token_ids) if token in ends), len(token_ids))
        text = str(self.tokenizer.decode(token_ids[:length], skip_special_tokens=True))
        return postprocess_generated_text(text, until, None)

    def _not_empty(self, context: Sequence[int]) -> Sequence[int]:
        return context or [self.prefix_token_id]


class _Until(StoppingCriteria):
    """Ends a sequence whose new tokens hold one of some texts; what stands in the context ends nothing."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str], width: int) -> None:
        self._tokenizer, self._stops, self._width = tokenizer, stops, width

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:  # type: ignore[override]
        texts = self._tokenizer.batch_decode(input_ids[:, self._width :])
        return torch.tensor([any(stop in text for stop in self._stops) for text in texts], device=input_ids.device)


def _batch_size(given: int | str) -> int:
    if str(given).startswith("auto"):
        return 1
    if not str(given).isdigit() or int(given) < 1:
        raise ConfigurationError(f"`batch_size` must be 'auto' or a number from 1; got {given!r}.")
    return int(given)


def run_harness(arguments: Sequence[str]) -> None:
    """Run the harness's own command with arguments; it knows the model ``focusllm``.

    Raises:
        InputError: The harness has no such task.
    """
    given, sys.argv = sys.argv, ["lm-eval", *arguments]
    try:
        cli_evaluate()
    except ValueError as error:
        # Any other may be an error of a task, to be traced.
        if not str(error).startswith("Tasks not found"):
            raise
        raise InputError(
            f"lm-evaluation-harness does not have these tasks ({error}). `focusllm lm-eval ls tasks` lists those it "
            f"has; --include_path names a folder of your own."
        ) from error
    finally:
        sys.argv = given
