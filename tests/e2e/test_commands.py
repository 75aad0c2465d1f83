"""The commands a person types, from the outside: what they print, where, and how they end."""

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib import image
from safetensors.torch import load_file, save_file

from focusllm import FocusModel
from focusllm.condensing.family_table import FAMILIES
from tiny import disturb, published_names, save_tiny_base

TEXT = "".join(f"In the year {1000 + n} nothing of note happened in the valley. " for n in range(400))


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(TEXT)
    return path


QUIETLY: dict[str, Any] = {"capture_output": True, "text": True}
OPTIONS = ("--chunk-length", 100, "--device", "cpu")


def test_ask_with_one_s_own_base(command, book: Path, base: Path) -> None:
    short = book.with_name("short.txt")
    short.write_text(TEXT[:3000])
    run = command("ask", short, "What happened?", "--model", base, *OPTIONS, "--max-new-tokens", 4, "--json")
    assert run.status == 0
    figures = json.loads(run.out)
    assert figures["tokens"] == 3000 + len("\n\nQuestion: What happened?\nAnswer:")
    assert figures["chunks"] == 30
    assert figures["peak_memory_bytes"] > 0


def test_ask_reads_standard_input(command, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(TEXT[:2000]))
    run = command("ask", "-", "What?", "--model", base, *OPTIONS, "--max-new-tokens", 2)
    assert run.status == 0
    assert "tokens in 20 chunks" in run.err


