"""Bases and adapters by their names on the Hub, of which a copy lies in the cache: nothing is downloaded."""

import json
import shutil
from hashlib import sha1
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from focusllm import FocusModel
from focusllm.condensing.adapter_files import CARD_NAME, CONFIG_NAME
from focusllm.condensing.hub import split_revision
from focusllm.condensing.peft_files import save_as_peft
from focusllm.errors import AdapterError, InputError
from tiny import SMALL, disturb, random_ids, save_tiny_base, tiny_base

IDS = torch.tensor([random_ids(90)])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def keep(cache: Path, name: str, revision: str, source: Path) -> None:
    """Put a folder where huggingface_hub keeps what it has fetched."""
    place, commit = cache / f"models--{name.replace('/', '--')}", sha1(revision.encode()).hexdigest()
    shutil.copytree(source, place / "snapshots" / commit)
    reference = place / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit)


@pytest.mark.parametrize(
    ("name", "place", "revision"),
    [
        ("owner/name", "owner/name", "main"),
        ("owner/name@v2.1", "owner/name", "v2.1"),
        ("owner/name@refs/pr/7", "owner/name", "refs/pr/7"),
        ("gpt2@0a1b2c", "gpt2", "0a1b2c"),
        ("/data/models/base@old", "/data/models/base@old", "main"),
        ("runs/a/b@old", "runs/a/b@old", "main"),
        ("owner/name@", "owner/name@", "main"),
    ],
)
def test_a_revision_stands_behind_the_name(name: str, place: str, revision: str) -> None:
    assert split_revision(name) == (place, revision)


def test_a_folder_may_have_such_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_base(tmp_path / "bases" / "tiny@home")
    assert split_revision("bases/tiny@home") == ("bases/tiny@home", "main")
    assert FocusModel.from_pretrained("bases/tiny@home", config=SMALL, device="cpu").tokenizer is not None


def test_base_tokenizer_and_adapter_come_from_their_revisions(cache: Path, tmp_path: Path) -> None:
    wanted = {}
    for scale, revision in ((1.0, "main"), (0.5, "v2")):
        save_tiny_base(tmp_path / revision / "base")
        weights = tmp_path / revision / "base" / "model.safetensors"
        save_file({name: scale * value for name, value in load_file(weights).items()}, weights, {"format": "pt"})
        settings = tmp_path / revision / "base" / "tokenizer_config.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"pad_token": f"<{revision}>"}))
        model = FocusModel.from_pretrained(tmp_path / revision / "base", config=SMALL, device="cpu")
        disturb(model)
        model.save_adapter(tmp_path / revision / "adapter")
        for kind in ("base", "adapter"):
            keep(cache, f"me/{kind}", revision, tmp_path / revision / kind)
        wanted[revision] = model(IDS).logits
    assert not torch.equal(wanted["main"], wanted["v2"])
    for revision, suffix in (("main", ""), ("v2", "@v2")):
        loaded = FocusModel.from_pretrained(f"me/base{suffix}", f"me/adapter{suffix}", device="cpu")
        assert torch.equal(loaded(IDS).logits, wanted[revision])
        assert loaded.tokenizer is not None
        assert loaded.tokenizer.pad_token == f"<{revision}>"
    with pytest.raises(AdapterError, match="trained on another base"):
        FocusModel.from_pretrained("me/base", "me/adapter@v2", device="cpu")
    with pytest.raises(InputError, match="The base model 'me/base@v3' cannot be loaded"):
        FocusModel.from_pretrained("me/base@v3", device="cpu")
    with pytest.raises(AdapterError, match="No adapter at 'me/adapter@v3': there is no such folder, and it cannot be"):
        FocusModel.from_pretrained("me/base", "me/adapter@v3", device="cpu")


def test_a_base_without_a_tokenizer_may_be_a_revision(cache: Path, tmp_path: Path) -> None:
    tiny_base().save_pretrained(tmp_path / "base")
    keep(cache, "me/base", "v2", tmp_path / "base")
    assert FocusModel.from_pretrained("me/base@v2", config=SMALL, device="cpu").tokenizer is None


def test_adapters_say_which_revision_they_are_for(cache: Path, tmp_path: Path) -> None:
    save_tiny_base(tmp_path / "base")
    keep(cache, "me/base", "v2", tmp_path / "base")
    model = FocusModel.from_pretrained("me/base@v2", config=SMALL.changed({"rank": 2}), device="cpu")
    model.save_adapter(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / CONFIG_NAME).read_text())["base_model_name_or_path"] == "me/base@v2"
    card = (tmp_path / "ours" / CARD_NAME).read_text()
    assert "\nbase_model: me/base\n" in card
    assert 'from_pretrained("me/base@v2"' in card
    save_as_peft(tmp_path / "theirs", model.adapter, model.config, model.base, 1)
    record = json.loads((tmp_path / "theirs" / CONFIG_NAME).read_text())
    assert (record["base_model_name_or_path"], record["revision"]) == ("me/base", "v2")
