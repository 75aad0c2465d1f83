"""Recipes: a YAML file that says on what, from what and how an adapter is trained."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from focusllm.config import FocusConfig
from focusllm.errors import ConfigurationError, TrainingError
from focusllm.kinds import build_settings
from focusllm.training.corpora import INSTALLATION, Corpus
from focusllm.training.examples import DrawSettings, ExampleDrawer, Source, check_room
from focusllm.training.fact_source import FactSource
from focusllm.training.settings import override, parse_override, read_settings
from focusllm.training.text_sources import RecordSource, TextSource, most_text
from focusllm.training.token_store import TokenSequences

# A document with facts is made of lines, and would be as long as the longest one, which may be a whole book.
_PIECES_OF_LINES = re.compile(r".{1,400}(?:(?<=\s)|$)|.{400}", re.DOTALL)
DATA_KINDS = ("facts", "continuation", "reconstruction", "records")


@dataclass(frozen=True)
class DataSettings:
    """One source of samples.

    Attributes:
        kind: ``facts`` (generated), ``continuation`` or ``reconstruction`` (of text), or ``records``.
        share: Its weight among the sources: how many samples come from it.
        files: Files and globs, relative to the recipe's folder; by default the text of the Python installation.
        dataset: A data set on the Hugging Face Hub (with ``@revision``, if need be), or the folder of one, in place
            of files; it is streamed.
        subset: Its subset (``name`` in the library ``datasets``).
        split: Its split.
        limit: Use only so many of its first texts or records.
        max_supervised: Most supervised positions of a sample.
    """

    kind: str
    share: float = 1.0
    files: str | tuple[str, ...] | None = None
    dataset: str | None = None
    subset: str | None = None
    split: str = "train"
    limit: int | None = None
    max_supervised: int = 16

    def corpus(self, folder: Path) -> Corpus:
        """Return where its texts or records come from; one file may be given without a list."""
        default = () if self.dataset else (INSTALLATION,)
        files = (self.files,) if isinstance(self.files, str) else self.files or default
        return Corpus(files, folder, self.dataset, self.subset, self.split, self.limit)

    def __post_init__(self) -> None:
        if self.kind not in DATA_KINDS:
            raise ConfigurationError(f"`kind` of a data source must be one of {DATA_KINDS}; got {self.kind!r}.")
        if self.share <= 0:
            raise ConfigurationError(f"`share` of a data source must be above 0; got {self.share!r}.")
        if self.limit is not None and self.limit < 1:
            raise ConfigurationError(f"`limit` of a data source must be a positive number; got {self.limit!r}.")
        if self.max_supervised < 1:
            raise ConfigurationError(
                f"`max_supervised` of a data source must be a positive number; got {self.max_supervised!r}."
            )
        if self.kind == "facts" and self.max_supervised != DataSettings.max_supervised:
            raise ConfigurationError(
                f"`max_supervised` is {self.max_supervised!r}, but the answers of `facts` are supervised as a whole; "
                f"leave it out."
            )
        self._check_place()

    def _check_place(self) -> None:
        """Refuse two places, none where one is needed, and what only the other one could have."""
        if self.files is not None and not self.files:
            raise ConfigurationError("`files` of a data source is empty; name files, or leave it out.")
        if self.files and self.dataset:
            raise ConfigurationError(f"Give `files` ({self.files!r}) or a `dataset` ({self.dataset!r}), not both.")
        for name in ("subset", "split"):
            if getattr(self, name) != getattr(DataSettings, name) and not self.dataset:
                raise ConfigurationError(
                    f"`{name}` is {getattr(self, name)!r}, but no `dataset` is given that could have it."
                )
        if self.kind == "records" and not (self.files or self.dataset):
            raise ConfigurationError("`records` need `files` or a `dataset`.")


@dataclass(frozen=True)
class Recipe:
    """Everything a training run is made from.

    Attributes:
        base: Path of the base model, or its name on the Hub, with ``@revision`` for a branch, tag or commit.
        output: Folder of the run: adapter, checkpoints and loss log.
        steps: Optimizer steps.
        folder: The folder that relative paths of files start from: the recipe's own.
        seed: Seed of the draws and of new parameters.
        row_dtype: Lower precision for the tokens of chunks and prompts, which get no gradients.
        quantization: How to quantize the base: fields of transformers' ``quantization_config``.
        adapter: Folder of the adapter to start from, or its name on the Hub (like ``base``), or ``bundled``; ``None``
            for fresh projections.
        start: What fresh projections start as: ``"base"``, copies of the base's own (the paper's), or ``"copy"``:
            in the upper layers, values that hand on what a candidate has found (ours), which shortens training.
        focus: The method's settings.
        draws: How examples are drawn, stage by stage.
        data: The sources.
        arguments: Options of ``transformers.TrainingArguments``, by their own names.
    """

    base: str
    output: str
    steps: int
    folder: Path
    seed: int = 0
    row_dtype: str | None = None
    quantization: Mapping[str, Any] | None = None
    adapter: str | None = None
    start: str = "base"
    focus: FocusConfig = field(default_factory=FocusConfig)
    draws: tuple[DrawSettings, ...] = (DrawSettings(),)
    data: tuple[DataSettings, ...] = (DataSettings("facts"),)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.row_dtype not in (None, "bfloat16", "float16"):
            raise ConfigurationError(f"`row_dtype` must be bfloat16, float16 or left out; got {self.row_dtype!r}.")
        if self.start not in ("base", "copy"):
            raise ConfigurationError(f"`start` must be 'base' or 'copy'; got {self.start!r}.")
        if self.adapter is not None and self.start != "base":
            raise ConfigurationError("`adapter` and `start` are both given; an adapter is where training starts.")
        if self.steps < 1:
            raise ConfigurationError(f"`steps` must be a positive number; got {self.steps!r}.")
        # What NumPy, which the Trainer seeds too, can take.
        if not 0 <= self.seed < 2**32:
            raise ConfigurationError(f"`seed` must be a whole number from 0 to {2**32 - 1}; got {self.seed!r}.")
        refreshes = {refresh for stage in self.draws for refresh in stage.candidate_refreshes}
        if self.focus.static_prompt and refreshes != {0}:
            raise ConfigurationError(
                f"Candidates behind a `static_prompt` are made once: set `candidate_refreshes` of `draws` to [0]; "
                f"got {sorted(refreshes)}."
            )
        ends = [stage.until for stage in self.draws]
        if not ends or ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ConfigurationError(f"The stages of `draws` must have rising `until`, the last 1.0; got {ends}.")
        if not self.data:
            raise ConfigurationError("`data` is empty; name at least one source, such as {kind: facts}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], folder: str | Path = ".") -> "Recipe":
        """Build a recipe from plain values by their names, as they stand in a file.

        Args:
            values: The settings; see docs/training.md.
            folder: The folder that relative paths of files start from.

        Raises:
            ConfigurationError: A name is not a setting, one is missing, or a value is of another kind or out of range.
        """
        values = dict(values)
        if isinstance(output := values.get("output"), str | Path):
            # As the Trainer does: or half of a run would be in a folder that is called `~`.
            values["output"] = str(Path(output).expanduser())
        if "focus" in values:
            values["focus"] = build_settings(FocusConfig, values["focus"], "focus")
        if "draws" in values:
            values["draws"] = [build_settings(DrawSettings, stage, "draws") for stage in _listed(values["draws"])]
        if "data" in values:
            values["data"] = [build_settings(DataSettings, entry, "data") for entry in _listed(values["data"])]
        return build_settings(cls, values, "the recipe", folder=Path(folder))


def read_recipe(path: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: The YAML file.
        overrides: Settings that replace the file's, by their dotted names, or written ``NAME=VALUE``
            (``focus.rank=8``); ``draws.row_tokens`` is that of all stages.

    Raises:
        InputError: The file cannot be read, or is not YAML.
        ConfigurationError: A name is unknown, or a value out of range.
    """
    path = Path(path)
    values = read_settings(path, "recipe")
    by_name = overrides.items() if isinstance(overrides, Mapping) else map(parse_override, overrides)
    for name, value in by_name:
        override(values, name, value)
    return Recipe.from_dict(values, path.parent)


