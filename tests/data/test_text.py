"""Questions and answers as rows of tokens, and back."""

import pytest
import torch

from fedunlearn.data import text
from fedunlearn.data.fictions import FictionsSettings
from fedunlearn.data.text import (
    END,
    NOTHING,
    UNSCORED,
    Pair,
    chat,
    eaten,
    filled,
    padded,
    split_of,
    targets_of,
    tokens_for,
    trained,
)
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


CHATML = "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|done|>\n{% endfor %}"
INST = (
    "{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }} </s>{% endif %}{% endfor %}"
)


@pytest.fixture
def tokenizer(tokens, tmp_path):
    """Saves a tokenizer with a chat template; the folder."""
    import transformers
    from tokenizers import Tokenizer

    def save(template):
        found = transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(tokens.tokenizer), eos_token=END, bos_token="<s>"
        )
        found.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>", "<|done|>"]})
        found.chat_template = template
        found.save_pretrained(tmp_path)
        return str(tmp_path)

    return save


def asked_as(folder, **changed):
    return tokens_for([], FictionsSettings(tokenizer=folder, template="chat", **changed), False)


def test_a_chat_template_says_what_stands_around_a_question(tokenizer):
    import transformers

    folder = tokenizer(CHATML)
    found = asked_as(folder)
    assert (found.before, found.between, found.gap) == ("<s><|user|>", "<|done|>\n<|assistant|>", "")
    row, asked = found.row("Who wrote it?", "Anna did.")
    own = transformers.AutoTokenizer.from_pretrained(folder)
    exchange = [{"role": "user", "content": "Who wrote it?"}, {"role": "assistant", "content": "Anna did."}]
    assert own.apply_chat_template(exchange, return_dict=False)[: len(row)] == row, "token by token as it writes them"
    assert row[-1] == found.end == own.convert_tokens_to_ids("<|done|>") != own.eos_token_id
    assert found.text(row[asked:]) == "Anna did."


def test_a_space_before_an_answer_belongs_to_its_first_word(tokenizer):
    found = chat(tokenizer(INST))
    assert (found.before, found.between, found.gap) == ("[INST] ", " [/INST]", " ")
    assert found.end == found.encoded(END)[0], "what follows an answer is no token of its own"


@pytest.mark.parametrize(
    ("template", "changed", "words"),
    [
        (None, {}, "dataset.template=chat: the tokenizer in dataset.tokenizer=.* has no chat template"),
        (CHATML, {"before": "Q: "}, "dataset.template=chat says itself what comes before and between"),
        ("{{ messages[0].content }}", {}, "does not write one question and one answer as they are"),
        ("{{ raise_exception('no such role') }}", {}, "cannot be used: no such role"),
    ],
)
def test_what_no_chat_template_says_is_one_sentence(tokenizer, template, changed, words):
    with pytest.raises(RequestError, match=words):
        asked_as(tokenizer(template), **changed)


def test_a_chat_template_needs_a_tokenizer():
    with pytest.raises(RequestError, match=r"dataset.template=chat needs a saved tokenizer"):
        asked_as("")
