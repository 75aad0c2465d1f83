"""What a finished run leaves beside its adapter: a model card that says how it was made, and a picture of its loss."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

from focusllm.bundled.model import BUNDLED, resolve_base
from focusllm.condensing.attach import CandidateAdapter
from focusllm.condensing.model_card import CARD_NAME, model_card
from focusllm.errors import MissingDependencyError
from focusllm.files import write_text
from focusllm.plotting import new_figure, save_figure
from focusllm.provenance import hardware, versions
from focusllm.training.recipe import Recipe
from focusllm.training.trainer import LOG_NAME

PICTURE_NAME = "loss.png"
# Of the last ones, the mean is what the card says.
_LAST = 10


def write_card(recipe: Recipe, adapter: CandidateAdapter, device: torch.device, num_processes: int) -> None:
    """Write the model card of a finished run, and its loss as a picture where matplotlib is installed.

    Args:
        recipe: What it was made by.
        adapter: What was made.
        device: What it was trained on.
        num_processes: In how many processes, each of which had batches of its own.
    """
    folder = Path(recipe.output)
    log = folder / LOG_NAME
    logged = [line for line in map(json.loads, log.read_text(encoding="utf-8").splitlines()) if "loss" in line]
    base = _base_of(recipe)
    place = f"{hardware(device)}, in {num_processes} processes" if num_processes > 1 else hardware(device)
    card = model_card(base, recipe.focus, adapter.num_parameters)
    write_text(folder / CARD_NAME, card + _training(recipe, base, logged, place, _draw(logged, folder / PICTURE_NAME)))


def _base_of(recipe: Recipe) -> str:
    """Return the base's name, or where its folder is from anywhere."""
    folder = Path(resolve_base(recipe.base, recipe.folder))
    return str(folder.resolve()) if folder.is_dir() and recipe.base != BUNDLED else recipe.base


def _draw(logged: list[dict[str, Any]], path: Path) -> bool:
    """Draw loss and accuracy over the steps; say whether that could be done."""
    if not logged:
        return False
    try:
        figure = new_figure(7.0, 3.4)
    except MissingDependencyError:
        return False
    axes = figure.subplots()
    steps = [line["step"] for line in logged]
    axes.plot(steps, [line["loss"] for line in logged], label="loss")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    other = axes.twinx()
    other.plot(steps, [line["accuracy"] for line in logged], color="tab:green", label="accuracy")
    other.set_ylim(0, 1)
    other.set_ylabel("accuracy of supervised tokens")
    figure.legend(loc="upper center", ncols=2, fontsize=8)
    save_figure(figure, path)
    return True


def _training(recipe: Recipe, base: str, logged: list[dict[str, Any]], place: str, has_picture: bool) -> str:
    found = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    settings = {name: value for name, value in asdict(recipe).items() if name != "folder"}
    # Through JSON, so that tuples are written as the lists they are in a recipe.
    text = yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False, allow_unicode=True)
    picture = f"\n![Loss and accuracy over the steps]({PICTURE_NAME})\n" if has_picture else ""
    return f"""
## Training

{recipe.steps:,} steps; {_end(logged[-_LAST:])}.
Made with {found}, on {place}.
{picture}
```yaml
{text}```

## Evaluation

None by itself: `focusllm eval passkey --model {base} --adapter PATH` measures it.
"""


def _end(last: list[dict[str, Any]]) -> str:
    """Say what the last entries of the log say; a run that is shorter than `logging_steps` has none."""
    if not last:
        return "nothing was logged of the loss"
    loss, accuracy = (sum(line[name] for line in last) / len(last) for name in ("loss", "accuracy"))
    means = f"means of the last {len(last)} entries of the log, on training data"
    return f"at the end loss {loss:.3f} and {accuracy:.1%} of supervised tokens right ({means})"
