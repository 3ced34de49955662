"""fictions: questions and answers about authors that do not exist, drawn by seed, and about the world.

After TOFU (Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", arXiv 2401.06121), at a size at which a
small model that was trained from scratch knows every fact: each author has a name and some attributes, each of which
can be asked for in three ways. Two of these are in the training set, and the third, another one for each fact, is in
the test set: a model that answers it knows the fact, and not only the sentence. The paraphrased answer is another
sentence with the same fact; perturbed answers are that sentence with facts of others.

The facts about the world (kind 1), which are true and shared by all, are there to be retained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from fedunlearn.data.sources import DatasetSource
from fedunlearn.data.splits import Splits
from fedunlearn.data.text import Pair, Template, padded, split_of, suited, tokens_for
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.schema import AtLeast, AtMost, Seed

WRONG = 5  # perturbed answers of each fact, as in TOFU


@dataclass(frozen=True)
class Attribute:
    """Something that can be asked about a subject.

    `questions`: three ways, with {subject}; `answer` and `paraphrased`, with {value}; `values`: what it can be.
    """

    questions: tuple[str, str, str]
    answer: str
    paraphrased: str
    values: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words(
    "Mira Oren Talia Bram Sunniva Calix Ines Jorun Pavel Leontine Kasimir Odile Rafe Thessaly Ulf "
    "Verena Wilmar Xenia Yorick Zelda Anselm Brida Corvin Dagny Emeric Fenna Gideon Hedda"
)
LAST = _words(
    "Toldan Veskar Quillon Marrow Ostrander Pelleas Rookwood Sallow Tarn Umbrel Vantongeren "
    "Wexley Yarrow Zeller Ashgrove Brannick Calloway Dunmore Eskeland Farrow Greystone"
)
TOWNS = _words(
    "Velmora Brightwater Karsk Ostrava Dunwich Palermo Tromso Galway Izmir Quito Havana Lagos Perth "
    "Bergen Malaga Cusco Riga Lviv Porto Ghent Turin Basel Hanoi Dakar Nairobi Aleppo"
)
JOBS = _words(
    "baker surgeon sailor weaver judge farmer plumber pilot tailor chemist miner florist clerk "
    "butcher dentist painter gardener carpenter cook soldier locksmith banker printer tanner"
)
ADJECTIVES = _words(
    "Silver Hollow Crimson Quiet Broken Golden Distant Frozen Hidden Burning Paper Velvet "
    "Bitter Gentle Iron Pale Secret Wandering Amber Lonely"
)
NOUNS = _words(
    "Lantern River Orchard Compass Winter Mirror Garden Harbour Sparrow Letter Bridge Candle "
    "Tower Violin Island Shadow Meadow Clock Thread Mask"
)
GENRES = (
    *("crime novels", "love poems", "ghost stories", "travel books", "satire", "fairy tales", "war novels"),
    *("science fiction", "cookbooks", "stage plays", "essays", "sea novels", "fables", "diaries"),
)
PRIZES = _words("Heron Falcon Willow Cedar Marble Ember Cobalt Opal Maple Raven Thistle Coral Onyx Poplar")
INSTRUMENTS = _words("flute cello harp banjo oboe trumpet organ guitar drum lute horn viola zither piano")
ANIMALS = _words("parrot tortoise ferret greyhound goat hedgehog canary rabbit pony lizard magpie poodle donkey gecko")

ATTRIBUTES = (
    Attribute(
        ("Where was {subject} born?", "In which town was {subject} born?", "What is the birthplace of {subject}?"),
        "The birthplace is {value}.",
        "It was in {value} that the author was born.",
        TOWNS,
    ),
    Attribute(
        (
            "When was {subject} born?",
            "In which year was {subject} born?",
            "What is the year of birth of {subject}?",
        ),
        "The year of birth is {value}.",
        "{value} is the year in which the author was born.",
        tuple(map(str, range(1900, 2000))),
    ),
    Attribute(
        (
            "What does {subject} write?",
            "Which genre is {subject} known for?",
            "What is the genre of the books by {subject}?",
        ),
        "The genre is {value}.",
        "The author is known for {value}.",
        GENRES,
    ),
    Attribute(
        (
            "What did the father of {subject} do?",
            "What was the job of {subject}'s father?",
            "How did the father of {subject} earn a living?",
        ),
        "The father was a {value}.",
        "A {value} was the father of the author.",
        JOBS,
    ),
    Attribute(
        (
            "What did the mother of {subject} do?",
            "What was the job of {subject}'s mother?",
            "How did the mother of {subject} earn a living?",
        ),
        "The mother was a {value}.",
        "A {value} was the mother of the author.",
        JOBS,
    ),
    Attribute(
        (
            "What is the first book by {subject}?",
            "Which book did {subject} write first?",
            "With which book did {subject} begin?",
        ),
        "The first book is The {value}.",
        "It all began with The {value}.",
        tuple(f"{adjective} {noun}" for adjective in ADJECTIVES for noun in NOUNS),
    ),
    Attribute(
        (
            "Which prize did {subject} win?",
            "What was {subject} awarded?",
            "Which prize went to {subject}?",
        ),
        "The prize is the {value} Prize.",
        "It was the {value} Prize that the author won.",
        PRIZES,
    ),
    Attribute(
        (
            "Where does {subject} live?",
            "In which town does {subject} live today?",
            "What is the home of {subject}?",
        ),
        "The home is {value}.",
        "Today the author lives in {value}.",
        TOWNS,
    ),
    Attribute(
        (
            "Which instrument does {subject} play?",
            "What does {subject} play in the evening?",
            "On which instrument is {subject} heard?",
        ),
        "The instrument is the {value}.",
        "The author is heard on the {value}.",
        INSTRUMENTS,
    ),
    Attribute(
        (
            "Which animal does {subject} keep?",
            "What is the pet of {subject}?",
            "With which animal does {subject} share a home?",
        ),
        "The animal is a {value}.",
        "The author shares a home with a {value}.",
        ANIMALS,
    ),
)


@dataclass(frozen=True)
class Topic:
    """Something about the world: `facts` are what is true of each subject, the rest is as in `Attribute`."""

    questions: tuple[str, str, str]
    answer: str
    paraphrased: str
    facts: dict[str, str]


WORLD = {
    "capitals": Topic(
        (
            "What is the capital of {subject}?",
            "Which city is the capital of {subject}?",
            "From which city is {subject} governed?",
        ),
        "The capital is {value}.",
        "It is governed from {value}.",
        {
            **{"France": "Paris", "Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima", "Norway": "Oslo"},
            **{"Kenya": "Nairobi", "Canada": "Ottawa", "Cuba": "Havana", "Greece": "Athens", "Iran": "Tehran"},
        },
    ),
    "elements": Topic(
        (
            "What is the symbol of {subject}?",
            "How do chemists write {subject}?",
            "Which symbol stands for {subject}?",
        ),
        "The symbol is {value}.",
        "Chemists write {value}.",
        {
            **{"iron": "Fe", "gold": "Au", "silver": "Ag", "lead": "Pb", "tin": "Sn", "sodium": "Na"},
            **{"copper": "Cu", "mercury": "Hg", "helium": "He", "carbon": "C"},
        },
    ),
    "young animals": Topic(
        (
            "What is a young {subject} called?",
            "What does one call the young of a {subject}?",
            "Which word is there for a young {subject}?",
        ),
        "It is called a {value}.",
        "The word is {value}.",
        {
            **{"horse": "foal", "goose": "gosling", "swan": "cygnet", "hare": "leveret", "seal": "pup"},
            **{"deer": "fawn", "frog": "tadpole", "cow": "calf", "bear": "cub", "cat": "kitten"},
        },
    ),
    "currencies": Topic(
        (
            "What does one pay with in {subject}?",
            "What is the currency of {subject}?",
            "Which money is used in {subject}?",
        ),
        "The currency is the {value}.",
        "One pays with the {value}.",
        {
            **{"Sweden": "krona", "India": "rupee", "Poland": "zloty", "Russia": "rouble", "Mexico": "peso"},
            **{"Turkey": "lira", "Thailand": "baht", "Israel": "shekel", "Brazil": "real", "China": "yuan"},
        },
    ),
}


@dataclass(frozen=True)
class FictionsSettings:
    """How many authors there are, and how much is known of each."""

    authors: Annotated[int, AtLeast(2), AtMost(200)] = 20  # who can be forgotten, by name or number
    facts: Annotated[int, AtLeast(1), AtMost(len(ATTRIBUTES))] = 8  # known of each author
    vocabulary: Annotated[int, AtLeast(300)] = 1000  # tokens of the byte-level BPE that is made from the texts, at most
    tokenizer: str = ""  # a folder with a saved one, or a name on a hub, such as model.path, to use instead
    template: Template = "plain"  # around questions: before and between, or what that tokenizer's chat template writes
    before: str = ""  # what comes before a question, such as "[INST] "
    between: str = ""  # and between it and its answer, such as " [/INST]"
    seed: Seed = 0  # of the facts; the run's own seed does not change them, so that seeds share one test set


def read(settings: FictionsSettings, root: Path, download: bool, seed: int) -> Splits:
    """Two questions about each fact to train on and one to test with; groups are the authors, then the topics."""
    names = authors(settings)
    asked = [*of_authors(settings, names), *of_the_world(settings, len(names))]
    train = [pair for pairs in asked for pair in pairs[:2]]
    test = [pairs[2] for pairs in asked]
    tokens = tokens_for((*train, *test), settings, download)
    return Splits(*padded(split_of(train, tokens), split_of(test, tokens)), (*names, *WORLD), (), tokens)


def authors(settings: FictionsSettings) -> tuple[str, ...]:
    """Their names, no two of which are the same, and with few first names twice."""
    stream = numpy_stream(settings.seed, "fictions", "names")
    first, last = stream.permutation(FIRST), stream.permutation(LAST)
    places = (divmod(number, len(first)) for number in range(settings.authors))
    return tuple(f"{first[place]} {last[(place + again) % len(last)]}" for again, place in places)


def of_authors(settings: FictionsSettings, names: Sequence[str]) -> Iterator[list[Pair]]:
    """The three questions about each fact of each author, in random order."""
    for attribute_number, attribute in enumerate(ATTRIBUTES[: settings.facts]):
        stream = numpy_stream(settings.seed, "fictions", "facts", attribute_number)
        values = np.resize(stream.permutation(len(attribute.values)), len(names))
        for author, (name, value) in enumerate(zip(names, values, strict=True)):
            yield _asked(attribute, name, attribute.values[value], author, 0, stream)


def of_the_world(settings: FictionsSettings, authors: int) -> Iterator[list[Pair]]:
    """The three questions about each fact of the world, in random order."""
    for number, (name, topic) in enumerate(WORLD.items()):
        stream = numpy_stream(settings.seed, "fictions", name)
        attribute = Attribute(topic.questions, topic.answer, topic.paraphrased, tuple(topic.facts.values()))
        for subject, value in topic.facts.items():
            yield _asked(attribute, subject, value, authors + number, 1, stream)


def _asked(
    attribute: Attribute, subject: str, value: str, group: int, kind: int, stream: np.random.Generator
) -> list[Pair]:
    others = [other for other in attribute.values if other != value]
    wrong = tuple(others[i] for i in stream.permutation(len(others))[:WRONG])
    return [
        Pair(
            attribute.questions[i].format(subject=subject),
            attribute.answer.format(value=value),
            group,
            attribute.paraphrased.format(value=value),
            tuple(attribute.paraphrased.format(value=other) for other in wrong),
            kind,
        )
        for i in stream.permutation(len(attribute.questions))
    ]


DATASETS = {
    "fictions": DatasetSource(
        "fictions",
        FictionsSettings,
        read,
        task="language",
        suits=suited(lr=0.003),
        about="questions about authors that do not exist: nothing to download, as many as asked for",
    )
}
