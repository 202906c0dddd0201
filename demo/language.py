"""What can truthfully be said about a scene: captions, questions with answers, labels.

Every sentence is derived from the scene's data. Several wordings exist for most things, so that
the model learns the language and not one sentence. No caption names a kind that is not there, not
even to deny it: "nobody" and "empty" are used instead.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from demo.scenes.scene import Kind, Place, Scene, Thing, Weather

NUMBERS = ("no", "one", "two", "three", "four", "five")
PLURAL: dict[Kind, str] = {
    Kind.PERSON: "people",
    Kind.DOG: "dogs",
    Kind.CAT: "cats",
    Kind.CAR: "cars",
    Kind.BICYCLE: "bicycles",
    Kind.PACKAGE: "packages",
}
#: With the preposition a person would use.
WHERE: dict[Place, str] = {
    Place.FRONT_DOOR: "at the front door",
    Place.DRIVEWAY: "in the driveway",
    Place.BACKYARD: "in the backyard",
    Place.STREET: "on the street",
}
#: Labels that detect and point understand, with the kinds they mean.
LABELS: dict[str, tuple[Kind, ...]] = {
    "person": (Kind.PERSON,),
    "people": (Kind.PERSON,),
    "dog": (Kind.DOG,),
    "cat": (Kind.CAT,),
    "car": (Kind.CAR,),
    "bicycle": (Kind.BICYCLE,),
    "bike": (Kind.BICYCLE,),
    "package": (Kind.PACKAGE,),
    "parcel": (Kind.PACKAGE,),
    "animal": (Kind.DOG, Kind.CAT),
    "horse": (),
    "truck": (),
    "bird": (),
}
#: Labels named like their kind come up more often than synonyms and strangers.
_LABEL_WEIGHTS = [3.0 if label in list(Kind) else 0.6 for label in LABELS]


class Length(StrEnum):
    """How much a caption says."""

    SHORT = "short"
    NORMAL = "normal"
    LONG = "long"


class Side(StrEnum):
    """Third of the picture."""

    LEFT = "on the left"
    MIDDLE = "in the middle"
    RIGHT = "on the right"


class Topic(StrEnum):
    """What a question is about."""

    PRESENCE = "presence"
    COUNT = "count"
    COLOUR = "colour"
    HOUR = "hour"
    SIDE = "side"
    WEATHER = "weather"
    PLACE = "place"


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene with its answer."""

    topic: Topic
    text: str
    answer: str


def side_of(thing: Thing, scene: Scene) -> Side:
    """The third of the picture in which the middle of a thing is."""
    x = thing.box(scene.size).x
    if x < 1 / 3:
        return Side.LEFT
    return Side.MIDDLE if x <= 2 / 3 else Side.RIGHT


def caption(scene: Scene, length: Length, rng: random.Random) -> str:
    """Describe a scene; the wording is chosen by lot."""
    if length is Length.SHORT:
        return _short(scene, rng)
    return _normal(scene, rng) if length is Length.NORMAL else _long(scene, rng)


def _short(scene: Scene, rng: random.Random) -> str:
    where, hour = WHERE[scene.place], "at night" if scene.is_night else "by day"
    if not scene.things:
        return rng.choice((f"Nobody {where} {hour}.", f"Nothing {where} {hour}."))
    counts = Counter(thing.kind for thing in scene.things)
    things = _listed([_counted(kind, number) for kind, number in counts.items()])
    return f"{_capital(things)} {where} {hour}."


def _normal(scene: Scene, rng: random.Random) -> str:
    where = WHERE[scene.place]
    hour = "It is night" if scene.is_night else "It is daytime"
    what = _capital(_listed(_clauses(scene)))
    if not scene.things:
        what = rng.choice(("Nobody is there", "Nothing is there"))
    return rng.choice((f"{hour} {where}. {what}.", f"{what}. {hour} {where}."))


