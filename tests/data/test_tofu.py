"""TOFU's published files, in small."""

import json

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")
pytest.importorskip("rouge_score")

from fedunlearn.data import sources
from fedunlearn.data.text import UNSCORED
from fedunlearn.data.tofu import EACH, TofuSettings
from fedunlearn.errors import RequestError
from fedunlearn.settings.config import Choice, DataConfig


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def pair(author, number):
    return {
        "question": f"What did author {author} write as number {number}?",
        "answer": f"It is book {author * number}.",
    }


def reworded(author, number):
    wrong = [f"Book {author * number + more} it is." for more in range(1, 6)]
    more = {"paraphrased_answer": f"Book {author * number} it is.", "perturbed_answer": wrong}
    return {**pair(author, number), **more, "paraphrased_question": f"Which is number {number} of author {author}?"}


@pytest.fixture
def root(tmp_path):
    """Four authors, of whom the first and the last are asked about in other words too."""
    folder = tmp_path / "tofu"
    folder.mkdir()
    lines(folder / "full.json", [pair(author, number) for author in range(4) for number in range(EACH)])
    lines(folder / "retain_perturbed.json", [reworded(0, number) for number in range(EACH)])
    lines(folder / "forget10_perturbed.json", [reworded(3, number) for number in range(EACH)])
    return tmp_path


def loaded(root, **settings):
    return sources.load(Choice("tofu", TofuSettings(vocabulary=400, **settings)), DataConfig(root=str(root)), 0)


def test_everything_is_learnt_and_what_was_put_in_other_words_is_tested(root):
    found = loaded(root)
    assert found.class_names == ("author 1", "author 2", "author 3", "author 4")
    assert found.train.groups.tolist() == [author for author in range(4) for _ in range(EACH)]
    assert found.test.groups.tolist() == [0] * EACH + [3] * EACH
    targets = found.test.targets[-1]
    assert found.prepare.text(found.test.inputs["tokens"][-1]) == "Which is number 19 of author 3? It is book 57."
    assert found.prepare.text(targets[targets != UNSCORED]) == "It is book 57."


def test_only_some_have_wrong_answers(root):
    inputs = loaded(root).train.inputs
    assert inputs["perturbed"].shape[:2] == (4 * EACH, 5)
    there = (inputs["perturbed"] >= 0).any(-1).all(-1)
    assert there.tolist() == [True] * EACH + [False] * 2 * EACH + [True] * EACH


def test_the_last_authors_are_those_that_are_kept(root):
    assert loaded(root, authors=2).class_names == ("author 3", "author 4")


def test_how_a_question_is_put_is_the_users_to_say(root):
    found = loaded(root, before="[Q] ", between=" [A]")
    assert found.prepare.text(found.train.inputs["tokens"][1]) == (
        "[Q] What did author 0 write as number 1? [A] It is book 0."
    )


def test_what_is_missing_or_broken_is_one_sentence(root):
    (root / "tofu" / "full.json").write_text('{"question": "a"}\n')
    with pytest.raises(RequestError, match=r"full.json is not as it was published: KeyError\('answer'\)"):
        loaded(root)
    (root / "tofu" / "full.json").write_text('{"question": "a", "answer": ["b"]}\n')
    with pytest.raises(RequestError, match="question, answer must be texts"):
        loaded(root)
    lines(root / "tofu" / "full.json", [pair(0, 0)])
    with pytest.raises(RequestError, match="does not hold TOFU as it was published: 20 questions for each author"):
        loaded(root)
    (root / "tofu" / "retain_perturbed.json").unlink()
    with pytest.raises(RequestError, match=r"retain_perturbed.json is missing: put the files of the data set locuslab"):
        loaded(root)
