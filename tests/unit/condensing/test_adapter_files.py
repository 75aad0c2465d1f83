"""Equality 9 and what an adapter folder must survive."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from focusllm import FocusModel
from focusllm.bundled.model import ADAPTER_PATH
from focusllm.condensing import adapter_files
from focusllm.condensing.adapter_files import CONFIG_NAME, WEIGHTS_NAME, adapter_folder, load_adapter
from focusllm.condensing.model_card import CARD_NAME, model_card
from focusllm.condensing.published import read_checkpoint
from focusllm.errors import AdapterError, ConfigurationError
from tiny import SMALL, disturb, published_names, random_ids, tiny_base, tiny_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny_model().save_adapter(tmp_path / "adapter")
    return tmp_path / "adapter"


def with_setting(folder: Path, name: str) -> None:
    record = json.loads((folder / CONFIG_NAME).read_text())
    record["focus"][name] = 1
    (folder / CONFIG_NAME).write_text(json.dumps(record))


def load_into(base: torch.nn.Module, folder: Path, **changes: object) -> FocusModel:
    model = FocusModel(base, replace(SMALL, **changes)).eval()
    load_adapter(folder, model.adapter, model.base)
    return model


@pytest.mark.parametrize("family", ["llama", "phi"])
@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_loaded_adapter_gives_the_same_scores(
    family: str, rank: int | None, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = tiny_model(family, replace(SMALL, rank=rank), dtype)
    model.save_adapter(tmp_path)
    ids = torch.tensor([random_ids(80)])
    loaded = load_into(tiny_base(family, dtype), tmp_path, rank=rank)
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_from_pretrained_takes_base_settings_and_adapter(tmp_path: Path) -> None:
    base = tiny_base("llama", torch.float32)
    base.save_pretrained(tmp_path / "base")
    model = FocusModel(base, replace(SMALL, chunk_length=9, rank=2)).eval()
    disturb(model)
    model.save_adapter(tmp_path / "adapter")
    loaded = FocusModel.from_pretrained(tmp_path / "base", tmp_path / "adapter", device="cpu")
    assert loaded.config == model.config
    assert torch.equal(loaded(torch.tensor([random_ids(80)])).logits, model(torch.tensor([random_ids(80)])).logits)
    changed = FocusModel.from_pretrained(
        tmp_path / "base", tmp_path / "adapter", config={"chunk_length": 5}, device="cpu"
    )
    assert changed.config == replace(model.config, chunk_length=5)
    loaded.save_adapter(tmp_path / "of-a-named-base")
    by_itself = FocusModel.from_pretrained(adapter=tmp_path / "of-a-named-base", device="cpu")
    assert by_itself.base.name_or_path == str(tmp_path / "base")


def test_an_adapter_comes_from_the_hub_by_its_name(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, list[str]]] = []

    def fetch(name: str, revision: str, allow_patterns: list[str]) -> str:
        assert revision == "main"
        fetched.append((name, allow_patterns))
        if name != "someone/an-adapter":
            raise FileNotFoundError("404: no such model\nand more")
        return str(saved)

    monkeypatch.setattr(adapter_files, "snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    base = tiny_base()
    base.save_pretrained(tmp_path / "base")
    model = FocusModel.from_pretrained("base", "someone/an-adapter", device="cpu", dtype="float64")
    assert torch.equal(*(one(torch.tensor([random_ids(80)])).logits for one in (model, tiny_model())))
    assert fetched == [("someone/an-adapter", [CONFIG_NAME, WEIGHTS_NAME, CARD_NAME])]
    with pytest.raises(AdapterError, match=r"'someone/else': there is no such folder, .* \(404: no such model\)\."):
        FocusModel.from_pretrained("base", "someone/else", device="cpu")
    fetched.clear()
    for slip in ("base/adapter", "adaptor", tmp_path / "some" / "where"):
        with pytest.raises(AdapterError, match=r"No adapter at .* is missing"):
            FocusModel.from_pretrained("base", slip, device="cpu")
    assert not fetched


def test_the_folder_looks_like_peft_s_and_holds_no_pickle(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", CONFIG_NAME, WEIGHTS_NAME]
    assert "focusllm" in (saved / "README.md").read_text()


@pytest.mark.parametrize(
    ("base", "named"), [("meta-llama/Llama-3.2-1B", True), ("gpt2", True), ("/data/base", False), ("", False)]
)
def test_a_card_names_the_base_to_the_hub_where_it_may_be_there(base: str, named: bool) -> None:
    assert (f"\nbase_model: {base}\n" in model_card(base, SMALL, 1)) == named


def test_a_card_tells_of_the_adapter_that_is_there(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    card, other = saved / CARD_NAME, tiny_model(config=replace(SMALL, rank=2))
    first = card.read_text()
    other.base.config._name_or_path = "owner/base"
    other.save_adapter(saved)
    second = card.read_text()
    assert "Candidate projections (full, " in first
    assert "Candidate projections (rank 2, " in second
    assert "base_model: owner/base" in second
    assert "FocusLLM" not in caplog.text
    # What somebody wrote is kept, behind our part or in place of it, and that is said, unless nothing has changed.
    for written, wanted, said in (
        (second + "It reads books.\n", first + "It reads books.\n", f"the first part of {card} is kept"),
        (first + "It reads books.\n", first + "It reads books.\n", ""),
        (second.replace("FocusLLM adapter", "Mine"), second.replace("FocusLLM adapter", "Mine"), f"All of {card}"),
    ):
        card.write_text(written)
        caplog.clear()
        tiny_model().save_adapter(saved)
        assert card.read_text() == wanted
        assert said in caplog.text
        assert bool(said) == bool(caplog.text)


def test_the_bundled_adapter_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundled").mkdir()
    monkeypatch.chdir(tmp_path)
    assert adapter_folder("bundled") == ADAPTER_PATH
    for folder in ("./bundled", Path("bundled"), tmp_path / "bundled"):
        assert adapter_folder(folder).samefile(tmp_path / "bundled")


def test_an_adapter_is_looked_for_where_paths_start_and_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes" / "runs").mkdir(parents=True)
    (tmp_path / "here" / "other").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    found = [adapter_folder(name, tmp_path / "recipes") for name in ("runs/one", "other/one")]
    assert found == [tmp_path / "recipes" / "runs" / "one", Path("other/one")]


def test_an_adapter_of_another_base_is_refused(saved: Path) -> None:
    other = tiny_base()
    with torch.no_grad():
        other.model.layers[1].self_attn.k_proj.weight[0, 0] += 0.5
    with pytest.raises(AdapterError, match="another base"):
        load_into(other, saved)


def test_in_float16_a_base_cannot_be_told_by_its_rounded_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = tiny_model(dtype=torch.float32)
    wanted.save_adapter(tmp_path)
    load_into(tiny_base(dtype=torch.float32).bfloat16(), tmp_path)
    assert not caplog.text
    loaded = load_into(tiny_base(dtype=torch.float32).half(), tmp_path)
    assert "whether this base is that one cannot be told of weights that were rounded to float16" in caplog.text
    name = "layers.0.k.candidate_weight"
    assert torch.equal(loaded.adapter.parameters()[name], wanted.adapter.parameters()[name].half())
    caplog.clear()
    loaded.save_adapter(tmp_path)
    load_into(tiny_base(dtype=torch.float32).half(), tmp_path)
    assert not caplog.text


@pytest.mark.parametrize("position", [200, 3000, -10])
def test_one_flipped_bit_is_found(saved: Path, position: int) -> None:
    path = saved / WEIGHTS_NAME
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(AdapterError, match="damaged"):
        load_into(tiny_base(), saved)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / WEIGHTS_NAME).unlink(), "missing"),
        (lambda folder: (folder / CONFIG_NAME).unlink(), "missing"),
        (lambda folder: (folder / CONFIG_NAME).write_text("{"), "damaged or incomplete"),
        (lambda folder: (folder / CONFIG_NAME).write_text("[1]"), "a list in place of settings by name"),
        (lambda folder: (folder / CONFIG_NAME).write_text("5"), "an? int in place of settings by name"),
        (lambda folder: (folder / CONFIG_NAME).write_text('{"format": "lora"}'), "reads 'focusllm'"),
        (lambda folder: os.truncate(folder / WEIGHTS_NAME, 500), "damaged"),
        (
            lambda folder: with_setting(folder, "of_tomorrow"),
            r"\['of_tomorrow'\].* Update FocusLLM if a newer one made",
        ),
    ],
)
def test_damage_is_one_clear_sentence(saved: Path, damage: object, words: str) -> None:
    damage(saved)  # type: ignore[operator]
    with pytest.raises(AdapterError, match=words):
        load_into(tiny_base(), saved)


def test_an_adapter_of_another_shape_changes_nothing(saved: Path) -> None:
    model = FocusModel(tiny_base(), replace(SMALL, rank=2))
    before = {name: value.clone() for name, value in model.adapter.parameters().items()}
    with pytest.raises(AdapterError, match="does not fit"):
        load_adapter(saved, model.adapter, model.base)
    assert all(torch.equal(value, before[name]) for name, value in model.adapter.parameters().items())


def test_a_cut_while_saving_leaves_the_old_adapter(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("focusllm.condensing.adapter_files.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        tiny_model().save_adapter(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.skipif(os.name != "posix", reason="needs limits of the system")
def test_a_disk_that_is_full_is_said_by_the_system(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="cannot be written"):
            tiny_model().save_adapter(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_published_names_are_read_and_the_rest_is_passed_over() -> None:
    model = FocusModel(tiny_base("qwen2"), SMALL).eval()
    wanted = tiny_model("qwen2")
    state = published_names(wanted)
    # The published checkpoint has the last layer's query as well; it is never read.
    state["model.layers.2.self_attn.beacon_q_proj.weight"] = torch.zeros(32, 32)
    model.load_published_weights(state)
    ids = torch.tensor([random_ids(80)])
    assert torch.equal(model(ids).logits, wanted(ids).logits)
    with pytest.raises(AdapterError, match="missing"):
        model.load_published_weights({})
    with pytest.raises(ConfigurationError, match="rank=None"):
        tiny_model(config=replace(SMALL, rank=2)).load_published_weights(state)


def test_pickles_are_not_read_and_that_is_said(tmp_path: Path) -> None:
    torch.save({"model.layers.0.self_attn.beacon_q_proj.weight": torch.zeros(2)}, tmp_path / "theirs.bin")
    for path in (tmp_path, tmp_path / "theirs.bin"):
        with pytest.raises(AdapterError, match=r"are pickles, which are not read: save it as safetensors first\.$"):
            read_checkpoint(path)
    (tmp_path / "cut.safetensors").write_bytes(b"no")
    with pytest.raises(AdapterError, match=r"cut.safetensors is not a readable .* Fetch it again\.$"):
        read_checkpoint(tmp_path / "cut.safetensors")


def test_the_record_names_its_base(saved: Path) -> None:
    record = json.loads((saved / CONFIG_NAME).read_text())
    assert record["base_fingerprint"]
    assert record["weights_digest"]
    tensors = load_file(saved / WEIGHTS_NAME)
    save_file({name: value + 1 for name, value in tensors.items()}, saved / WEIGHTS_NAME)
    with pytest.raises(AdapterError, match="checksum"):
        load_into(tiny_base(), saved)