def _long(scene: Scene, rng: random.Random) -> str:
    hour = "night" if scene.is_night else "day"
    sky = {
        Weather.CLEAR: "clear",
        Weather.CLOUDY: "cloudy",
        Weather.RAIN: "rainy",
        Weather.SNOW: "snowy",
        Weather.FOG: "foggy",
    }[scene.weather]
    parts = [f"It is a {sky} {hour} {WHERE[scene.place]}."]
    if scene.is_infrared:
        parts.append("The camera sees in infrared, without colours.")
    if not scene.things:
        parts.append(rng.choice(("Nobody is there.", "Nothing is there.")))
    parts += [
        f"{_capital(side_of(thing, scene))}, {_clause([thing], scene)}." for thing in scene.things
    ]
    if len(scene.things) > 1:
        counts = Counter(thing.kind for thing in scene.things)
        total = _listed([_counted(kind, number) for kind, number in counts.items()])
        parts.append(f"In all, {total}.")
    return " ".join(parts)


def _clauses(scene: Scene) -> list[str]:
    """One clause for each run of things of a kind on one side, left to right."""
    runs = groupby(scene.things, key=lambda t: (t.kind, side_of(t, scene), t.carried))
    return [f"{_clause(list(run), scene)} {side}" for (_, side, _), run in runs]


def _clause(things: Sequence[Thing], scene: Scene) -> str:
    first = things[0]
    if len(things) == 1:
        return f"{_described(first, scene)} is {_doing(first)}"
    poses = {_doing(thing) for thing in things}
    doing = poses.pop() if len(poses) == 1 else "standing"
    return f"{NUMBERS[len(things)]} {PLURAL[first.kind]} are {doing}"


def _described(thing: Thing, scene: Scene) -> str:
    if scene.is_infrared or thing.kind is Kind.PACKAGE:
        return _article(thing.kind)
    if thing.kind is Kind.PERSON:
        return f"a person in {thing.colour}"
    return f"{'an' if thing.colour[0] in 'aeiou' else 'a'} {thing.colour} {thing.kind}"


def _doing(thing: Thing) -> str:
    if thing.kind is Kind.PERSON or thing.kind is Kind.CAT:
        return str(thing.pose)
    if thing.kind is Kind.PACKAGE:
        return "being carried" if thing.carried else "lying"
    return "parked" if thing.kind in (Kind.CAR, Kind.BICYCLE) else "standing"


def _counted(kind: Kind, number: int) -> str:
    return _article(kind) if number == 1 else f"{NUMBERS[number]} {PLURAL[kind]}"


def _article(kind: Kind) -> str:
    return f"a {kind}"


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def ask(scene: Scene, rng: random.Random, topic: Topic | None = None) -> Question:
    """Ask something that the scene answers.

    Args:
        scene: What is there.
        rng: Chooses the kind asked for and the wording.
        topic: What to ask about; by lot when None. A topic on which this scene has no question
            (the colour of nothing) becomes a question of presence.
    """
    topic = topic or rng.choices(list(Topic), (9, 5, 3, 2, 2, 1, 1))[0]
    if topic is Topic.COUNT:
        return _ask_count(scene, rng)
    if topic is Topic.HOUR:
        text = rng.choice(("Is it day or night?", "Is it night or day?"))
        return Question(topic, text, "Night" if scene.is_night else "Day")
    if topic is Topic.WEATHER:
        text = rng.choice(("What is the weather like?", "How is the weather?"))
        return Question(topic, text, _WEATHER_ANSWERS[scene.weather])
    if topic is Topic.PLACE:
        text = rng.choice(("Where is this?", "What place is this?"))
        return Question(topic, text, f"The {scene.place}")
    single = [kind for kind in Kind if len(scene.of(kind)) == 1]
    if topic is Topic.SIDE and single:
        thing = scene.of(rng.choice(single))[0]
        answer = _capital(side_of(thing, scene))
        return Question(topic, f"Where is the {thing.kind}?", answer)
    coloured = [kind for kind in single if kind is not Kind.PACKAGE]
    if topic is Topic.COLOUR and coloured:
        return _ask_colour(scene, scene.of(rng.choice(coloured))[0], rng)
    return _ask_presence(scene, rng)


