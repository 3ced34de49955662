"""Questions and answers as rows of tokens, and back."""

import pytest
import torch

from fedunlearn.data import text
from fedunlearn.data.text import NOTHING, UNSCORED, Pair, eaten, filled, padded, split_of, targets_of, trained
from fedunlearn.errors import RequestError

ROWS = torch.tensor([[5, 6, 7, 8], [5, 9, 3, NOTHING]], dtype=torch.int32)


def test_what_is_eaten_is_all_but_the_last_token():
    inputs = eaten(ROWS)
    assert inputs["tokens"].tolist() == [[5, 6, 7], [5, 9, 3]]
    assert inputs["there"].tolist() == [[True, True, True], [True, True, True]]
    assert eaten(filled([[1], [1, 2, 3]]))["there"].tolist() == [[True, False], [True, True]]


def test_targets_are_the_next_tokens_of_the_answer():
    assert targets_of(ROWS, torch.tensor([2, 1])).tolist() == [[UNSCORED, 7, 8], [9, 3, UNSCORED]]


@pytest.fixture(scope="module")
def tokens():
    for name in text.EXTRA:
        pytest.importorskip(name)
    return trained(["Who wrote it? Anna did.", "Who sang it? Olga did."] * 4, 300)


def test_text_survives_the_way_through_tokens(tokens):
    row, asked = tokens.row("Who wrote it?", "Žofie did, 1999!")  # every byte is a token
    assert tokens.text(row) == "Who wrote it? Žofie did, 1999!"
    assert tokens.text(row[asked:]) == "Žofie did, 1999!"
    assert row[-1] == tokens.end and tokens.text([*row, 7, 7]) == tokens.text(row)


def test_samples(tokens):
    pairs = [
        Pair("Who wrote it?", "Anna did.", 0, "Anna.", ("Olga.", "Mary.")),
        Pair("Who?", "Olga.", 1, "O.", ("A.",), 1),
    ]
    split = split_of(pairs, tokens)
    for row, (targets, pair) in enumerate(zip(split.targets, pairs, strict=True)):
        assert tokens.text(targets[targets != UNSCORED]) == pair.answer
        assert targets[targets != UNSCORED][-1] == tokens.end
        assert tokens.text(split.inputs["paraphrased"][row]) == f"{pair.question} {pair.paraphrased}"
        assert tokens.text(split.inputs["perturbed"][row, 0]) == f"{pair.question} {pair.perturbed[0]}"
    assert split.inputs["perturbed"].shape[1] == 1, "as many as every pair has"
    assert split.groups.tolist() == [0, 1] and split.inputs["kind"].tolist() == [0, 1]
    short, long = padded(split.at(torch.tensor([1])), split)
    assert short.inputs["tokens"].shape[1] == long.inputs["tokens"].shape[1] == short.targets.shape[1] + 1


def test_a_missing_extra_is_one_sentence(monkeypatch):
    there = {"tokenizers", "transformers"}
    monkeypatch.setattr(text.importlib.util, "find_spec", lambda name: name if name in there else None)
    with pytest.raises(RequestError, match=r"language models need rouge-score, which is not.*'fedunlearn\[language\]'"):
        trained(["a"], 300)
