"""A document's folder: what is written is what was read, and damage is found before it is used."""

import os
import random
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from focusllm import FocusDocument, FocusModel
from focusllm.cache import tiers
from focusllm.cache.tiers import CpuHome
from focusllm.decoding import plans
from focusllm.documents import folder
from focusllm.documents.manifest import read_manifest
from focusllm.documents.spilling import Spilled
from focusllm.errors import DocumentError
from tiny import SMALL, disturb, random_ids, tiny_base, tiny_model, tiny_tokenizer

TEXT = random_ids(100)
QUESTION = random_ids(10, seed=1)


def small_batches(base_seed_scale: float = 0.1, **changes: object) -> FocusModel:
    """A model that reads three chunks at a time, so that a document has several batches."""
    config = replace(SMALL, local_refresh="cached", **changes)  # type: ignore[arg-type]
    model = FocusModel(tiny_base(dtype=torch.float32), config, max_parallel_chunks=3).eval()
    disturb(model, base_seed_scale)
    return model


def scores(model: FocusModel, document: FocusDocument) -> torch.Tensor:
    """Scores of the next token and of three more behind a question."""
    [sequence] = model._engine.split([list(document.token_ids) + QUESTION], 0)
    assert document.cache is not None
    state = model._engine.ask([sequence], document.cache)
    found = [state.logits]
    for token in random_ids(3, seed=2):
        state = model.step(state, torch.tensor([token]))
        found.append(state.logits)
    return torch.cat(found)


def read_by(model: FocusModel, text: list[int], folder: Path) -> int:
    """Index into a folder and return how many tokens went through the base."""
    seen = [0]
    model.index(text, folder, progress=lambda read, _: seen.append(read))
    return seen[-1]


@pytest.mark.parametrize(
    ("device_budget", "cpu_budget"), [(0, 0), (60_000, 0), (60_000, 60_000), (0, 2**30), (None, None)]
)
@pytest.mark.parametrize("candidate_refresh", [1, 0])
@pytest.mark.parametrize("chunk_kv", ["model", "int8"])
def test_loaded_or_away_equals_at_hand(
    tmp_path: Path, device_budget: int | None, cpu_budget: int | None, candidate_refresh: int, chunk_kv: str
) -> None:
    model = small_batches(candidate_refresh=candidate_refresh, chunk_kv=chunk_kv)
    document = model.index(TEXT)
    wanted = scores(model, document)
    document.save(tmp_path / "saved")
    budgets = {"device_budget": device_budget, "cpu_budget": cpu_budget}
    indexed = model.index(TEXT, tmp_path / "indexed", **budgets)
    loaded = model.load_document(tmp_path / "saved", **budgets)
    for other in (loaded, indexed):
        for _ in range(2):
            assert torch.equal(scores(model, other), wanted)
        if device_budget is not None:
            assert other.num_bytes() <= device_budget


def test_tiers_hold_no_more_than_their_budgets(tmp_path: Path) -> None:
    model = small_batches()
    every = model.index(TEXT)
    wanted = scores(model, every)
    total = sum(every.bytes_of_tiers().values())
    every.save(tmp_path / "d")
    for device, cpu, are_used in (
        (0, 0, {"folder"}),
        (2**30, 0, {"device"}),
        (0, 2**30, {"cpu"}),
        # Room for one batch each, with what a question puts behind its chunks.
        (400_000, 400_000, {"device", "cpu", "folder"}),
    ):
        document = model.load_document(tmp_path / "d", device_budget=device, cpu_budget=cpu)
        assert torch.equal(scores(model, document), wanted)
        sizes = document.bytes_of_tiers()
        assert {name for name, size in sizes.items() if size} == are_used
        assert sizes["device"] <= device
        assert sizes["cpu"] <= cpu
        # Files have headers.
        assert total <= sum(sizes.values()) < 1.05 * total
    # Without a folder there is no other place.
    beside = model.index(TEXT, device_budget=0, cpu_budget=2**30)
    assert torch.equal(scores(model, beside), wanted)
    assert beside.bytes_of_tiers()["cpu"] > 0
    assert beside.bytes_of_tiers()["folder"] == 0


