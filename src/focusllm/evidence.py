"""What an answer rests on: the chunks whose candidates were attended to while it was decoded. Source: ours."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from focusllm.documents.document import FocusDocument
from focusllm.documents.text import PAGE_BREAK
from focusllm.plotting import new_figure, save_figure

# How many chunks an answer names.
_NUM_EVIDENCE = 3


@dataclass(frozen=True)
class Evidence:
    """A chunk that an answer rests on.

    Attributes:
        document: The document's name.
        text: The chunk's text, without what it repeats of the previous chunk if chunks overlap.
        first_token: Where in the document it starts, counted in tokens.
        first_line: The line it starts in, counted from 1; ``None`` if the document was given as tokens.
        first_page: The page it starts on, counted from 1; ``None`` if the document has no pages.
        share: Its share of the attention to candidates while the answer was decoded, from 0 to 1.
    """

    document: str
    # Thousands of words; an answer is shown with several of them.
    text: str = field(repr=False)
    first_token: int
    first_line: int | None
    first_page: int | None
    share: float


def evidence_of(
    documents: Sequence[FocusDocument],
    shares: Float[Tensor, "tokens candidates"],
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[Evidence, ...]:
    """Return the chunks that were attended to most, the first one most of all.

    Args:
        documents: The documents, in the order of their candidates.
        shares: For each token of the answer, the attention to each candidate.
        tokenizer: Gives the text of documents that came as tokens.
    """
    per_chunk = shares.sum(dim=0) / shares.sum()
    places = [(document, number) for document in documents for number in range(document.num_chunks)]
    best = per_chunk.topk(min(_NUM_EVIDENCE, len(places)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return tuple(_span(places[index][0], places[index][1], share, tokenizer) for index, share in pairs)


def _span(document: FocusDocument, number: int, share: float, tokenizer: PreTrainedTokenizerBase) -> Evidence:
    first = number * document.chunk_length
    characters = document.characters_of(number)
    if characters is None or document.text is None:
        text = str(tokenizer.decode(list(document.token_ids[first : first + document.chunk_length])))
        return Evidence(document.name, text, first, None, None, share)
    start, end = characters
    line = document.text.count("\n", 0, start) + 1
    page = document.text.count(PAGE_BREAK, 0, start) + 1 if PAGE_BREAK in document.text else None
    return Evidence(document.name, document.text[start:end], first, line, page, share)


def draw_evidence(answer_tokens: Sequence[str], chunk_shares: Sequence[Sequence[float]], path: Path) -> None:
    """Draw, as a PNG, which chunks the answer was read from: in total above, token by token below.

    Args:
        answer_tokens: The answer's tokens as text.
        chunk_shares: For each of them, each chunk's part of the attention that went to candidates.
        path: The file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    rows = len(answer_tokens)
    figure = new_figure(9, 2.6 + 0.22 * rows)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.4, max(0.22 * rows, 0.8)))
    totals = [sum(column) / rows for column in zip(*chunk_shares, strict=True)]
    above.bar(range(len(totals)), totals, width=1.0)
    above.set_ylabel("share in total")
    image = below.imshow(chunk_shares, aspect="auto", vmin=0, cmap="viridis", interpolation="nearest")
    # Dollars are dollars, and no formula.
    below.set_yticks(range(rows), [repr(token)[1:-1] for token in answer_tokens], fontsize=8, parse_math=False)
    below.set_xlabel("chunk of the document")
    figure.colorbar(image, ax=below, label="share of attention", location="bottom", aspect=60)
    save_figure(figure, path)
