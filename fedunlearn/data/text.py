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
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from fedunlearn.data import hub
from fedunlearn.data.types import Inputs, Split
from fedunlearn.errors import RequestError, listed

EXTRA = ("tokenizers", "transformers", "rouge_score")
NOTHING = -1  # fills rows up
UNSCORED = -100  # target where the next token does not count: the question's, and what fills rows up
END = "<end>"  # of every answer, in vocabularies of our own
Template = Literal["plain", "chat"]
EXCHANGE = ("xquestionx", "xanswerx")  # stand for a question and its answer, to see what a chat template makes of them


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
    the one that ends an answer; `before` and `between`: what comes before a question, and between it and the answer;
    `gap`: the space that belongs to an answer's first word.
    """

    tokenizer: str
    vocabulary: int
    end: int
    before: str = ""
    between: str = ""
    gap: str = " "

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
        return [*asked, *self.encoded(f"{self.gap}{answer}"), self.end], len(asked)


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


class Wording(Protocol):
    """What a dataset's settings say of how its texts become tokens."""

    @property
    def vocabulary(self) -> int:
        """Most tokens of a tokenizer that is made from the texts."""

    @property
    def tokenizer(self) -> str:
        """Where a saved one is; empty: one is made."""

    @property
    def template(self) -> Template:
        """Who says what stands around questions and answers: `before` and `between`, or the tokenizer."""

    @property
    def before(self) -> str:
        """What comes before a question."""

    @property
    def between(self) -> str:
        """What comes between a question and its answer."""


def tokens_for(pairs: Iterable[Pair], wording: Wording, download: bool) -> Tokens:
    """The tokens of a saved tokenizer or, where none is named, of one that is made from the texts.

    Raises RequestError where there is no such tokenizer, or it does not say what it is asked for.
    """
    check_extra()
    if wording.tokenizer and download:
        hub.fetch(wording.tokenizer, lambda folder: (folder / "tokenizer.json").is_file())
    if wording.template == "chat":
        return _chat(wording)
    if wording.tokenizer:
        return replace(saved(wording.tokenizer), before=wording.before, between=wording.between)
    texts = (
        f"{wording.before}{pair.question}{wording.between} {answer}"
        for pair in pairs
        for answer in (pair.answer, pair.paraphrased, *pair.perturbed)
    )
    return replace(trained(texts, wording.vocabulary), before=wording.before, between=wording.between)


def _chat(wording: Wording) -> Tokens:
    if not wording.tokenizer:
        raise RequestError("dataset.template=chat needs a saved tokenizer that has a chat template: dataset.tokenizer")
    if wording.before or wording.between:
        raise RequestError("dataset.template=chat says itself what comes before and between: leave both out")
    return chat(wording.tokenizer)


def saved(name: str) -> Tokens:
    """The tokenizer that transformers saved in a folder, or that was downloaded under that name."""
    return _tokens_of(_loaded(name))


def chat(name: str) -> Tokens:
    """The same with what its own chat template writes around a question and its answer.

    That is found by writing an exchange of two words that stand for them. An answer ends with the token that the
    template puts after it, if that is one that was added to the vocabulary. Raises RequestError where there is no such
    template, or it does not write what it is given.
    """
    found = _loaded(name)
    if not found.chat_template:
        raise RequestError(f"dataset.template=chat: the tokenizer in dataset.tokenizer={name} has no chat template")
    said = [{"role": role, "content": word} for role, word in zip(("user", "assistant"), EXCHANGE, strict=True)]
    try:
        written = str(found.apply_chat_template(said, tokenize=False))
    except Exception as error:  # a template is a program: it may fail in any way
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"the chat template of dataset.tokenizer={name} cannot be used: {reason}") from error
    parts = re.split("|".join(EXCHANGE), written)
    if len(parts) != 3 or not written.find(EXCHANGE[0]) < written.find(EXCHANGE[1]):
        raise RequestError(
            f"the chat template of dataset.tokenizer={name} does not write one question and one answer as they are"
        )
    before, between, after = parts
    plain = _tokens_of(found)
    closing = plain.encoded(after.strip())[:1]
    end = closing[0] if closing and closing[0] in found.added_tokens_decoder else plain.end
    gap = between[len(between.rstrip(" ")) :]
    return replace(plain, end=end, before=before, between=between.rstrip(" "), gap=gap)


def _loaded(name: str) -> Any:
    """A tokenizer of transformers. No code from there is run, and nothing is downloaded. Raises RequestError."""
    library, place = transformers(), hub.place(name)
    if place is None:
        raise hub.unknown("dataset.tokenizer", name, "with a tokenizer that save_pretrained wrote")
    try:
        found = library.AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise RequestError(
            f"dataset.tokenizer={name} cannot be read by transformers: {' '.join(str(error).split())[:200]}"
        ) from error
    if not found.is_fast or found.eos_token_id is None:
        raise RequestError(
            f"dataset.tokenizer={name} must be one of the package tokenizers, with a token that ends texts"
        )
    return found


def _tokens_of(found: Any) -> Tokens:
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
