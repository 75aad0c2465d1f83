"""What is drawn for training: bounds, supervision, virtual chunks; and that evaluation stays unseen."""

import random
import re

import pytest

from focusllm.bundled.text import installation_files, installation_words, share_of
from focusllm.evaluation.tasks import facts as unseen
from focusllm.evaluation.tasks import passkey
from focusllm.training.english import HELD_OUT_LEADS
from focusllm.training.examples import DrawSettings, ExampleDrawer
from focusllm.training.fact_documents import FactDocumentMaker
from focusllm.training.fact_source import FactSource
from focusllm.training.facts import NOT_STATED, ask, ask_unstated, draw_fact, draw_rival, repeated_filler, state
from tiny import tiny_tokenizer

LINES = [f"line {n} of some text that goes on\n" for n in range(200)]


def encode(text: str) -> list[int]:
    return tiny_tokenizer()(text, add_special_tokens=False).input_ids


@pytest.fixture(scope="module")
def source() -> FactSource:
    tokenizer = tiny_tokenizer()
    return FactSource(lambda text: tokenizer(text, add_special_tokens=False).input_ids, LINES, 1.0)


def drawn(source: FactSource, **settings: object) -> list:
    drawer = ExampleDrawer({source: 1.0}, [DrawSettings(**settings)], prompt_length=60)  # type: ignore[arg-type]
    return [example for seed in range(40) for example in drawer.draw(random.Random(seed))]


def test_the_answer_is_in_the_memory_and_supervised_to_its_end(source: FactSource) -> None:
    tokenizer = tiny_tokenizer()
    for example in drawn(source, chunk_lengths=(64, 128), row_tokens=2000, early_cut=0.0, late_cut=0.0):
        memory = tokenizer.decode([token for chunk in example.chunks for token in chunk])
        answer = tokenizer.decode(example.local[example.cut + 1 :])
        assert answer.strip() in memory
        assert answer.endswith("\n")
        assert example.weights[example.cut + 1 :] == [1.0] * len(answer)


def test_cuts_fall_before_in_and_at_the_answer(source: FactSource) -> None:
    for example in drawn(source, chunk_lengths=(64,), row_tokens=1000, early_cut=0.5, late_cut=0.5):
        assert 0 <= example.cut <= len(example.local) - 2


def test_the_last_position_alone(source: FactSource) -> None:
    for example in drawn(source, chunk_lengths=(64,), row_tokens=1000, supervision="last"):
        assert example.cut == len(example.local) - 2
        assert example.weights[-1] == 1.0


def test_virtual_chunks_keep_order_and_count(source: FactSource) -> None:
    examples = drawn(source, chunk_lengths=(32,), row_tokens=2000, virtual_chunks=500)
    assert any(example.num_slots > 2 * len(example.chunks) for example in examples)
    for example in examples:
        assert list(example.slots) == sorted(set(example.slots))
        assert example.slots[-1] < example.num_slots <= 500
        if 1.0 in example.copies and len(set(example.copies)) > 1:
            assert sum(example.copies) == pytest.approx(example.num_slots)


def test_the_same_seed_draws_the_same(source: FactSource) -> None:
    drawer = ExampleDrawer({source: 1.0}, [DrawSettings(chunk_lengths=(64,), row_tokens=500)], 60)
    assert drawer.draw(random.Random("a")) == drawer.draw(random.Random("a"))


def test_stages_follow_each_other(source: FactSource) -> None:
    stages = [DrawSettings(until=0.25, chunk_lengths=(16,), row_tokens=300), DrawSettings(chunk_lengths=(64,))]
    drawer = ExampleDrawer({source: 1.0}, stages, 60)
    longest = {
        done: max(len(chunk) for seed in range(5) for e in drawer.draw(random.Random(seed), done) for chunk in e.chunks)
        for done in (0.0, 0.24, 0.25, 0.99)
    }
    assert longest == {0.0: 16, 0.24: 16, 0.25: 64, 0.99: 64}