def test_batches_are_small_where_not_all_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, local_refresh="cached")
    model = FocusModel(tiny_base(dtype=torch.float32), config).eval()
    disturb(model, 0.1)
    total = sum(model.index(TEXT).bytes_of_tiers().values())
    monkeypatch.setattr(plans, "_TOKENS_AT_ONCE", {"cpu": 1})
    monkeypatch.setattr(tiers, "_PASSING_BATCH_BYTES", total // 3)
    counts = []
    for budget in (0, 2 * total):
        document = model.index(TEXT, tmp_path / str(budget), device_budget=budget)
        assert document.cache is not None
        counts.append(sum(batch.num_own == config.chunk_length for batch in document.cache.batches))
    # One more than three, since whole chunks share a batch.
    assert counts == [4, 1]


def test_what_a_question_puts_behind_chunks_waits_where_they_do(tmp_path: Path) -> None:
    model = small_batches()
    model.index(TEXT, tmp_path / "d")
    for budgets, tier in (({}, Spilled), ({"cpu_budget": 2**30}, CpuHome)):
        document = model.load_document(tmp_path / "d", device_budget=0, **budgets)
        names = sorted((tmp_path / "d").iterdir())
        scores(model, document)
        assert document.cache is not None
        assert document.num_bytes() == 0
        assert all(batch.length > batch.num_own for batch in document.cache.batches)
        assert all(isinstance(batch._others, tier) for batch in document.cache.batches)
        assert sorted((tmp_path / "d").iterdir()) == names


@pytest.mark.parametrize("chunk_kv", ["model", "int8"])
def test_a_batch_comes_back_from_several_shards_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_kv: str
) -> None:
    monkeypatch.setattr(folder, "_SHARD_BYTES", 1)
    model = small_batches(chunk_kv=chunk_kv)
    document = model.index(TEXT)
    document.save(tmp_path / "d")
    assert len(list((tmp_path / "d").glob("shard-*"))) == document.num_chunks
    wanted = scores(model, document)
    for budgets in ({"device_budget": 0}, {"device_budget": 0, "cpu_budget": 2**30}):
        loaded = model.load_document(tmp_path / "d", **budgets)
        for _ in range(2):
            assert torch.equal(scores(model, loaded), wanted)


def test_eight_bits_are_near_the_base_s_own_and_take_less_room(tmp_path: Path) -> None:
    sizes, found = [], []
    for chunk_kv in ("model", "int8"):
        model = small_batches(chunk_kv=chunk_kv)
        document = model.index(TEXT, tmp_path / chunk_kv)
        found.append(scores(model, document))
        sizes.append(sum(path.stat().st_size for path in (tmp_path / chunk_kv).glob("shard-*")))
    assert 0 < (found[0] - found[1]).abs().max() < 0.05 * found[0].abs().max()
    assert sizes[1] < 0.5 * sizes[0]
    with pytest.raises(DocumentError, match="kept as int8"):
        small_batches().load_document(tmp_path / "int8")


