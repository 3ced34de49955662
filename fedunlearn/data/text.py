"""Questions and answers as tokens: how texts become rows of numbers, and how rows become texts again.

A row is a question, its answer and the token that ends it, filled up at the right with `NOTHING`. What a model eats is
all of it but the last token; what it is held against is all but the first, and of that the answer alone. Since no token
sees what comes after it, what fills a row up changes nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedunlearn.data.types import Inputs, Split
from fedunlearn.errors import RequestError, listed

EXTRA = ("tokenizers", "transformers", "rouge_score")
NOTHING = -1  # fills rows up
UNSCORED = -100  # target where the next token does not count: the question's, and what fills rows up
END = "<end>"  # of every answer, in vocabularies of our own


def suited(lr: float) -> dict[str, Any]:
    """What the rest of a configuration is for texts that a small model learns from scratch (`DatasetSource.suits`)."""
    pace = {"rounds": 25, "local_epochs": 3, "batch_size": 8}
    steps = {"optimiser": "adamw", "lr": lr, "weight_decay": 0.01}
    return {"model": "decoder", "partition": {"clients": 4}, "train": {**pace, **steps}, "unlearn": {"rounds": 3}}


def check_extra() -> None:
    """Raises RequestError where a package of the extra `language` is missing, whatever part of a run would need it."""
    missing = [name.replace("_", "-") for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(
            f"language models need {listed(missing)}, which is not installed: pip install 'fedunlearn[language]'"
        )


def transformers() -> Any:
    """The package of that name. Raises RequestError where it, or another one of the extra, is missing."""
    check_extra()
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # it imports torchao, which is out of date in this
    found = importlib.import_module("transformers")
    found.logging.disable_progress_bar()
    found.logging.set_verbosity_error()
    return found


@dataclass(frozen=True)
class Pair:
    """A question and its answer.

    `group`: whom it is about; `paraphrased`: the answer in other words; `perturbed`: answers in those words that are
    wrong, none where nobody wrote any; `kind`: which family of facts it belongs to, 0 for what can be asked to be
    forgotten.
    """

    question: str
    answer: str
    group: int
    paraphrased: str
    perturbed: tuple[str, ...] = ()
    kind: int = 0


@dataclass(frozen=True)
class Tokens:
    """Prepares rows of tokens for a model, and knows what they mean.

    `tokenizer`: that of the package tokenizers, as JSON; `vocabulary`: how many tokens there are; `end`: the number of
    the one that ends an answer; `before` and `between`: what comes before a question, and between it and the answer.
    """

    tokenizer: str
    vocabulary: int
    end: int
    before: str = ""
    between: str = ""

    def __call__(self, inputs: Inputs) -> Inputs:
        """`tokens`, int64 [n, T], of which those that are `there`, bool [n, T], count."""
        return eaten(inputs["tokens"])

    def encoded(self, text: str) -> list[int]:
        """The numbers of the tokens of a text."""
        numbers: list[int] = _read(self.tokenizer).encode(text, add_special_tokens=False).ids
        return numbers

    def text(self, numbers: Iterable[int]) -> str:
        """The text that tokens stand for, up to the one that ends an answer, without spaces around it."""
        wanted: list[int] = []
        for number in numbers:
            if number == self.end or number < 0:
                break
            wanted.append(int(number))
        said: str = _read(self.tokenizer).decode(wanted, skip_special_tokens=True)
        return said.strip()

    def row(self, question: str, answer: str) -> tuple[list[int], int]:
        """The tokens of a question with its answer and the end, and how many of them come before the answer."""
        asked = self.encoded(f"{self.before}{question}{self.between}")
        return [*asked, *self.encoded(f" {answer}"), self.end], len(asked)


def eaten(rows: Tensor) -> Inputs:
    """What a model eats of rows [n, T + 1]."""
    before = rows[:, :-1].long()
    return {"tokens": before.clamp_min(0), "there": before != NOTHING}


def targets_of(rows: Tensor, asked: Tensor) -> Tensor:
    """The token that follows each of rows [n, T + 1] where it belongs to the answer, int64 [n, T]; else `UNSCORED`."""
    after = rows[:, 1:].long()
    place = torch.arange(1, rows.shape[1], device=rows.device)
    return torch.where((after != NOTHING) & (place >= asked[:, None]), after, UNSCORED)


def split_of(pairs: Sequence[Pair], tokens: Tokens) -> Split:
    """Pairs as samples.

    Inputs: `tokens` int32 [N, T + 1]; `asked` int64 [N], how many come before the answer; `paraphrased` int32 [N, S]
    and `perturbed` int32 [N, P, S], rows of the same question with other answers, all `NOTHING` where there are none;
    `kind` uint8 [N].
    """
    rows, asked = zip(*(tokens.row(pair.question, pair.answer) for pair in pairs), strict=True)
    reworded = [tokens.row(pair.question, pair.paraphrased)[0] for pair in pairs]
    wrong = [[tokens.row(pair.question, answer)[0] for answer in pair.perturbed] for pair in pairs]
    count = min((len(answers) for answers in wrong if answers), default=0)
    flat = filled([*reworded, *(row for answers in wrong for row in (answers or [[]] * count)[:count])])
    inputs = {
        "tokens": filled(rows),
        "asked": torch.tensor(asked),
        "paraphrased": flat[: len(pairs)],
        "perturbed": flat[len(pairs) :].view(len(pairs), count, flat.shape[1]),
        "kind": torch.tensor([pair.kind for pair in pairs], dtype=torch.uint8),
    }
    groups = torch.tensor([pair.group for pair in pairs])
    return Split(inputs, targets_of(inputs["tokens"], inputs["asked"]), groups)


def padded(train: Split, test: Split) -> tuple[Split, Split]:
    """Both splits with rows as long as the longest of either."""
    longest = max(split.inputs["tokens"].shape[1] for split in (train, test))
    return _longer(train, longest), _longer(test, longest)


def _longer(split: Split, length: int) -> Split:
    rows = split.inputs["tokens"]
    more = torch.full((len(rows), length - rows.shape[1]), NOTHING, dtype=rows.dtype)
    inputs = {**split.inputs, "tokens": torch.cat([rows, more], dim=1)}
    return Split(inputs, targets_of(inputs["tokens"], inputs["asked"]), split.groups)


def filled(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of unequal length, int32 [n, longest]."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[NOTHING] * (longest - len(row))] for row in rows], dtype=torch.int32)


def tokens_for(pairs: Iterable[Pair], vocabulary: int, tokenizer: str, before: str, between: str) -> Tokens:
    """The tokens of a saved tokenizer (its folder), or, where that is empty, of one that is made from the texts.

    Raises RequestError where there is no such tokenizer.
    """
    if tokenizer:
        return replace(saved(tokenizer), before=before, between=between)
    texts = (
        f"{before}{pair.question}{between} {answer}"
        for pair in pairs
        for answer in (pair.answer, pair.paraphrased, *pair.perturbed)
    )
    return replace(trained(texts, vocabulary), before=before, between=between)


def saved(folder: str) -> Tokens:
    """The tokenizer that transformers saved in a folder. No code from there is run, and nothing is downloaded."""
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise RequestError(f"dataset.tokenizer={folder} is no folder: save a tokenizer there by save_pretrained")
    try:
        found = transformers().AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise RequestError(
            f"dataset.tokenizer={folder} cannot be read by transformers: {' '.join(str(error).split())[:200]}"
        ) from error
    if not found.is_fast or found.eos_token_id is None:
        raise RequestError(
            f"dataset.tokenizer={folder} must be one of the package tokenizers, with a token that ends texts"
        )
    return Tokens(canonical(found.backend_tokenizer.to_str()), len(found), int(found.eos_token_id))


def trained(texts: Iterable[str], vocabulary: int) -> Tokens:
    """A byte-level BPE of at most that many tokens (Sennrich et al., arXiv 1508.07909), made from these texts.

    Any text can be written in it, since every byte is a token. The same texts give the same tokens.
    """
    check_extra()
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(sorted(texts), trainer)
    end = made.token_to_id(END)
    assert end is not None
    return Tokens(canonical(made.to_str()), made.get_vocab_size(), end)


def canonical(tokenizer: str) -> str:
    """The same JSON, always written the same way: it is part of store keys."""
    return json.dumps(json.loads(tokenizer), sort_keys=True, ensure_ascii=False)


@lru_cache(maxsize=8)
def _read(tokenizer: str) -> Any:
    from tokenizers import Tokenizer

    found = Tokenizer.from_str(tokenizer)
    found.no_truncation()
    found.no_padding()
    return found