def test_several_files_are_several_documents(command, base: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(TEXT[:250])
    run = command(
        "ask", tmp_path / "a.txt", tmp_path / "b.txt", "What?",
        "--model", base, "--json", "--max-new-tokens", 2, *OPTIONS,
    )  # fmt: skip
    assert json.loads(run.out)["chunks"] == 6


def test_an_indexed_document_is_asked_without_reading_it_again(command, book: Path, base: Path) -> None:
    book.write_text(TEXT[:5030])
    folder = book.with_name("indexed")
    again = ("index", book, "-o", folder, "--model", base, *OPTIONS)
    run = command(*again)
    assert run.status == 0
    assert "5,030 tokens in 51 chunks; 5,030 tokens read" in run.err.replace("\n", " ")
    rest = ("--model", base, *OPTIONS, "--max-new-tokens", 3, "--json")
    questions = ("What happened?", "And where did it happen?")
    wanted = [json.loads(command("ask", book, question, *rest).out)["answer"] for question in questions]
    answers = [json.loads(line) for line in command("ask", folder, *questions, *rest).out.splitlines()]
    assert [answer["answer"] for answer in answers] == wanted
    assert [answer["question"] for answer in answers] == list(questions)
    assert " 0 tokens read" in command(*again).err.replace("\n", " ")
    book.write_text(TEXT[:5200])
    assert " 200 tokens read" in command(*again).err.replace("\n", " ")
    assert command("ask", folder, "What?", *rest).status == 0


# One of them is not what this machine would choose by itself.
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_an_indexed_document_is_asked_in_its_own_precision(command, dtype: str, book: Path, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base", torch.bfloat16)
    folder, given = tmp_path / "book", ("--model", base, "--device", "cpu")
    assert command("index", book, "-o", folder, *given, "--chunk-length", 100, "--dtype", dtype).status == 0
    assert command("ask", folder, "What happened?", *given, "--max-new-tokens", 2).status == 0
    book.write_text(f"{TEXT} Then the river rose.")
    again = command("index", book, "-o", folder, *given, "--chunk-length", 100)
    assert re.search(r"[1-9][\d,]*\s+were\s+there\s+already", again.err)
    assert json.loads((folder / "manifest.json").read_text())["identity"]["dtype"] == dtype


def test_processes_under_torchrun_answer_as_one_does(command, book: Path, base: Path) -> None:
    folder = book.with_name("book.focus")
    command("index", book, "-o", folder, "--model", base, "--dtype", "float32", *OPTIONS)
    asked = ["--model", base, "--dtype", "float32", *OPTIONS, "--json"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "focusllm"]
    # One is read by all, of the other each process loads its share.
    other = book.with_name("other.txt")
    other.write_text(TEXT[:3000])
    alone = json.loads(command("ask", other, folder, "What happened?", *asked).out)
    ran = subprocess.run([*launch, "ask", other, folder, "What happened?", *map(str, asked)], **QUIETLY)
    [line] = ran.stdout.splitlines()
    assert json.loads(line)["answer"] == alone["answer"]


def test_a_command_of_one_process_is_refused_under_torchrun(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    run = command("index", book, "-o", book.with_name("two.focus"), "--model", base)
    assert run.status == 1
    assert "runs in one process" in run.err.replace("\n", " ")


def test_the_heat_map_shows_every_token_and_chunk(command, book: Path, base: Path, tmp_path: Path) -> None:
    book.write_text(TEXT[:3000])
    options = ("--model", base, *OPTIONS, "--max-new-tokens", 4)
    assert command("ask", book, "What?", *options, "--heatmap", tmp_path / "map.png").status == 0
    width, height = image.imread(tmp_path / "map.png").shape[1::-1]
    assert width > 800
    assert height > 300
    book.write_text("short")
    run = command("ask", book, "What?", *options, "--evidence")
    assert (run.status, "no evidence, for all of it fits the window" in run.err) == (0, True)
    run = command("ask", book, "What?", *options, "--heatmap", tmp_path / "none.png")
    assert run.status != 0
    assert "fits the window" in run.err.replace("\n", " ")


def test_chat_answers_line_by_line(command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book.write_text(TEXT[:3000])
    options = ("--model", base, *OPTIONS, "--max-new-tokens", 4)

    def said(*lines: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        run = command("chat", book, *options)
        assert run.status == 0
        assert "3,000 tokens in 30 chunks" in run.err.replace("\n", " ")
        return run.out.splitlines()

    first, _, again = said("What?", "", "And then?", "/new", "And then?", "/quit", "never asked")
    assert first == json.loads(command("ask", book, "What?", *options, "--json").out)["answer"]
    assert again == json.loads(command("ask", book, "And then?", *options, "--json").out)["answer"]
    assert "from line 1" in "\n".join(said("/evidence", "What?", "/evidence"))


def test_chat_is_about_several_documents(
    command, book: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.write_text(TEXT[:2000])
    other, folder = tmp_path / "other.txt", tmp_path / "other.focus"
    other.write_text(TEXT[4000:5000])
    options = ("--model", base, *OPTIONS)
    command("index", other, "-o", folder, *options)
    monkeypatch.setattr(sys, "stdin", io.StringIO("What?\n"))
    run = command("chat", book, folder, *options, "--max-new-tokens", 4)
    assert (run.status, "3,000 tokens in 30 chunks" in run.err.replace("\n", " ")) == (0, True)
    wanted = command("ask", book, other, "What?", *options, "--max-new-tokens", 4, "--json").out
    assert run.out.splitlines() == [json.loads(wanted)["answer"]]
    run = command("chat", book, book, *options)
    assert (run.status, "given twice" in run.err) == (1, True)


def test_a_question_that_fails_does_not_end_the_chat(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.write_text(TEXT[:3000])
    options = ("--model", base, *OPTIONS, "--max-new-tokens", 4)
    monkeypatch.setattr(sys, "stdin", io.StringIO("What?\n" + "What? " * 100 + "\nWhat?\n"))
    run = command("chat", book, *options)
    assert run.status == 0
    assert run.err.count("Error: ") == 1
    assert "the base's window has 512" in run.err
    assert len(run.out.splitlines()) == 2


def test_estimate_says_what_a_question_will_cost(command, book: Path, base: Path) -> None:
    run = command("estimate", "10,000", "--model", base, *OPTIONS)
    assert run.status == 0
    assert "10,000 tokens in 100 chunks" in run.out
    assert "4,096 tokens in 41 chunks" in command("estimate", "4K", "--model", base, *OPTIONS).out
    assert "MB on the device" in run.out
    assert "--local-refresh cached --candidate-refresh 16 --focus-share 0.99" in run.out
    # What the bundled adapter does by itself is said once.
    assert re.search(r"--local-refresh cached +\d", run.out)
    assert not re.search(r"--local-refresh cached +\d", command("estimate", "1K").out)
    # Its chunks are as long as they must be; whoever says how long they are to be means that.
    assert "400,000 tokens in 893 chunks" in command("estimate", "400,000", "--candidate-refresh", 0).out
    run = command("estimate", "400,000", "--chunk-length", 224)
    assert run.status == 1
    assert "Use `chunk_length` of at least" in run.err
    book.write_text(TEXT[:3000])
    assert "3,000 tokens in 30 chunks" in command("estimate", book, "--model", base, *OPTIONS).out
    folder = book.with_name("indexed")
    assert command("index", book, "-o", folder, "--model", base, *OPTIONS).status == 0
    assert "3,000 tokens in 30 chunks" in command("estimate", folder, "--model", base, *OPTIONS).out
    run = command("estimate", "300", "--model", base, *OPTIONS)
    assert "300 tokens, which fit the base's window: no chunks\n" in run.out
    assert ("reading it" in run.out, "candidate-refresh" in run.out, "first token" in run.out) == (False, False, True)
    run = command("estimate", "nothing.txt", "--model", base)
    assert (run.status, run.err.startswith("Error: There is no file 'nothing.txt'")) == (1, True)


def test_a_damaged_folder_is_refused_and_repaired(command, book: Path, base: Path) -> None:
    book.write_text(TEXT[:3000])
    folder = book.with_name("indexed")
    again = ("index", book, "-o", folder, "--model", base, *OPTIONS)
    command(*again)
    shard = next(folder.glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-10])
    ask = ("ask", folder, "What?", "--model", base, *OPTIONS, "--max-new-tokens", 2)
    run = command(*ask)
    assert run.status == 1
    assert "is damaged: its checksum does not hold. `focusllm index --repair`" in " ".join(run.err.split())
    repair = command("index", "--repair", folder, "--model", base, *OPTIONS)
    assert repair.status == 0
    assert command(*ask).status == 0
    assert command("index", "--repair", folder, "-o", folder).status == 1
    assert command("index", book).status == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.txt", "What?"), "There is no file"),
        ((".", "What?"), "No document in '.'"),
        (("book.txt", "missing.txt", "What?"), "There is no file 'missing.txt'"),
        (("book.txt",), "Give one or more files and then the question"),
        (("book.txt", "  "), "The question is empty"),
        (("empty.txt", "What?"), "is empty"),
        (("binary.bin", "What?"), "not"),
        (("zero.txt", "What?"), "zero bytes"),
        (("book.txt", "What?", "--chunk-length", 5), "the base's window has 512"),
        (("book.txt", "What?", "--chunk-length", 5000), "A chunk of"),
        (("book.txt", "What?", "--dtype", "int3"), "--dtype must be one of"),
        (("book.txt", "What?", "--local-refresh", "never"), "'recompute' or 'cached'"),
        (("book.txt", "What?", "--adapter", "nowhere"), "No adapter at"),
        (("book.txt", "What?", "--temperature", 0.5), "--temperature would change nothing: add --sample"),
        (("book.txt", "What?", "--seed", 0, "--top-p", 0.5), "--top-p, --seed would change nothing"),
        (("book.txt", "What?", "--sample", "--temperature", 0), "`temperature` must be above 0"),
        (("book.txt", "What?", "--quiet", "--stats"), "leave one of the two out"),
        (("book.txt", "Who", "is", "the", "captain?"), "Put the question in quotation marks: 'Who is the captain?'"),
        (("book.txt", "What?", "--heatmap", "map.jpg"), "ends in .png; got 'map.jpg'"),
        (("book.txt", "What?", "--heatmap", "nowhere/map.png"), "There is no folder 'nowhere'"),
        (("book.txt", "What? " * 100), "the base's window has 512"),
        (("x" * 300, "What?"), "cannot be read (File name too long)"),
        (("book.txt", "What?", "--device", "nowhere"), "The device 'nowhere' cannot be used (Expected one of"),
    ],
)
def test_wrong_use_is_one_clear_sentence(
    command,
    book: Path,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple,
    words: str,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "binary.bin").write_bytes(bytes(range(256)))
    (tmp_path / "zero.txt").write_bytes(b"abc\0def" * 100)
    run = command("ask", "--model", base, "--device", "cpu", *arguments)
    assert run.status == 1
    assert run.out == ""
    assert run.err.startswith("Error: ")
    assert words in run.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("index", "book.txt", "-o", "book.txt", *OPTIONS), "book.txt is a file. Give a folder"),
        (("index", "book.txt", "-o", "book.txt/in", *OPTIONS), "'book.txt/in': Not a directory"),
        (("convert", "book.txt", "-o", "book.txt"), "book.txt is not an empty folder"),
        (
            ("convert", "book.txt", "-o", "new", "--to", "peft", "--chunk-length", 7),
            "--chunk-length would change nothing",
        ),
        (("estimate", "0"), "at least one token"),
        (("ask", "book.txt", "What?", "--model", "cut"), "The base model 'cut' cannot be loaded"),
    ],
)
def test_what_the_system_or_the_disk_refuses_is_one_sentence(
    command, book: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(base, "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    run = command(*arguments[:1], "--model", base, *arguments[1:])
    assert (run.status, run.out) == (1, "")
    assert run.err.startswith("Error: ")
    assert words in run.err.replace("\n", " ")


def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    command, book: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.write_text(TEXT[:3000])
    arguments = ("index", book, "-o", book.with_name("d"), "--model", base, *OPTIONS, "--max-parallel-chunks", 2)
    write, room = Path.write_bytes, 200_000

    def write_until_full(path: Path, data: bytes) -> int:
        nonlocal room
        room -= len(data)
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    run = command(*arguments)
    assert run.status == 1
    assert re.fullmatch(r"Error: '.*': No space left on device\.\n", run.err)
    room = 10**9
    run = command(*arguments)
    assert run.status == 0
    [kept] = re.findall(r"([\d,]+) were there already", " ".join(run.err.split()))
    assert 0 < int(kept.replace(",", "")) < 3000
    assert not list(book.with_name("d").glob(".*"))


def test_an_unsupported_model_is_refused_by_name(command, book: Path, tmp_path: Path) -> None:
    (tmp_path / "mamba").mkdir()
    (tmp_path / "mamba" / "config.json").write_text('{"model_type": "mamba"}')
    run = command("ask", book, "What?", "--model", tmp_path / "mamba")
    assert run.status == 1
    assert "'mamba' cannot be supported: layers with a recurrent state" in run.err.replace("\n", " ")


def test_train_then_ask_with_the_adapter(command, book: Path, base: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"base: {base}\noutput: {tmp_path / 'run'}\nsteps: 2\n"
        "focus: {chunk_length: 64, local_length: 32, dynamic_prompt_length: 16, rank: 2}\n"
        "draws: {chunk_lengths: [32], row_tokens: 300}\n"
        f"data: [{{kind: continuation, files: {book}}}]\n"
        "arguments: {disable_tqdm: true}\n"
    )
    run = command("train", "--config", recipe, "--dry-run")
    assert run.status == 0
    assert "trained parameters" in run.out
    assert "peak memory" in run.out
    assert not (tmp_path / "run").exists()
    run = command("train", "--config", recipe, "steps=3")
    assert run.status == 0
    assert f"The adapter is in {tmp_path / 'run'}" in run.out
    run = command(
        "ask", book, "What?", "--model", base, "--adapter", tmp_path / "run", "--max-new-tokens", 2,
        "--chunk-length", 128, "--device", "cpu",
    )  # fmt: skip
    assert run.status == 0
    damaged = tmp_path / "run" / "adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"\1\2\3\4")
    run = command("ask", book, "What?", "--model", base, "--adapter", tmp_path / "run")
    assert run.status == 1
    assert "is damaged" in run.err


def test_weights_under_the_authors_names_become_an_adapter(command, book: Path, base: Path, tmp_path: Path) -> None:
    model = FocusModel.from_pretrained(base, dtype="float32", config={"chunk_length": 100})
    disturb(model)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    save_file({name: value.contiguous() for name, value in published_names(model).items()}, theirs / "m.safetensors")
    run = command("convert", theirs, "--model", base, "-o", tmp_path / "adapter", *OPTIONS[:2], "--dtype", "float32")
    assert run.status == 0
    asked = ("ask", book, "What?", "--model", base, "--adapter", tmp_path / "adapter", "--dtype", "float32")
    answer = model.ask(book, "What?")
    assert command(*asked, "--device", "cpu", "-q").out.strip() == answer.text  # type: ignore[union-attr]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "damaged.safetensors").write_bytes(b"x" * 20)
    for wrong, words in (
        (tmp_path / "old", "pickles"),
        (tmp_path / "nowhere", "There is nothing at"),
        (tmp_path / "damaged.safetensors", "not a readable safetensors"),
        (base / "model.safetensors", "holds no weights named"),
    ):
        run = command("convert", wrong, "--model", base, "-o", tmp_path / "new")
        assert (run.status, words in run.err) == (1, True)
    run = command("convert", theirs, "--model", base, "-o", tmp_path / "adapter")
    assert (run.status, "is not an empty folder" in run.err) == (1, True)


def test_an_adapter_goes_to_peft_s_format_and_back(command, book: Path, base: Path, tmp_path: Path) -> None:
    settings = {"chunk_length": 100, "rank": 2}
    model = FocusModel.from_pretrained(base, dtype="float32", config=settings)
    disturb(model)
    model.save_adapter(tmp_path / "adapter")
    options = ("--model", base, "--dtype", "float32")
    run = command("convert", tmp_path / "adapter", *options, "--to", "peft", "-o", tmp_path / "lora")
    assert (run.status, "alora_offsets" in run.err) == (0, True)
    assert json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert command("convert", tmp_path / "lora", *options, "-o", tmp_path / "back", *OPTIONS[:2]).status == 0
    weights = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "back")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    run = command("ask", book, "What?", *options, "--adapter", tmp_path / "lora")
    assert (run.status, "focusllm convert" in run.err) == (1, True)


def test_an_interrupted_training_says_how_to_go_on(
    command,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("focusllm.training.trainer.FocusTrainer.compute_loss", interrupt)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"base: {base}\noutput: {tmp_path / 'run'}\nsteps: 2\ndraws: {{chunk_lengths: [32]}}\n"
        "arguments: {disable_tqdm: true}\n"
    )
    run = command("train", "--config", recipe)
    assert run.status == 1
    assert f"The same command goes on from the newest checkpoint in {tmp_path / 'run'}" in run.err


def test_models_lists_every_family(command) -> None:
    run = command("models", "--names")
    assert run.out.split() == sorted(FAMILIES)
    out = command("models").out
    assert all(grade in out for grade in ("exact", "inference only", "refused"))


def test_models_check_tries_a_model(command, base: Path, tmp_path: Path) -> None:
    run = command("models", "--check", base)
    assert (run.status, run.out) == (0, "llama: exact\n")
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    run = command("models", "--check", tmp_path)
    assert (run.status, "recurrent state" in run.out) == (1, True)
    assert command("models", "--check", tmp_path / "nothing").status == 1
    run = command("models", "--check", base, "--names")
    assert (run.status, "give one of the two" in run.err) == (1, True)


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_files_that_cannot_be_read_are_refused_before_a_model_is_loaded(command, tmp_path: Path, name: str) -> None:
    commands = (("ask", "What?"), ("chat",), ("index", "-o", tmp_path / "d"), ("perplexity",))
    for first, *rest in commands[2:] if name == "." else commands:
        run = command(first, tmp_path / name, *rest, "--model", "nowhere")
        assert (run.status, str(tmp_path / name).rstrip("/.") in run.err) == (1, True)
        assert "base model" not in run.err


def test_pictures_without_matplotlib_are_refused_before_anything_is_read(
    command, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for arguments in (("eval", "passkey"), ("ask", book, "What?", "--heatmap", book.with_name("map.png"))):
        run = command(*arguments, "--model", "nowhere")
        assert (run.status, "pip install 'focusllm[plot]'" in run.err) == (1, True)


def test_eval_writes_samples_table_and_picture_and_goes_on(command, base: Path, tmp_path: Path) -> None:
    arguments = (
        "eval", "passkey", "--lengths", "900,1K", "--depths", 2, "--model", base, "--device", "cpu",
        "--chunk-length", 100, "--local-length", 100, "-o", tmp_path / "out",
    )  # fmt: skip
    run = command(*arguments, "--trials", 1)
    assert run.status == 0
    assert "| 1,024 |" in run.out
    run = command(*arguments, "--trials", 2)
    lines = (tmp_path / "out" / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 4
    assert len({json.loads(line)["seed"] for line in lines[1:]}) == 4
    assert (tmp_path / "out" / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "table.md").exists()
    run = command(*arguments, "--trials", 2, "--seed", 5)
    assert run.status == 1
    assert "holds another run" in run.err
    policies = ("--policies", "cached,paper", "--trials", 2)
    assert command(*arguments[:-1], tmp_path / "both", *policies).status == 0
    for name in ("cached", "paper"):
        found = [json.loads(line) for line in (tmp_path / "both" / name / "samples.jsonl").read_text().splitlines()]
        outputs = {record["seed"]: record["output"] for record in map(json.loads, lines[1:])}
        # As it is configured, the model decodes as in the paper.
        assert name == "cached" or {record["seed"]: record["output"] for record in found[1:]} == outputs
        assert found[0]["config"]["local_refresh"] == ("cached" if name == "cached" else "recompute")
    several = command("eval", "passkey,lines", *arguments[2:-1], tmp_path / "several", "--trials", 1)
    assert several.status == 0
    assert {path.parent.name for path in (tmp_path / "several").rglob("samples.jsonl")} == {"passkey", "lines"}
    assert "lines, focusllm" in several.out
    assert "passkey-landmark, focusllm" in several.out
    report = [part for name in ("r.html", "r.md", "r.csv") for part in ("-o", tmp_path / name)]
    assert command("report", tmp_path / "both", *report, "--title", "What <it> can").status == 0
    page = (tmp_path / "r.html").read_text()
    assert "What &lt;it&gt; can" in page
    # Curves and two heat maps, and nothing from elsewhere.
    assert page.count("data:image/png;base64,") == 3
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "n=2" in (tmp_path / "r.md").read_text()
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + 4
    for wrong, words in (
        (("report", tmp_path / "nowhere"), "There are no runs at"),
        (("report", base / "config.json"), "is not a run's file"),
        (("report", tmp_path / "both", "-o", tmp_path / "r.pdf"), "must end in one of"),
        (("eval", "riddles"), "TASK must be one of"),
        ((*arguments, "--policies", "x"), "--policies must be one of paper"),
        ((*arguments, *policies, "--local-refresh", "cached"), "leave out --system"),
        ((*arguments, "--system", "x"), "--system must be"),
    ):
        run = command(*wrong)
        assert (run.status, words in run.err) == (1, True)


def test_perplexity_by_position_and_its_report(command, book: Path, base: Path, tmp_path: Path) -> None:
    arguments = ("perplexity", book, "--length", 1500, "--stride", 50, "--model", base, *OPTIONS, "--local-length", 100)
    run = command(*arguments, "-o", tmp_path / "ours")
    assert run.status == 0
    assert "| 0 to 512 |" in run.out
    assert (tmp_path / "ours" / "table.md").read_text() in run.out
    assert command(*arguments, "--base", "-o", tmp_path / "base").status == 0
    assert command("report", tmp_path / "ours", tmp_path / "base", "-o", tmp_path / "r.md").status == 0
    page = (tmp_path / "r.md").read_text()
    assert "| base, within its window |" in page
    assert "| focusllm |" in page
    for wrong, words in (
        ((*arguments, "-o", tmp_path / "base"), "holds another run"),
        ((*arguments[:3], 10**6, *arguments[4:]), "--length asks for 1,000,000"),
        ((*arguments, "--stride", 900), "`stride` must be from 1"),
    ):
        run = command(*wrong)
        assert (run.status, words in run.err) == (1, True)


def test_help_and_version_as_a_process() -> None:
    for arguments, words in ((["--help"], "ask"), (["--version"], "focusllm 0.1.0")):
        done = subprocess.run(
            [sys.executable, "-m", "focusllm", *arguments], capture_output=True, text=True, timeout=60, check=True
        )
        assert words in done.stdout
