"""What a model does with documents, whatever computes it: a part of FocusModel, which itself deals in tensors."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from focusllm.answering import Answer, Answerer
from focusllm.decoding.engine import FocusEngine, Progress
from focusllm.documents.document import FocusDocument
from focusllm.documents.sources import Source
from focusllm.estimating import Estimate, estimate
from focusllm.questions import Question, Questions, is_one, listed
from focusllm.reading import DocumentReader


class DocumentMethods:
    """Reads documents once and answers questions about them."""

    _engine: FocusEngine
    _reader: DocumentReader
    _answerer: Answerer

    def index(
        self,
        document: Source,
        folder: str | Path | None = None,
        *,
        device_budget: int | None = None,
        cpu_budget: int | None = None,
        progress: Progress | None = None,
        name: str | None = None,
    ) -> FocusDocument:
        """Read a document once, to ask it many questions.

        Args:
            document: Text, a path to a text file, or token ids in one row.
            folder: Where keys and values are written while the document is read. Chunks that are there already,
                undamaged and with the same tokens, are not read again: an interrupted call resumes, and of a log
                that has grown only the end is read.
            device_budget: Bytes of keys and values that may stay on the model's device; by default half of what is
                free. The others are read from CPU memory or the folder whenever they are needed.
            cpu_budget: The same for CPU memory next to a GPU. Without a folder, what exceeds both budgets stays on
                the device.
            progress: Called with the number of tokens read so far, and of those to be read in all.
            name: What messages and evidence call the document; by default the file's path. A string with a name is
                taken for the text, even where there is a file of that name.

        Raises:
            InputError: The document is empty or holds tokens the base does not know, or a file is not text.
            DocumentError: The folder holds something else.
            WindowError: The document is so long that no question about it would fit the base's window.
        """
        return self._reader.index(document, folder, self._reader.budgets(device_budget, cpu_budget), progress, name)

    def load_document(
        self, folder: str | Path, *, device_budget: int | None = None, cpu_budget: int | None = None
    ) -> FocusDocument:
        """Load a document that was indexed into a folder, or saved; :meth:`index` explains the budgets.

        Raises:
            DocumentError: The folder is damaged, or was made with another model. Damage to keys and values is
                found when they are first needed, by :meth:`ask`.
        """
        return self._reader.load(folder, self._reader.budgets(device_budget, cpu_budget))

    def repair_document(self, folder: str | Path, *, progress: Progress | None = None) -> FocusDocument:
        """Compute again what is damaged or missing in a folder, from the text in it; see :meth:`index`.

        Raises:
            DocumentError: The manifest, the tokens or the text are damaged too, or were made with another model.
        """
        return self._reader.repair(folder, progress)

    @overload
    def ask(
        self,
        document: Source | Sequence[Source],
        question: Question,
        *,
        max_new_tokens: int = 32,
        progress: Progress | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> Answer: ...

    @overload
    def ask(
        self,
        document: Source | Sequence[Source],
        question: Questions,
        *,
        max_new_tokens: int = 32,
        progress: Progress | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> list[Answer]: ...

    def ask(
        self,
        document: Source | Sequence[Source],
        question: Question | Sequence[Question],
        *,
        max_new_tokens: int = 32,
        progress: Progress | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> Answer | list[Answer]:
        """Answer a question about a document, or several questions, for which the document is read once.

        Args:
            document: A document as for :meth:`index`, an indexed one, or several; a chunk never spans two.
            question: One or several: text, which is put into the ``question_template``, or conversations (messages
                with ``role`` and ``content``), which are formatted with the tokenizer's chat template.
            max_new_tokens: Most tokens of an answer.
            progress: Called with the number of tokens read so far, and of those to be read in all.
            seed: Seed of the sampling, used for every question.
            **settings: As for :meth:`generate`, and ``history``: pairs of earlier questions and answers.

        Returns:
            The answer, or a list of answers if several questions were given in a list.

        Raises:
            InputError: A document or a question is empty, missing or something else, or a file is not text.
            WindowError: Candidates and question would exceed the base's window.
        """
        answers = list(self.answers(document, question, max_new_tokens, progress, seed, **settings))
        return answers[0] if is_one(question) else answers

    def answers(
        self,
        document: Source | Sequence[Source],
        questions: Question | Sequence[Question],
        max_new_tokens: int = 32,
        progress: Progress | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> Iterator[Answer]:
        """Answer questions as :meth:`ask` does, and give each answer as soon as it is there."""
        return self._answerer.ask(document, listed(questions), max_new_tokens, settings, progress, seed)

    def estimate(self, num_tokens: int, *, question_tokens: int = 32, max_new_tokens: int = 32) -> Estimate:
        """Estimate, after a short measurement, what a question about so many tokens costs.

        Args:
            num_tokens: Of the document.
            question_tokens: Of the question.
            max_new_tokens: Most tokens of the answer.

        Returns:
            Bytes and seconds of each phase.

        Raises:
            InputError: There is not a single token.
            WindowError: A document of this length does not fit; the text says which setting would help.
        """
        return estimate(self._engine, num_tokens, question_tokens, max_new_tokens)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens.

        Raises:
            ConfigurationError: The model has no tokenizer.
        """
        return self._reader.encode(text)
