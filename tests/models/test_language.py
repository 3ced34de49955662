"""Language models of transformers as encoder and head."""

import copy
import json
import shutil

import pytest
import torch
from torch.func import functional_call

pytest.importorskip("transformers")

from fedunlearn.data.text import END, saved, trained
from fedunlearn.data.types import Dataset, Sample
from fedunlearn.deploy.base import weights_of
from fedunlearn.errors import RequestError
from fedunlearn.models.base import Around, build, fetch
from fedunlearn.models.language import CausalLmSettings, Checkpointed, DecoderSettings, weights_in
from fedunlearn.models.lora import matrices
from fedunlearn.tasks.language import TASKS

SMALL = DecoderSettings(layers=1, width=16, heads=2)


def made(fictions: Dataset, settings: DecoderSettings = SMALL, seed: int = 0):
    return build("decoder", settings, fictions.sample, lambda width: None, seed)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_no_token_sees_what_comes_after_it(fictions, architecture):
    model = made(fictions, DecoderSettings(architecture, layers=1, width=16, heads=2)).eval()
    inputs = fictions.prepare(fictions.train.at(torch.arange(3)).inputs)
    said = TASKS["language"].outputs(model, inputs)
    assert said.logits.shape == (
        3,
        fictions.sample.shape[0] - 1,
        fictions.sample.vocabulary,
    ) and said.features.shape == (3, 16)
    changed = {**inputs, "tokens": inputs["tokens"].clone()}
    changed["tokens"][:, 8:] = 7
    torch.testing.assert_close(TASKS["language"].outputs(model, changed).logits[:, :8], said.logits[:, :8])


