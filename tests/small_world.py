"""Reading the story of the small world out of a text."""

import re

from focusllm.evaluation.tasks.world import PEOPLE


def story(text: str) -> tuple[dict[str, str], dict[str, str], dict[str, list[str]]]:
    """Play the story's sentences again, as a reader would: where people are, who has what, where things have been."""
    at: dict[str, str] = {}
    holder: dict[str, str] = {}
    trail: dict[str, list[str]] = {}
    people = "|".join(PEOPLE)
    sentence = rf"^({people}) (went to|took|left) the (\w+)(?: there)?\.$"
    for person, verb, what in re.findall(sentence, text, re.MULTILINE):
        if verb == "went to":
            at[person] = what
        elif verb == "took":
            holder[what] = person
        else:
            del holder[what]
        for thing, who in holder.items():
            trail.setdefault(thing, [])
            if trail[thing][-1:] != [at[who]]:
                trail[thing].append(at[who])
    return at, holder, trail