def test_a_loaded_document_can_be_saved_elsewhere(tmp_path: Path) -> None:
    model = small_batches()
    wanted = scores(model, model.index(TEXT, tmp_path / "first"))
    model.load_document(tmp_path / "first", device_budget=0).save(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    assert torch.equal(scores(model, model.load_document(tmp_path / "second")), wanted)


@pytest.mark.parametrize("chunk_kv", ["model", "int8"])
def test_a_document_stays_where_it_is_when_it_is_saved(tmp_path: Path, chunk_kv: str) -> None:
    model = small_batches(chunk_kv=chunk_kv)
    for budgets in ({}, {"device_budget": 0, "cpu_budget": 2**30}):
        document = model.index(TEXT, **budgets)
        wanted, tiers = scores(model, document), document.bytes_of_tiers()
        document.save(tmp_path / "saved")
        shutil.rmtree(tmp_path / "saved")
        assert document.bytes_of_tiers() == tiers
        assert torch.equal(scores(model, document), wanted)


@pytest.mark.parametrize("chunk_kv", ["model", "int8"])
def test_chunks_follow_a_model_that_is_moved(chunk_kv: str) -> None:
    document = small_batches(chunk_kv=chunk_kv).index(TEXT)
    assert document.cache is not None
    # A device that is everywhere, and computes nothing.
    elsewhere = torch.device("meta")
    for batch in document.cache.visit(elsewhere):
        assert batch.length == batch.num_own
        assert {states.device for pair in batch.own_tensors() for states in pair} == {elsewhere}


def test_how_a_tokenizer_was_called_before_is_no_part_of_it(tmp_path: Path) -> None:
    models = [FocusModel(tiny_base(vocab_size=259), SMALL, tiny_tokenizer()).eval() for _ in range(3)]
    models[0].index("a text of many words. " * 15, tmp_path / "d")
    for model, options in zip(models[1:], ({"padding": True}, {"truncation": True, "max_length": 4}), strict=True):
        assert model.tokenizer is not None
        model.tokenizer(["short", "a longer one"], **options)
        assert model.load_document(tmp_path / "d").num_chunks > 0
        assert model.tokenizer.backend_tokenizer.truncation or model.tokenizer.backend_tokenizer.padding


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    tiny_model().index(TEXT, tmp_path / "d")
    files = list((tmp_path / "d").iterdir())
    assert len(files) > 3
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700


def test_a_run_that_was_cut_goes_on(tmp_path: Path) -> None:
    model = small_batches()

    def cut(read: int, _: int) -> None:
        if read >= 72:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.index(TEXT, tmp_path, progress=cut)
    with pytest.raises(DocumentError, match="cut short"):
        model.load_document(tmp_path)
    # Nine chunks, the ragged one first; seven had been written when the second batch of three was over.
    assert read_by(model, TEXT, tmp_path) < len(TEXT) - 36
    assert torch.equal(scores(model, model.load_document(tmp_path)), scores(model, model.index(TEXT)))
    assert read_by(model, TEXT, tmp_path) == 0


@pytest.mark.parametrize("name", ["manifest.json", "tokens.safetensors"])
@pytest.mark.parametrize("is_lost", [False, True])
def test_indexing_again_mends_what_cannot_be_repaired(tmp_path: Path, name: str, is_lost: bool) -> None:
    model = small_batches()
    wanted = scores(model, model.index(TEXT, tmp_path))
    (tmp_path / name).unlink() if is_lost else (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(
        DocumentError, match="index" if is_lost and name == "manifest.json" else "index the text into it"
    ):
        model.repair_document(tmp_path)
    assert read_by(model, TEXT, tmp_path) == 100
    assert torch.equal(scores(model, model.load_document(tmp_path)), wanted)


@pytest.mark.skipif(os.name != "posix", reason="needs flock")
def test_two_do_not_write_one_folder_at_once(tmp_path: Path) -> None:
    model = small_batches()
    wanted = scores(model, model.index(TEXT))

    def index_the_same(read: int, _: int) -> None:
        with pytest.raises(DocumentError, match="being written by somebody else"):
            small_batches().index(TEXT, tmp_path / "d")
        if read >= 72:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.index(TEXT, tmp_path / "d", progress=index_the_same)
    # Whoever is interrupted lets go.
    assert torch.equal(scores(model, model.index(TEXT, tmp_path / "d")), wanted)


def test_a_text_that_grew_is_read_from_where_it_grew(tmp_path: Path) -> None:
    model = small_batches()
    grown = TEXT + random_ids(30, seed=3)
    assert read_by(model, TEXT, tmp_path) == 100
    # 96 of the tokens are in whole chunks, which stay.
    assert read_by(model, grown, tmp_path) == len(grown) - 96
    found, wanted = (scores(model, document) for document in (model.load_document(tmp_path), model.index(grown)))
    assert torch.allclose(found, wanted, atol=1e-5)
    shards = [shard for batch in read_manifest(tmp_path).batches for shard in batch]
    assert {path.name for path in tmp_path.glob("shard-*")} == {shard.file for shard in shards}


def test_a_changed_text_is_read_where_it_changed(tmp_path: Path) -> None:
    model = small_batches()
    read_by(model, TEXT, tmp_path)
    changed = [*TEXT[:50], TEXT[50] + 1 if TEXT[50] < 90 else 3, *TEXT[51:]]
    assert read_by(model, changed, tmp_path) == 36
    assert torch.equal(scores(model, model.load_document(tmp_path)), scores(model, model.index(changed)))


def test_other_models_and_settings_are_refused(tmp_path: Path) -> None:
    model = small_batches()
    model.index(TEXT, tmp_path)
    other = FocusModel(tiny_base("qwen2", torch.float32), SMALL).eval()
    for wrong in (other, small_batches(chunk_bos=True), tiny_model()):
        with pytest.raises(DocumentError, match="was indexed with"):
            wrong.load_document(tmp_path)
        with pytest.raises(DocumentError, match="Give another folder"):
            wrong.index(TEXT, tmp_path)
    for other_cut in ({"chunk_length": 11}, {"chunk_overlap": 3}):
        with pytest.raises(DocumentError, match="Give another folder"):
            small_batches(**other_cut).index(TEXT, tmp_path)
    with pytest.raises(DocumentError, match="this model has"):
        other._reader.open(model.index(TEXT))
    # The adapter has no part in the chunks' keys and values.
    assert small_batches(0.3).load_document(tmp_path).num_chunks == 9


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DocumentError, match="holds no document"):
        tiny_model().index(TEXT, tmp_path)
    with pytest.raises(DocumentError, match=r"manifest\.json is missing"):
        tiny_model().load_document(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def damage(rng: random.Random, file: Path) -> None:
    """Do to a file what disks and people do."""
    data = bytearray(file.read_bytes())
    kind = rng.choice(("flip", "flip", "truncate", "zero", "remove", "append"))
    if kind == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del data[rng.randrange(len(data)) :]
    elif kind == "zero":
        start = rng.randrange(len(data))
        data[start : start + 64] = bytes(len(data[start : start + 64]))
    elif kind == "append":
        data += rng.randbytes(9)
    file.unlink()
    if kind != "remove":
        file.write_bytes(data)


def test_damage_is_found_or_harmless(tmp_path: Path) -> None:
    model = small_batches()
    model.index(TEXT, tmp_path / "whole")
    wanted = scores(model, model.load_document(tmp_path / "whole"))
    rng = random.Random(0)
    found = 0
    for trial in range(60):
        shutil.rmtree(tmp_path / "hurt", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "hurt")
        damage(rng, rng.choice(sorted((tmp_path / "hurt").iterdir())))
        try:
            answer = scores(model, model.load_document(tmp_path / "hurt"))
        except DocumentError:
            found += 1
        else:
            assert torch.equal(answer, wanted), trial
    assert found > 50


def test_indexing_again_repairs_what_is_damaged(tmp_path: Path) -> None:
    model = small_batches()
    model.index(TEXT, tmp_path)
    shard = sorted(tmp_path.glob("shard-*"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DocumentError, match="damaged"):
        scores(model, model.load_document(tmp_path))
    assert 0 < read_by(model, TEXT, tmp_path) <= 36
    assert torch.equal(scores(model, model.load_document(tmp_path)), scores(model, model.index(TEXT)))


def test_the_text_and_its_lines_come_back(tmp_path: Path) -> None:
    model = FocusModel(tiny_base(vocab_size=259), SMALL, tiny_tokenizer()).eval()
    text = "Émile's first line\nthe second\n" * 4
    document = model.index(text, tmp_path)
    loaded = model.load_document(tmp_path)
    assert loaded.text == text
    for number in range(document.num_chunks):
        assert loaded.characters_of(number) == document.characters_of(number)
    spans = [document.characters_of(number) for number in range(document.num_chunks)]
    assert "".join(text[start:end] for start, end in spans) == text  # type: ignore[misc]
    (tmp_path / "text.txt").write_text(text.replace("first", "other"))
    with pytest.raises(DocumentError, match=r"text\.txt is damaged"):
        model.load_document(tmp_path)


@pytest.mark.parametrize("name", ["text.txt", "manifest.json", "shard-notes.md", "tokens.safetensors.bak"])
def test_a_file_that_is_only_called_like_ours_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(DocumentError, match="holds no document"):
        tiny_model().index(TEXT, tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "{}")]


def test_a_file_beside_a_document_s_is_left_alone(tmp_path: Path) -> None:
    model = small_batches()
    model.index(TEXT, tmp_path)
    (tmp_path / "text.txt.bak").write_text("mine")
    model.index(TEXT, tmp_path)
    assert (tmp_path / "text.txt.bak").read_text() == "mine"
