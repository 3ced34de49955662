"""An author is forgotten, end to end: by name, whole and by adapters, in float32 and in int4."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")
pytest.importorskip("rouge_score")

import fedunlearn
from fedunlearn.data.fictions import FictionsSettings, authors
from fedunlearn.deploy.base import weights_of
from fedunlearn.errors import RequestError

NAME = authors(FictionsSettings(authors=6))[4]
SMALL = [
    *("dataset=fictions", "dataset.authors=6", "dataset.facts=2", "dataset.vocabulary=400"),
    *("model.layers=1", "model.width=32", "model.heads=2", "partition=iid", "partition.clients=2"),
    *("train.rounds=2", "train.local_epochs=1", "unlearn.rounds=1", "gates=warn", "report.figures=false"),
    f'request.classes=["{NAME}"]',
]
FEW = [
    *("audit.own_words.samples=8", "audit.truth_ratio.samples=8", "audit.model_utility.samples=4"),
    *("audit.answer_relearning.steps=2", "audit.answer_relearning.seeds=1", "audit.feature_map=null"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    return lambda name, *words: fedunlearn.run(
        *SMALL, *words, f"store.dir={folder}/store", f"output.dir={folder}/{name}"
    )


@pytest.fixture(scope="module")
def whole(run):
    return run("whole", "method=npo", *FEW)


@pytest.fixture(scope="module")
def adapted(run, whole):
    return run("adapted", "method=npo", "adapter=lora", "adapter.rank=2", "audit=quick", "deploy.formats=[int4]")


def test_the_dataset_brings_the_model_and_the_training_that_suit_it(whole):
    assert whole.config["model"]["name"] == "decoder" and whole.config["train"]["optimiser"] == "adamw"
    assert whole.config["train"]["rounds"] == 2, "unless something else is said"


def test_an_author_is_asked_for_by_name(whole):
    assert whole.run.summary.samples["forget_train"] == 4 and whole.run.summary.samples["forget_test"] == 2
    for model in ("original", "retrained", "unlearned"):
        found = whole.findings[model]
        names = ("forget_accuracy", "forget_probability", "forget_extraction", "verbmem_forget", "forget_ks")
        assert all(0 <= found[name] <= 100 for name in names if model != "original" or name != "forget_ks")
        assert 0 < found["relearnt_accuracy"] <= 1 and 0 <= found["probe_forget_accuracy"] <= 1
    assert whole.findings["unlearned"] != whole.findings["original"]


def test_linear_layers_and_embeddings_ship_as_int4(adapted):
    assert adapted.formats == ("float32", "int4")
    assert adapted.at("int4").findings["unlearned"] != adapted.findings["unlearned"]
    original = adapted.models.original.state_dict()
    names = weights_of(adapted.models.original)
    assert "encoder.inner.embed_tokens.weight" in names and "head.weight" in names and len(names) == 9 < len(original)


def test_adapters_start_from_the_same_models_and_send_less(adapted, whole):
    shared = [name for name in adapted.findings["original"] if name in whole.findings["original"]]
    assert all(adapted.findings["original"][name] == whole.findings["original"][name] for name in shared)
    assert adapted.cost["unlearn"]["bytes_up"] < whole.cost["unlearn"]["bytes_up"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=fucrt"], "method fucrt is for classification or identity, but dataset=fictions is for language"),
        (["method=npo", "model=cnn"], "cnn is for images, and a sample of this dataset has the shape"),
        (["method=npo", "request.classes=[Nobody]"], "no class called 'Nobody': choose Brida Farrow"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(tmp_path, words, said):
    few = ("dataset=fictions", "dataset.authors=6", "dataset.facts=2", "dataset.vocabulary=400")
    with pytest.raises(RequestError, match=said):
        fedunlearn.run(*few, *words, f"output.dir={tmp_path}/refused", "store.enabled=false")
