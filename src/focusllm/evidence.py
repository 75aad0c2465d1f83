"""What an answer rests on: the chunks whose candidates were attended to while it was decoded. Source: ours."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from focusllm.documents.document import FocusDocument
from focusllm.documents.text import PAGE_BREAK

# How many chunks an answer names.
_NUM_EVIDENCE = 3


@dataclass(frozen=True)
class Evidence:
    """A chunk that an answer rests on.

    Attributes:
        document: The document's name.
        text: The chunk's text.
        first_token: Where in the document it starts, counted in tokens.
        first_line: The line it starts in, counted from 1; ``None`` where the document was given as tokens.
        first_page: The page it starts on, counted from 1; ``None`` where the document has no pages.
        share: Its part of the attention that went to candidates, while the answer was decoded.
    """

    document: str
    text: str
    first_token: int
    first_line: int | None
    first_page: int | None
    share: float


def evidence_shares(shares: Sequence[Float[Tensor, "layers candidates"]]) -> Float[Tensor, " candidates"]:
    """Sum up what was recorded over the tokens of an answer: each chunk's part of the attention to candidates.

    The upper half of the layers counts: candidates found their fact further down, and are read there.
    """
    layers = torch.stack(list(shares)).mean(dim=0)
    upper = layers[layers.shape[0] // 2 :].sum(dim=0)
    return upper / upper.sum()


def evidence_of(
    documents: Sequence[FocusDocument], shares: Sequence[Tensor], tokenizer: PreTrainedTokenizerBase
) -> tuple[Evidence, ...]:
    """Return the chunks that were attended to most, the first one most of all.

    Args:
        documents: The documents, in the order of their candidates.
        shares: For each token of the answer, what was recorded, (layers, candidates).
        tokenizer: Gives the text of documents that came as tokens.
    """
    per_chunk = evidence_shares(shares)
    places = [(document, number) for document in documents for number in range(document.num_chunks)]
    best = per_chunk.topk(min(_NUM_EVIDENCE, len(places)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return tuple(_span(places[index][0], places[index][1], share, tokenizer) for index, share in pairs)


def _span(document: FocusDocument, number: int, share: float, tokenizer: PreTrainedTokenizerBase) -> Evidence:
    first = number * document.chunk_length
    characters = document.characters_of(number)
    if characters is None or document.text is None:
        text = str(tokenizer.decode(list(document.chunks[number])))
        return Evidence(document.name, text, first, None, None, share)
    start, end = characters
    line = document.text.count("\n", 0, start) + 1
    page = document.text.count(PAGE_BREAK, 0, start) + 1 if PAGE_BREAK in document.text else None
    return Evidence(document.name, document.text[start:end], first, line, page, share)