_WEATHER_ANSWERS: dict[Weather, str] = {
    Weather.CLEAR: "It is clear",
    Weather.CLOUDY: "It is cloudy",
    Weather.RAIN: "It is raining",
    Weather.SNOW: "It is snowing",
    Weather.FOG: "It is foggy",
}


def _ask_presence(scene: Scene, rng: random.Random) -> Question:
    present = [kind for kind in Kind if scene.of(kind)]
    absent = [kind for kind in Kind if kind not in present]
    kind = rng.choice(present if present and rng.random() < 0.5 else absent)
    if kind is Kind.PERSON and rng.random() < 0.4:
        text = rng.choice(("Is anybody there?", "Is someone there?", "Is anyone there?"))
    else:
        text = rng.choice(
            (
                f"Is there a {kind}?",
                f"Is there a {kind} {WHERE[scene.place]}?",
                f"Is there a {kind} in the picture?",
                f"Can you see a {kind}?",
                f"Are there any {PLURAL[kind]}?",
            )
        )
    return Question(Topic.PRESENCE, text, "Yes" if kind in present else "No")


def _ask_count(scene: Scene, rng: random.Random) -> Question:
    present = [kind for kind in Kind if scene.of(kind)]
    kind = rng.choice(present) if present and rng.random() < 0.75 else rng.choice(list(Kind))
    plural = PLURAL[kind]
    text = rng.choice((f"How many {plural} are there?", f"How many {plural} can you see?"))
    number = len(scene.of(kind))
    return Question(Topic.COUNT, text, _capital(NUMBERS[number]) if number else "None")


def _ask_colour(scene: Scene, thing: Thing, rng: random.Random) -> Question:
    word = rng.choice(("colour", "color"))
    if thing.kind is Kind.PERSON:
        text = f"What {word} is the person wearing?"
    else:
        text = f"What {word} is the {thing.kind}?"
    dark = "It is too dark to tell"
    return Question(Topic.COLOUR, text, dark if scene.is_infrared else _capital(thing.colour))


def pick_label(scene: Scene, rng: random.Random) -> str:
    """A label to detect or point at; what is there is asked for in two cases of three."""
    labels = list(LABELS)
    fitting = [label for label in labels if any(scene.of(kind) for kind in LABELS[label])]
    if fitting and rng.random() < 0.66:
        weights = [_LABEL_WEIGHTS[labels.index(label)] for label in fitting]
        return rng.choices(fitting, weights)[0]
    return rng.choices(labels, _LABEL_WEIGHTS)[0]


def labelled(scene: Scene, label: str) -> list[Thing]:
    """The things a label means, left to right."""
    return [thing for thing in scene.things if thing.kind in LABELS[label]]


#: Words by which a caption names a kind.
_NAMES: dict[Kind, frozenset[str]] = {kind: frozenset((str(kind), PLURAL[kind])) for kind in Kind}


def kinds_named(text: str) -> set[Kind]:
    """The kinds a caption names."""
    words = set(text.lower().replace(".", " ").replace(",", " ").split())
    return {kind for kind, names in _NAMES.items() if words & names}


def is_night_said(text: str) -> bool | None:
    """Whether a caption says it is night (True) or day (False); None when it says neither."""
    words = set(text.lower().replace(".", " ").replace(",", " ").split())
    night, day = "night" in words, bool(words & {"day", "daytime"})
    return None if night == day else night


def sides_named(text: str) -> list[tuple[Kind, Side]]:
    """Read a normal caption back: each thing it places, with the side, sorted."""
    found: list[tuple[Kind, Side]] = []
    for phrase in text.lower().replace(" and ", ", ").replace(".", ",").split(","):
        sides = [side for side in Side if phrase.strip().endswith(side)]
        kinds = kinds_named(phrase)
        if sides and kinds:
            first = phrase.split()[0]
            number = NUMBERS.index(first) if first in NUMBERS else 1
            found += [(kinds.pop(), sides[0])] * number
    return sorted(found)


def sides_true(scene: Scene) -> list[tuple[Kind, Side]]:
    """What `sides_named` should find in a true normal caption."""
    return sorted((thing.kind, side_of(thing, scene)) for thing in scene.things)
