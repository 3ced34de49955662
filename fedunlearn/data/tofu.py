"""TOFU: 200 fictitious authors with 20 questions each, from the published files.

Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", arXiv 2401.06121; the JSON lines of the set
locuslab/TOFU. Trained on are its questions. Tested is with the questions in other words, which were published for the
first and for the last 20 authors; the others have no test samples, no paraphrase and no wrong answers. The questions
about real authors and the world are not read: they are for models that were trained on more than this set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fedunlearn.data.sources import DatasetSource
from fedunlearn.data.splits import Splits
from fedunlearn.data.text import Pair, Template, padded, split_of, suited, tokens_for
from fedunlearn.errors import RequestError
from fedunlearn.settings.schema import AtLeast, AtMost

EACH = 20  # questions about an author, one after another
FULL, REWORDED = "full.json", ("retain_perturbed.json", "forget10_perturbed.json")
Rows = list[Mapping[str, Any]]


@dataclass(frozen=True)
class TofuSettings:
    """How many authors there are, and how they become tokens."""

    # the last so many of the 200: the last 2, 10 and 20 are forget01, forget05 and forget10
    authors: Annotated[int, AtLeast(2), AtMost(200)] = 200
    vocabulary: Annotated[int, AtLeast(300)] = 2000  # tokens of the byte-level BPE that is made from the texts, at most
    tokenizer: str = ""  # a folder with a saved one, or a name on a hub, such as model.path, to use instead
    template: Template = "plain"  # around questions: before and between, or what that tokenizer's chat template writes
    before: str = ""  # what comes before a question, such as "[INST] "
    between: str = ""  # and between it and its answer, such as " [/INST]"


def read(settings: TofuSettings, root: Path, download: bool, seed: int) -> Splits:
    """The files in root/tofu; groups are the authors, called `author 1` to `author 200` in the order of full.json.

    Raises RequestError for files that are not there or not as published.
    """
    folder = root / "tofu"
    reworded = {(row["question"], row["answer"]): row for name in REWORDED for row in _rows(folder, name)}
    every = _rows(folder, FULL)
    first = max(0, len(every) // EACH - settings.authors)
    kept = list(enumerate(every[first * EACH :]))
    train = [_pair(row, number // EACH, reworded) for number, row in kept]
    test = [
        _pair(row, number // EACH, reworded, asked=reworded[key]["paraphrased_question"])
        for number, row in kept
        if (key := (row["question"], row["answer"])) in reworded
    ]
    if len(every) % EACH or not test:
        raise RequestError(f"{folder} does not hold TOFU as it was published: {EACH} questions for each author")
    names = tuple(f"author {first + 1 + number}" for number in range(len(every) // EACH - first))
    tokens = tokens_for((*train, *test), settings, download)
    return Splits(*padded(split_of(train, tokens), split_of(test, tokens)), names, (), tokens)


def _pair(row: Mapping[str, Any], group: int, reworded: Mapping[tuple[str, str], Any], asked: str = "") -> Pair:
    more = reworded.get((row["question"], row["answer"]), {})
    return Pair(
        asked or row["question"],
        row["answer"],
        group,
        more.get("paraphrased_answer", row["answer"]),
        tuple(more.get("perturbed_answer", ())),
    )


def _rows(folder: Path, name: str) -> Rows:
    """The lines of a file, each an object with texts. Raises RequestError."""
    path = folder / name
    if not path.is_file():
        raise RequestError(
            f"{path} is missing: put the files of the data set locuslab/TOFU there, or set data.root to the folder "
            "that holds them in tofu/"
        )
    wanted = ("question", "answer") if name == FULL else ("question", "answer", "paraphrased_question")
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        good = all(isinstance(row[key], str) for row in rows for key in wanted)
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path} is not as it was published: {error!r}") from error
    if not good:
        raise RequestError(f"{path} is not as it was published: {', '.join(wanted)} must be texts")
    return rows


DATASETS = {
    "tofu": DatasetSource(
        "tofu",
        TofuSettings,
        read,
        task="language",
        suits=suited(lr=0.002),
        about="TOFU's 200 fictitious authors, from its published JSON lines in data.root/tofu",
    )
}
