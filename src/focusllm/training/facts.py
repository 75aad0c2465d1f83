"""Generated facts, the sentences that state them and the questions that ask for them.

A fact says that some key ("access code", "color") of some entity ("the Velmar office", or nothing at all)
has some value (a number, a name, words, a code). Statements are put together from a small grammar, so that
tens of thousands of wordings occur and none can be learned by heart. Evaluation has its own wordings and
its own share of the vocabulary (see :mod:`focusllm.bundled.text`). Source: ours.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from focusllm.bundled.text import installation_words, share_of
from focusllm.training.english import HELD_OUT_LEADS, common_words, english_words
from focusllm.training.names import draw_names, program_name, proper_name, pseudo_word, similar_name
from focusllm.training.wordings import (
    CLOSERS,
    FOLLOW_UPS,
    FUNCTION_WORDS,
    OPENERS,
    QUESTION_FORMS,
    QUOTES,
    SUBJECTS_ENTITY,
    draw_core,
)

NATURAL_KEYS = tuple(
    """access code, account number, address, age, altitude, anthem, author, badge number, band, birthday, book,
    brand, budget, builder, callsign, capacity, capital, captain, car, card number, category, chairman, chief,
    city, class, client, climate, coach, code, code name, color, combination, company, contact, count, country,
    crop, currency, customer number, deadline, depth, design, destination, detail, director, district, dish,
    dog, doctor, door code, drink, driver, editor, emblem, engine, entry code, event, expert, extension,
    favorite animal, favorite color, favorite food, field, file name, film, final score, flag, flower, founder,
    fruit, fuel, game, gate number, goal, guard, guest, guide, height, hero, hobby, holiday, host, hotel,
    house number, identifier, instrument, island, item number, job, judge, key code, key word, kind, king,
    label, language, lawyer, leader, length, level, license, limit, location, lock, login, lucky number,
    lunch, magic number, main dish, manager, mascot, material, mayor, meal, medal, metal, method, metric,
    mineral, model, motto, mountain, name, neighbor, nickname, number, office, officer, opponent, order number,
    origin, owner, paint, painter, partner, patient, pet, phone number, pilot, pin, place, planet, plant,
    player, poem, poet, port, position, president, price, prize, producer, product, profession, project,
    queen, quota, rank, rate, record, region, result, river, road, role, room, room number, route, safe code,
    school, score, season, seat, secret, secret number, sector, serial number, server, ship, shop, signal,
    singer, size, song, sport, stage, star, station, status, stone, store, street, student, subject, symbol,
    target, tax, teacher, team, temperature, ticket number, title, tool, topic, total, town, track, trainer,
    tree, trophy, unit, value, vehicle, version, village, voltage, wage, weapon, weather, weight, winner,
    witness, word, worker, writer, year, zone""".replace("\n", " ").split(",")
)
_PLACES = """office team project house club school station branch group factory family village museum server ship bridge
library garden farm hospital tower market company agency island valley mission camp hotel lab"""
_PLACE_NOUNS = _PLACES.split()

# Share of a noisy wording's words that are exchanged for random ones, apart from the one before the value.
EXCHANGED_SHARE = 0.3
# The answer to a question about what the text does not say.
NOT_STATED = " not stated\n"


@dataclass(frozen=True)
class Fact:
    """One fact: the ``key`` of ``entity`` (``None`` where the key stands alone) is ``value``."""

    key: str
    entity: str | None
    value: str

    @property
    def subject(self) -> str:
        """The noun phrase a question asks for."""
        return f"the {self.key}" if self.entity is None else f"the {self.key} of {self.entity}"


@dataclass(frozen=True)
class Strangeness:
    """How much of the wordings is random: a reader must do without knowing every word around a value.

    Attributes:
        scattered: Share of statements whose glue is nothing but random words, where the value can be told from them.
        noisy: Share of those left in which some words are exchanged for random ones.
        before_value: Share of exchanged ones among the words right before a value in noisy statements.
        words: Whether statements of values that are words can be noisy, too.
    """

    scattered: float = 0.25
    noisy: float = 0.5
    before_value: float = 0.6
    words: bool = True


USUAL_STRANGENESS = Strangeness()


@dataclass(frozen=True)
class Question:
    """A question about the text before it, ready to be appended, and the answer that must follow."""

    text: str
    answer: str


def _train_word(rng: random.Random) -> str:
    return rng.choice(installation_words("train"))


def _value_word(rng: random.Random) -> str:
    """Draw a word; the common ones, which hold wordings together, are rarely values themselves."""
    word = _train_word(rng)
    return _train_word(rng) if word in common_words() else word


def draw_key(rng: random.Random) -> str:
    """Draw a key: a natural one, or one to three words that need not make sense together."""
    natural = [key.strip() for key in NATURAL_KEYS]
    kind = rng.random()
    if kind < 0.4:
        key = rng.choice(natural)
    elif kind < 0.7:
        key = f"{_train_word(rng)} {rng.choice(natural)}"
    else:
        key = " ".join(_train_word(rng) for _ in range(rng.choice((1, 2, 2, 3))))
    return key if all(share_of(word) == "train" for word in key.split()) else draw_key(rng)


def draw_entity(rng: random.Random) -> str:
    """Draw an entity: a person, a place, a numbered or a named thing, or what programs call things."""
    kind = rng.random()
    if kind < 0.4:
        return " ".join(draw_names(rng, rng.choice((1, 1, 2))))
    if kind < 0.55:
        return program_name(rng, installation_words("train"))
    if kind < 0.7:
        return f"the {proper_name(rng)} {rng.choice(_PLACE_NOUNS)}"
    if kind < 0.8:
        return f"{rng.choice(_PLACE_NOUNS)} {rng.randint(1, 999)}"
    return f"the {_train_word(rng)} {rng.choice(_PLACE_NOUNS)}"


def draw_value(rng: random.Random) -> str:
    """Draw a value: mostly numbers, names and words; some codes, times and decimals."""
    kind = rng.random()
    if kind < 0.3:
        digits = rng.choice((1, 2, 3, 4, 4, 5, 5, 5, 6, 7, 8))
        return str(rng.randint(10 ** (digits - 1), 10**digits - 1))
    if kind < 0.58:
        return " ".join(draw_names(rng, rng.choice((1, 2, 2, 2, 3))))
    if kind < 0.85:
        return " ".join(_value_word(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    if kind < 0.9:
        return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    if kind < 0.95:
        return f"{rng.randint(0, 999)}.{rng.randint(0, 99)}"
    letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(rng.choice((1, 2, 3))))
    return f"{letters}-{rng.randint(10, 9999)}"


def draw_fact(rng: random.Random) -> Fact:
    """Draw a fact; six in ten belong to an entity."""
    entity = draw_entity(rng) if rng.random() < 0.6 else None
    return Fact(draw_key(rng), entity, draw_value(rng))


def draw_rival(rng: random.Random, fact: Fact) -> Fact:
    """Draw a fact that shares its key or its entity with ``fact``, so that half a match is not enough."""
    value = _similar_value(rng, fact.value) if rng.random() < 0.3 else draw_value(rng)
    if fact.entity is not None and rng.random() < 0.5:
        return Fact(draw_key(rng), fact.entity, value)
    if fact.entity is not None:
        return Fact(fact.key, draw_entity(rng), value)
    return Fact(f"{_train_word(rng)} {fact.key.split()[-1]}", None, value)


def _similar_value(rng: random.Random, value: str) -> str:
    """Change a part of a number or a name, so that copying must keep its place; other values are drawn anew."""
    if value.isdigit() and len(value) > 2:
        place = rng.randrange(1, len(value))
        return value[:place] + str(rng.randint(0, 9)) + value[place + 1 :]
    words = value.split()
    if all(word.isalpha() and word[0].isupper() for word in words):
        place = rng.randrange(len(words))
        return " ".join([*words[:place], similar_name(rng, words[place]), *words[place + 1 :]])
    return draw_value(rng)


def state(rng: random.Random, fact: Fact, strangeness: Strangeness = USUAL_STRANGENESS) -> str:
    """Word ``fact`` as one statement, with its capital letter and its end."""
    core, stands_out = draw_core(rng, has_entity=fact.entity is not None), _stands_out(fact.value)
    if rng.random() < strangeness.scattered and stands_out:
        core = _scattered_core(rng, has_entity=fact.entity is not None)
    elif rng.random() < strangeness.noisy and (stands_out or strangeness.words):
        core = _noisy_core(rng, core, strangeness.before_value, stands_out)
    if _lead_of(core) in HELD_OUT_LEADS:
        return state(rng, fact, strangeness)
    if rng.random() < 0.1:
        core = core.replace("{v}", rng.choice(QUOTES))
    opener = _draw_opener(rng)
    closer = " " + rng.choice(CLOSERS) if rng.random() < 0.2 else ""
    follow_up = " " + rng.choice(FOLLOW_UPS) if rng.random() < 0.25 else ""
    end = "." if follow_up or rng.random() < 0.85 else rng.choice(("", "!", ";", ","))
    filled = core.format(k=fact.key, e=fact.entity or "", v=fact.value)
    sentence = f"{opener}{filled}{closer}{end}{follow_up}"
    # A value must be read as it stands: a letter that opens the statement is raised only where it is not the value's.
    is_raised = not sentence.startswith(fact.value) and rng.random() < 0.85
    return sentence[0].upper() + sentence[1:] if is_raised else sentence


def _lead_of(core: str) -> str:
    """Return the words, two at most, between the slot before the value's and the value's."""
    before = re.split(r"\{[kes]\}", core.partition("{v}")[0])[-1]
    return " ".join(re.sub(r"\W+", " ", before).lower().split()[-2:])


def _stands_out(value: str) -> bool:
    """Say whether a value can be told from words around it: it has a digit or a capital letter."""
    return any(character.isdigit() or character.isupper() for character in value)


def _scattered_core(rng: random.Random, has_entity: bool) -> str:
    """Put key, entity and value among words that mean nothing: whatever glues a statement together must do."""
    slots = ["{k}", "{v}", *(["{e}"] if has_entity else [])]
    rng.shuffle(slots)
    parts = [part for slot in slots for part in (*_glue(rng), slot)]
    return " ".join(parts + _glue(rng))


def _noisy_core(rng: random.Random, core: str, before_value: float, stands_out: bool) -> str:
    """Exchange words of a wording for random ones: a reader meets words it has never seen in every place.

    Around a value of plain words function words stay, and only common English ones take the others' places.
    """
    value = core.find("{v}")
    kept = frozenset[str]() if stands_out else FUNCTION_WORDS

    def exchanged(match: re.Match[str]) -> str:
        share = before_value if match.end() + 1 == value else EXCHANGED_SHARE
        if match[0] in kept or rng.random() >= share:
            return match[0]
        strange = (_train_word(rng), pseudo_word(rng, 2)) if stands_out else ()
        return rng.choice((_common_word(rng), *strange))

    return re.sub(r"(?<![{<\w'])[a-z]{4,}(?![}>\w'])", exchanged, core)


def _common_word(rng: random.Random) -> str:
    return rng.choice(rng.choice(list(english_words().values())))


def _glue(rng: random.Random) -> list[str]:
    return [_train_word(rng) for _ in range(rng.choice((0, 1, 1, 2, 3)))]


def _draw_opener(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(OPENERS) + " "
    if kind < 0.4:
        # Words that mean nothing here: what surrounds a fact must not matter.
        words = " ".join(_train_word(rng) for _ in range(rng.randint(2, 6)))
        return words + rng.choice((", ", ", and ", " that ", ": ", ". ", " because ", " when "))
    return ""


def state_plainly(fact: Fact) -> str:
    """Word ``fact`` in the one plainest way, which is what a model learns first."""
    return f"The{fact.subject.removeprefix('the')} is {fact.value}."


def ask(rng: random.Random, fact: Fact) -> Question:
    """Word a question for ``fact``; the answer ends with a line break, so that a reader knows when to stop."""
    subject = fact.subject
    if fact.entity is not None and rng.random() < 0.3:
        subject = rng.choice(SUBJECTS_ENTITY).format(k=fact.key, e=fact.entity)
    form = rng.choice(QUESTION_FORMS)
    text = form.replace("{s}", subject).replace("{S}", subject[0].upper() + subject[1:])
    return Question(text, f" {fact.value}\n")


def ask_unstated(rng: random.Random, stated: Sequence[Fact]) -> Question:
    """Word a question for a fact that is not stated, but shares its key or entity with one that is."""
    known = {(fact.key, fact.entity) for fact in stated}
    fact = draw_rival(rng, rng.choice(stated))
    if (fact.key, fact.entity) in known:
        return ask_unstated(rng, stated)
    return Question(ask(rng, fact).text, NOT_STATED)


def repeated_filler(rng: random.Random, num_sentences: int) -> list[str]:
    """Make dull text: a few short generated sentences, said over and over."""
    unit = [_dull_sentence(rng) for _ in range(rng.randint(2, 8))]
    return [unit[index % len(unit)] for index in range(num_sentences)]


def _dull_sentence(rng: random.Random) -> str:
    words = [_train_word(rng) for _ in range(4)]
    if rng.random() < 0.6:
        # "The X is Y" is what statements of facts look like, too: only the key tells the two apart.
        verb = rng.choice(("is", "is", "is", "was", "has", "likes", "sees", "makes", "needs"))
        return f"{rng.choice(('The', 'The', 'A', 'My', 'Their'))} {words[0]} {verb} {words[1]}. "
    sentence = " ".join(words[: rng.randint(2, 4)])
    return f"{sentence[0].upper()}{sentence[1:]}. "
