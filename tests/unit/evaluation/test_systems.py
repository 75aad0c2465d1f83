"""FocusLLM as a system: it leaves the model as it was, and begins texts as the other systems do."""

from dataclasses import replace

import pytest
import torch

from focusllm import FocusModel
from focusllm.chunking import SplitSequence
from focusllm.errors import WindowError
from focusllm.evaluation.readings import Reading
from focusllm.evaluation.systems import POLICIES, FocusSystem
from tiny import SMALL, random_ids, tiny_base, tiny_tokenizer

PROMPT = random_ids(100)


def model_of() -> FocusModel:
    return FocusModel(tiny_base(vocab_size=300), replace(SMALL, chunk_length=20), tiny_tokenizer()).eval()


def test_a_system_leaves_the_model_as_it_was() -> None:
    model = model_of()
    before, wanted = model.config, model.generate(torch.tensor([PROMPT]), max_new_tokens=6)
    systems = [FocusSystem(model, POLICIES[name]) for name in ("once", "refresh-16")]
    outputs = [system.continue_ids(PROMPT, 6) for system in systems]
    assert model.config is before
    assert model.generate(torch.tensor([PROMPT]), max_new_tokens=6).equal(wanted)  # type: ignore[union-attr]
    with pytest.raises(WindowError):
        systems[0].continue_ids(PROMPT, 1000)
    assert model.config is before
    # Systems decode by their own settings even so, in any order.
    assert [system.continue_ids(PROMPT, 6) for system in reversed(systems)] == outputs[::-1]
    assert FocusSystem(model.configure(**POLICIES["once"])).continue_ids(PROMPT, 6) == outputs[0]


def test_a_reading_that_was_cut_short_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    engine, reading = model._engine, Reading()
    first, second = engine.split([PROMPT]), engine.split([random_ids(100, seed=1)])

    def logits(sequences: list[SplitSequence]) -> torch.Tensor:
        return engine.ask(sequences, reading.of(engine, sequences[0])).logits

    wanted = logits(first)
    with monkeypatch.context() as patched:
        patched.setattr(engine, "index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            logits(second)
    assert torch.equal(logits(first), wanted)