def _listed(entries: Any) -> list[Any]:
    """Return a list as it is; one entry may be given without one."""
    return entries if isinstance(entries, list) else [entries]


def check_draws(recipe: Recipe, window: int) -> None:
    """Check that what a recipe draws, in its usual size, fits the base's window.

    Raises:
        WindowError: It does not.
    """
    texts = [source for source in recipe.data if source.kind in ("continuation", "reconstruction")]
    longest = max((most_text(source.max_supervised) for source in texts), default=0)
    check_room(recipe.draws, recipe.focus, window, longest)


def make_drawer(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, window: float = math.inf) -> ExampleDrawer:
    """Read the recipe's data and make the drawer of its examples, each of which fits the window.

    Raises:
        WindowError: A record does not fit the base's window.
    """
    sources: dict[Source, float] = {}
    checksums: list[str] = []
    for settings in recipe.data:
        corpus = settings.corpus(recipe.folder)
        tokens = (corpus.record_tokens if settings.kind == "records" else corpus.text_tokens)(tokenizer)
        source = _make_source(settings, corpus, tokens, tokenizer)
        if isinstance(source, RecordSource):
            source.check_room(recipe.draws, window, recipe.focus.candidates_per_chunk)
        sources[source] = settings.share
        checksums.append(tokens.checksum)
    return ExampleDrawer(sources, recipe.draws, recipe.focus.prompt_length(), checksums)


def _make_source(
    settings: DataSettings, corpus: Corpus, tokens: TokenSequences, tokenizer: PreTrainedTokenizerBase
) -> Source:
    if settings.kind == "records":
        return RecordSource(tokens, settings.max_supervised)
    if settings.kind != "facts":
        return TextSource(tokens, settings.kind, settings.max_supervised)  # type: ignore[arg-type]
    texts = list(corpus.texts())
    whole = (line for text in texts for line in text.splitlines(keepends=True) if line.strip())
    lines = [piece for line in whole for piece in _PIECES_OF_LINES.findall(line)]
    if not lines:
        raise TrainingError("The texts of a `facts` source are empty: there is nothing to hide facts in.")

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False, verbose=False).input_ids

    return FactSource(encode, lines, sum(map(len, texts)) / sum(tokens.lengths))