def test_only_one_fact_answers_a_question() -> None:
    maker = FactDocumentMaker(LINES, 1.0)
    for seed in range(100):
        document = maker.draw(random.Random(seed), 600, 2)
        for fact in document.asked:
            same = {piece.fact for piece in document.pieces if piece.fact and piece.fact.subject == fact.subject}
            assert same == {fact}


def normalized(sentence: str, *slots: str) -> str:
    for number, slot in enumerate(slots):
        sentence = re.sub(re.escape(slot), f"<{number}>", sentence, flags=re.IGNORECASE)
    return re.sub(r"\W+", " ", sentence).strip().lower()


def lead_of(wording: str) -> str:
    """Return the words, two at most, between the slot before the value's and the value's."""
    before = wording.partition("2")[0] if "2" in wording else ""
    return " ".join(re.split(r"[01]", before)[-1].split()[-2:])


def test_evaluation_s_wordings_words_and_texts_never_occur_in_training() -> None:
    rng = random.Random(0)
    wordings, words, texts, leads = set(), set(), [], set()
    for _ in range(30_000):
        fact = draw_fact(rng)
        sentence = state(rng, fact)
        wordings.add(wording := normalized(sentence, fact.key, fact.entity or "\0", fact.value))
        leads.add(lead_of(wording))
        texts += [sentence, ask(rng, fact).text]
        # Names are made up of syllables and start with a capital; words do not.
        words |= {word for word in f"{fact.key} {fact.value}".split() if word.islower()}
    texts += [text for _ in range(300) for text in repeated_filler(rng, 20)]
    evaluated = {normalized(wording, "{k}", "{e}", "{v}") for wording in unseen.WORDINGS}
    later = {normalized(w, "{k}", "{e}", "{v}") for w in (*unseen.SECOND_WORDINGS, *unseen.THIRD_WORDINGS)}
    assert not any(wording in trained for wording in evaluated | later for trained in wordings)
    # What stands right before a value tells a reader most; of the first set not even that has been seen.
    evaluated_leads = {lead_of(wording) for wording in evaluated if lead_of(wording)}
    assert evaluated_leads == HELD_OUT_LEADS
    assert not evaluated_leads & leads
    assert not words & set(installation_words("evaluation"))
    everything = "\n".join(texts).lower()
    needles = ("pass key", "passkey", "magic number", "magic word", "magic identifier")
    for published in (passkey.FILLER, passkey.LANDMARK_INTRO, passkey.INFINITE_INTRO, *needles):
        assert published.lower() not in everything


def test_the_two_shares_have_nothing_in_common() -> None:
    assert not set(installation_files("train")) & set(installation_files("evaluation"))
    assert not set(installation_words("train")) & set(installation_words("evaluation"))
    assert len(installation_words("evaluation")) > 500
    assert share_of("shelve.py") == share_of("shelve.py")


def test_rivals_are_not_the_fact() -> None:
    rng = random.Random(0)
    for _ in range(300):
        fact = draw_fact(rng)
        rival = draw_rival(rng, fact)
        assert (rival.key, rival.entity) != (fact.key, fact.entity) or rival.value == fact.value


def test_every_statement_holds_its_fact_letter_for_letter() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        fact = draw_fact(rng)
        sentence = state(rng, fact)
        assert fact.value in sentence
        for part in (fact.key, fact.entity or ""):
            # An opening letter may be raised.
            assert part[1:] in sentence


def test_what_is_not_stated_is_asked_for_as_such() -> None:
    rng = random.Random(0)
    for _ in range(300):
        stated = [draw_fact(rng) for _ in range(3)]
        question = ask_unstated(rng, stated)
        assert question.answer == NOT_STATED
        lowered = question.text.lower()
        assert not any(fact.key in lowered and (fact.entity or "").lower() in lowered for fact in stated if fact.entity)
