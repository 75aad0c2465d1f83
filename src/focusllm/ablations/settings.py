"""What an ablation compares: one recipe, each variant of which differs in something said by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from focusllm.errors import ConfigurationError
from focusllm.evaluation.runner import Grid
from focusllm.evaluation.tasks.registry import TASKS
from focusllm.kinds import build_settings
from focusllm.training.recipe import Recipe, read_recipe
from focusllm.training.settings import read_settings


@dataclass(frozen=True)
class Variant:
    """One way to train or to decode.

    Attributes:
        name: What it is called; also its folder.
        train: Settings of the recipe that differ, by their dotted names. A variant without any decodes with the
            first one's adapters.
        decoding: Settings of decoding that differ.
        seeds: Runs with seeds of their own, or ``None`` for as many as the ablation says.
    """

    name: str
    train: Mapping[str, Any] = field(default_factory=dict)
    decoding: Mapping[str, Any] = field(default_factory=dict)
    seeds: int | None = None


@dataclass(frozen=True)
class Ablation:
    """Variants of one recipe, and what is asked of each.

    Attributes:
        recipe: The recipe's file.
        output: Folder of all runs.
        variants: The variants; the others are compared with the first one.
        train: Settings of the recipe that differ in all variants, by their dotted names.
        decoding: Settings of decoding, for all variants.
        tasks: Names of generated tasks.
        lengths: Tokens of their samples.
        num_depths: Depths of what they hide.
        trials: Samples of each task and length.
        seeds: Runs of each variant, with seeds from 0 on.
        dtype: In what precision variants decode.
    """

    recipe: Path
    output: Path
    variants: tuple[Variant, ...]
    train: Mapping[str, Any] = field(default_factory=dict)
    decoding: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("passkey", "facts")
    lengths: tuple[int, ...] = (4096, 16384)
    num_depths: int = 10
    trials: int = 100
    seeds: int = 1
    dtype: str = "auto"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.tasks) - set(TASKS))
        if unknown or not self.tasks:
            raise ConfigurationError(f"`tasks` must be some of {', '.join(TASKS)}; got {list(self.tasks)}.")
        # What cannot be asked must not show after hours of training.
        _ = self.grid
        names = [variant.name for variant in self.variants]
        if len(set(names)) < 2 or len(set(names)) < len(names):
            raise ConfigurationError(f"`variants` must be two or more, with names of their own; got {names}.")
        if unsafe := [name for name in names if not name or set(name) & set("/\\\0") or name.startswith(".")]:
            raise ConfigurationError(f"Names of variants are names of folders, too; {unsafe} cannot be.")

    @property
    def grid(self) -> Grid:
        """The samples of every task; all variants and seeds are asked the same ones."""
        return Grid(self.lengths, self.num_depths, self.trials)

    def seeds_of(self, variant: Variant) -> range:
        """Return the seeds of a variant."""
        return range(self.seeds if variant.seeds is None else variant.seeds)

    def trains(self, variant: Variant) -> bool:
        """Whether a variant has adapters of its own."""
        return variant == self.variants[0] or bool(variant.train)

    def decoding_of(self, variant: Variant) -> dict[str, Any]:
        """Return the settings a variant decodes with, where they differ from its recipe's."""
        return {**self.decoding, **variant.decoding}

    def folder_of(self, variant: Variant, seed: int) -> Path:
        """Return where one run of a variant is kept."""
        return self.output / variant.name / f"seed-{seed}"

    def recipe_of(self, variant: Variant, seed: int) -> Recipe:
        """Return what one run of a variant is trained by.

        Raises:
            ConfigurationError: A setting is unknown, or its value out of range.
        """
        trained = variant if self.trains(variant) else self.variants[0]
        own = {"seed": seed, "output": str(self.folder_of(trained, seed) / "adapter")}
        return read_recipe(self.recipe, {**self.train, **trained.train, **own})


def read_ablation(path: str | Path) -> Ablation:
    """Read an ablation from a YAML file; paths in it are seen from its folder.

    Raises:
        InputError: The file, or the recipe it names, cannot be read.
        ConfigurationError: A name is unknown, or a value out of range.
    """
    path = Path(path)
    values = read_settings(path, "ablation")
    for name in ("recipe", "output", "variants"):
        if name not in values:
            raise ConfigurationError(f"The ablation lacks `{name}`. Needed are `recipe`, `output` and `variants`.")
    variants = values["variants"]
    if not isinstance(variants, dict):
        raise ConfigurationError(f"`variants` must hold variants by name; got {variants!r}.")
    values["variants"] = tuple(
        # A variant that differs in nothing needs no settings.
        build_settings(Variant, {} if variant is None else variant, f"variant {name!r}", name=str(name))
        for name, variant in variants.items()
    )
    values["recipe"], values["output"] = path.parent / str(values["recipe"]), path.parent / str(values["output"])
    ablation: Ablation = build_settings(Ablation, values, "the ablation")
    _check_seeds(ablation)
    for variant in ablation.variants:
        # What is wrong with the last variant must not show after hours of training the first.
        ablation.recipe_of(variant, seed=0).focus.changed(ablation.decoding_of(variant))
    return ablation


def _check_seeds(ablation: Ablation) -> None:
    first = len(ablation.seeds_of(ablation.variants[0]))
    for variant in ablation.variants:
        if not 1 <= (found := len(ablation.seeds_of(variant))) <= first:
            raise ConfigurationError(
                f"Variant {variant.name!r} has {found} seeds; it must have at least 1 and, to be compared, at most as "
                f"many as the first variant, which has {first}."
            )