def test_weights_depend_on_the_seed_alone_and_nothing_is_dropped_out(fictions):
    first, again, other = (made(fictions, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    model = made(fictions, DecoderSettings("gpt2", layers=1, width=16, heads=2)).train()
    inputs = fictions.prepare(fictions.train.at(torch.arange(3)).inputs)
    torch.testing.assert_close(model(inputs), model(inputs))


def test_adapters_find_its_linear_layers(fictions):
    names = matrices(made(fictions), ("linear",))
    assert "encoder.inner.layers.0.self_attn.q_proj.weight" in names and len(names) == 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (DecoderSettings("lama"), "model.architecture=lama cannot be made"),
        (DecoderSettings(width=10, heads=4), "model.width=10 must be a multiple of model.heads=4"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(fictions, settings, words):
    with pytest.raises(RequestError, match=words):
        made(fictions, settings)


def test_pictures_are_no_text(make_federation):
    with pytest.raises(RequestError, match="decoder is for text, and a sample of this dataset has the shape"):
        made(make_federation().dataset)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folder(request, tmp_path_factory):
    """A model with tied embeddings and its tokenizer, as transformers saves them."""
    import transformers
    from tokenizers import Tokenizer

    place = tmp_path_factory.mktemp(request.param)
    tokenizer = Tokenizer.from_str(trained(["Who wrote it? Anna did.", "Who sang it? Olga did."] * 4, 300).tokenizer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(place)
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "hidden_size": 16, "num_attention_heads": 2}
    sizes |= {"num_hidden_layers": 1, "tie_word_embeddings": True, "max_position_embeddings": 64}
    config = transformers.AutoConfig.for_model(request.param, **sizes)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(place)
    return place


def loaded(place, **changed):
    tokens = saved(str(place))
    sample = Sample(**{"shape": (20,), "vocabulary": tokens.vocabulary, **changed})
    return build("causal_lm", CausalLmSettings(str(place)), sample, lambda width: None, 0)


def test_a_saved_model_says_here_what_it_says_in_transformers(folder):
    import transformers

    model = loaded(folder).eval()
    tokens = torch.tensor([saved(str(folder)).encoded("Who wrote it?")])
    said = model({"tokens": tokens, "there": tokens >= 0})
    expected = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=tokens).logits
    torch.testing.assert_close(said, expected)


def test_its_layers_are_linear_and_none_shares_weights(folder):
    model = loaded(folder)
    sizes = [parameter.numel() for parameter in model.parameters()]
    assert sum(sizes) == sum(value.numel() for value in model.state_dict().values())
    rounded = set(weights_of(model))
    assert rounded == {name for name, value in model.named_parameters() if value.dim() == 2}
    assert set(matrices(model, ("linear", "embedding"))) == rounded


def test_a_saved_tokenizer_is_read_as_it_is(folder):
    tokens = saved(str(folder))
    row, asked = tokens.row("Who wrote it?", "Anna did.")
    assert tokens.text(row[asked:]) == "Anna did." and row[-1] == tokens.end == tokens.encoded(END)[0]
    assert tokens == saved(str(folder)) != trained(["a"], 300)


def test_what_a_folder_lacks_is_one_sentence(folder, tmp_path):
    for words, place, changed in [
        ("give its tokenizer as dataset.tokenizer=", folder, {"vocabulary": 200}),
        ("takes texts of 64 tokens at most, and the dataset needs room for 80", folder, {"shape": (40,)}),
    ]:
        with pytest.raises(RequestError, match=words):
            loaded(place, **changed)
    with pytest.raises(RequestError, match=r"model.path=.* is no folder with config.json and weights in safetensors"):
        build("causal_lm", CausalLmSettings(str(tmp_path)), Sample((20,), 300), lambda width: None, 0)
    with pytest.raises(RequestError, match=r"dataset.tokenizer=nowhere is no folder"):
        saved("nowhere")


def test_a_pickle_is_not_read(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(RequestError, match=r"is no folder with config.json and weights in safetensors"):
        build("causal_lm", CausalLmSettings(str(tmp_path)), Sample((20,), 300), lambda width: None, 0)
    (tmp_path / "model.safetensors").write_bytes(b"not at all")
    with pytest.raises(RequestError, match=r"model.path=.* cannot be read by transformers"):
        build("causal_lm", CausalLmSettings(str(tmp_path)), Sample((20,), 300), lambda width: None, 0)


def answered(model, inputs):
    return model(inputs).logsumexp(-1).square().mean()


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_checkpointing_changes_no_gradient(fictions, architecture):
    sizes = {"architecture": architecture, "layers": 2, "width": 16, "heads": 2}
    plain, thrifty = (made(fictions, DecoderSettings(**sizes, checkpointing=each)).train() for each in (False, True))
    assert sum(isinstance(module, Checkpointed) for module in thrifty.modules()) == 2
    inputs = fictions.prepare(fictions.train.at(torch.arange(3)).inputs)
    for model in (plain, thrifty, copy.deepcopy(thrifty)):
        answered(model, inputs).backward()
        assert all(
            torch.equal(one.grad, other.grad) for one, other in zip(plain.parameters(), model.parameters(), strict=True)
        )


def test_checkpointing_computes_again_with_the_weights_on_loan(fictions):
    """As adapters lend them: the gradient is asked for when the model has its own again."""
    plain, thrifty = (made(fictions, DecoderSettings(layers=1, width=16, heads=2, checkpointing=c)) for c in (0, 1))
    inputs, found = fictions.prepare(fictions.train.at(torch.arange(3)).inputs), []
    for model in (plain, thrifty):
        lent = {f"model.{name}": (1.5 * value).detach().requires_grad_() for name, value in model.named_parameters()}
        answer = functional_call(Around(model, lambda inputs, model=model: answered(model, inputs)), lent, (inputs,))
        answer.backward()
        found.append([value.grad for value in lent.values()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def held(model, inputs):
    """How many numbers wait for the gradient."""
    sizes = []

    def note(value):
        sizes.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        answered(model, inputs)
    return sum(sizes)


def test_checkpointing_holds_less(fictions):
    plain, thrifty = (made(fictions, DecoderSettings(layers=2, width=16, heads=2, checkpointing=c)) for c in (0, 1))
    inputs = fictions.prepare(fictions.train.at(torch.arange(3)).inputs)
    assert held(thrifty.train(), inputs) < 0.7 * held(plain.train(), inputs)


def test_bfloat16_is_of_products_alone(fictions):
    exact, low = (
        made(fictions, DecoderSettings(layers=1, width=16, heads=2, dtype=d)) for d in ("float32", "bfloat16")
    )
    inputs = fictions.prepare(fictions.train.at(torch.arange(3)).inputs)
    features = [model.features(inputs) for model in (exact, low)]
    assert features[1].dtype == torch.float32 and not torch.equal(*features)
    torch.testing.assert_close(*features, rtol=0.05, atol=0.05)
    answered(low, inputs).backward()
    assert {value.dtype for value in low.state_dict().values()} == {torch.float32}
    assert all(value.grad.dtype == torch.float32 for value in low.parameters())


@pytest.fixture
def on_a_hub(folder, tmp_path, monkeypatch):
    """A hub that has the model in `folder` under the name org/small."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot_download(name, allow_patterns, local_files_only):
        if local_files_only and not (tmp_path / "cache").exists():
            raise LocalEntryNotFoundError(name)
        shutil.copytree(folder, tmp_path / "cache", dirs_exist_ok=True)
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return CausalLmSettings("org/small")


def test_a_model_is_had_by_name_once_it_was_fetched(on_a_hub, folder):
    sample = Sample((20,), saved(str(folder)).vocabulary)
    with pytest.raises(RequestError, match=r"model.path=org/small is no folder .* data.download=true fetches it"):
        build("causal_lm", on_a_hub, sample, lambda width: None, 0)
    fetch("causal_lm", on_a_hub)
    one, other = build("causal_lm", on_a_hub, sample, lambda width: None, 0), loaded(folder)
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))
    assert saved("org/small") == saved(str(folder))


def test_a_model_without_all_of_its_files_is_not_there(folder, tmp_path):
    place = tmp_path / "model"
    shutil.copytree(folder, place)
    assert len(weights_in(CausalLmSettings(str(place)))) == 2
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_in(CausalLmSettings(str(place))) == ()
