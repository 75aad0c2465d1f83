"""What an ablation trains, and what it holds to be trained already."""

from pathlib import Path

import pytest

from focusllm.ablations import run
from focusllm.ablations.run import train_adapter
from focusllm.condensing.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from focusllm.errors import TrainingError
from focusllm.training.kept_recipe import keep_recipe
from focusllm.training.recipe import Recipe, read_recipe

RECIPE = "base: base\noutput: out\nsteps: 3\ndata: [{kind: facts, files: text.txt}]\n"


def test_an_adapter_whose_writing_was_cut_short_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Recipe] = []

    def begin(recipe: Recipe) -> None:
        keep_recipe(recipe)
        trained.append(recipe)

    monkeypatch.setattr(run, "train", begin)
    (tmp_path / "adapter.yaml").write_text(RECIPE)
    recipe = read_recipe(tmp_path / "adapter.yaml", {"output": str(tmp_path / "out")})
    for written, wanted in ((None, 1), (WEIGHTS_NAME, 2), (CONFIG_NAME, 2)):
        if written is not None:
            (tmp_path / "out" / written).write_text("as it happens")
        train_adapter(recipe)
        assert len(trained) == wanted
    other = read_recipe(tmp_path / "adapter.yaml", {"output": str(tmp_path / "out"), "steps": 4})
    with pytest.raises(TrainingError, match="begun with other settings"):
        train_adapter(other)
