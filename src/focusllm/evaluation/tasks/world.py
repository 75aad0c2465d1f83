"""A small world: people walk about, take things and leave them; five kinds of questions about it.

Source: the idea of bAbI (arXiv 1502.05698) and BABILong (arXiv 2406.10149): a story's sentences hidden, in order, in
text that has nothing to do with it. World, names and wording are ours, so scores are not to be mixed with published
ones. MIT. Version 2.
"""

import random
import re
from dataclasses import dataclass, field

from focusllm.evaluation.tasks.haystack import in_order, put_together, real_text
from focusllm.evaluation.tasks.sample import Encode, EvalSample, rng_of

PEOPLE = ("Agnes", "Boris", "Clara", "Dmitri", "Edith", "Felix")
PLACES = ("attic", "cellar", "garden", "kitchen", "library", "stable")
THINGS = ("basket", "candle", "drum", "hammer", "lantern", "mirror")
INTRO = "A story is hidden in the text below, sentence by sentence. Keep it in mind.\n\n"
KINDS = ("person", "thing", "holder", "count", "before")
NUMBERS = ("none", "one", "two", "three", "four", "five", "six")
# What answers to a kind of question are among, and other ways to write them.
_LABELS = {"person": PLACES, "thing": PLACES, "holder": PEOPLE, "count": NUMBERS, "before": PLACES}
_OTHER_WAYS = {**{str(number): word for number, word in enumerate(NUMBERS)}, "zero": "none", "no": "none"}


@dataclass
class World:
    """Who is where and has what, and all that happened."""

    people: dict[str, str] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    # The places each thing has been in, one after the other.
    trails: dict[str, list[str]] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)

    def go(self, person: str, place: str) -> None:
        """Let a person, with all they hold, go to a place."""
        self.people[person] = place
        self.story.append(f"{person} went to the {place}.")
        for thing, holder in self.holders.items():
            if holder == person:
                self._move(thing, place)

    def take(self, person: str, thing: str) -> None:
        """Let a person take a thing that lies where they are."""
        self.holders[thing] = person
        self._move(thing, self.people[person])
        self.story.append(f"{person} took the {thing} there.")

    def leave(self, person: str, thing: str) -> None:
        """Let a person leave a thing they hold."""
        del self.holders[thing]
        self.story.append(f"{person} left the {thing} there.")

    def held_by(self, person: str) -> list[str]:
        """Return what a person holds."""
        return [thing for thing, holder in self.holders.items() if holder == person]

    def _move(self, thing: str, place: str) -> None:
        self.things[thing] = place
        trail = self.trails.setdefault(thing, [])
        if not trail or trail[-1] != place:
            trail.append(place)


@dataclass(frozen=True)
class SmallWorld:
    """Questions about a story that is spread over a long text.

    Attributes:
        kind: ``person`` (where somebody is), ``thing`` (where something is), ``holder`` (who has it), ``count`` (how
            many things somebody has) or ``before`` (where something was before it came where it is).
        num_events: Sentences of the story.
    """

    kind: str
    num_events: int = 12
    version: int = 2
    max_new_tokens: int = 10
    stays_right: bool = False

    @property
    def name(self) -> str:
        """The name results carry."""
        return f"world-{self.kind}"

    def draw(self, encode: Encode, num_tokens: int, depth: float, seed: str) -> EvalSample:
        """Draw a sample of exactly ``num_tokens`` tokens; the story starts at half the depth and goes on to the end.

        Raises:
            InputError: The length cannot hold the story and the question.
        """
        rng = rng_of(seed)
        while True:
            world = _lived(rng, self.num_events)
            if (asked := _asked(rng, world, self.kind)) is not None:
                break
        query, answer = asked
        needles = in_order(depth, world.story)
        question = f"\nQuestion: {query}\nAnswer:"
        prompt = put_together(
            encode, num_tokens, self.name, (INTRO, question), needles, real_text(encode, rng.random())
        )
        return EvalSample(prompt, (), question.strip(), (answer,), depth, seed)

    def score(self, output: str, sample: EvalSample) -> float:
        """Look for the answer, and no other of its kind, in the first sentence; what the question names does not count.

        Source: BABILong's rule, on whole words.
        """
        labels = {label.lower() for label in _LABELS[self.kind]} - _words(sample.question)
        said = _words(output.strip().split("\n")[0].split(".")[0])
        return float(said & labels == {sample.answer.lower()})


def _words(text: str) -> set[str]:
    found: list[str] = re.findall(r"\w+", text.lower())
    return {_OTHER_WAYS.get(word, word) for word in found}


def _lived(rng: random.Random, num_events: int) -> World:
    world = World()
    for _ in range(num_events):
        person = rng.choice(PEOPLE)
        here, held = world.people.get(person), world.held_by(person)
        free = [
            thing
            for thing in THINGS
            if here is not None and thing not in world.holders and world.things.get(thing, here) == here
        ]
        kind = rng.random()
        if free and kind < 0.4:
            world.take(person, rng.choice(free))
        elif held and kind < 0.6:
            world.leave(person, rng.choice(held))
        else:
            world.go(person, rng.choice([place for place in PLACES if place != here]))
    return world


def _asked(rng: random.Random, world: World, kind: str) -> tuple[str, str] | None:
    """Draw a question of a kind and its answer; ``None`` where the story has none."""
    if kind == "person" and world.people:
        person = rng.choice(list(world.people))
        return f"Where is {person}?", world.people[person]
    if kind == "thing" and world.things:
        thing = rng.choice(list(world.things))
        return f"Where is the {thing}?", world.things[thing]
    if kind == "holder" and world.holders:
        thing = rng.choice(list(world.holders))
        return f"Who has the {thing}?", world.holders[thing]
    if kind == "count":
        by_number: dict[int, list[str]] = {}
        for person in world.people:
            by_number.setdefault(len(world.held_by(person)), []).append(person)
        # Most people have nothing: asked about anybody, "none" would be right two times out of three.
        if len(by_number) < 3:
            return None
        number = rng.choice(list(by_number))
        return f"How many things does {rng.choice(by_number[number])} have?", NUMBERS[number]
    # What came to a place twice was in two places before.
    moved = [thing for thing, trail in world.trails.items() if len(trail) > 1 and trail.count(trail[-1]) == 1]
    if kind == "before" and moved:
        thing = rng.choice(moved)
        last = world.trails[thing][-1]
        return f"Where was the {thing} before it came to the {last}?", world.trails[thing][-2]
    return None


WORLD = tuple(SmallWorld(kind) for kind in KINDS)
