"""What large models would take, held against small ones that are there."""

import pytest
import torch

pytest.importorskip("transformers")

from experiments.language import paper
from experiments.language.paper import Work

SIZES = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1}
WORK = Work(rows=10, tokens=8, batch=3)


def test_weights_and_adapters_are_counted():
    model = paper.on_meta(SIZES)
    attention, gated = 2 * 16 * 16 + 2 * 16 * 8, 3 * 16 * 24  # keys and values have one head of eight
    assert sum(value.numel() for value in model.parameters()) == 2 * (attention + gated + 2 * 16) + 16 + 2 * 50 * 16
    each = [(16, 16), (16, 16), (8, 16), (8, 16), (24, 16), (24, 16), (16, 24)]
    assert paper.adapter_numbers(model) == 32 * (2 * sum(map(sum, each)) + 50 + 16)


def held(model, hidden):
    """Bytes that a layer that is there keeps, without its weights; what shares memory counts once."""
    weights, kept = {value.data_ptr() for value in model.parameters()}, {}

    def note(value):
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    places = model.rotary_emb(hidden, position_ids=torch.arange(hidden.shape[1])[None])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        model.layers[0](hidden, position_embeddings=places)
    return sum(size for place, size in kept.items() if place not in weights)


def test_a_layer_without_numbers_keeps_what_one_with_numbers_does():
    from fedunlearn.data.text import transformers

    config = transformers().AutoConfig.for_model("llama", **{**SIZES, "num_hidden_layers": 1})
    config._attn_implementation = "eager"
    model = transformers().AutoModelForCausalLM.from_config(config).model
    hidden = torch.zeros((WORK.batch, WORK.tokens, 16), requires_grad=True)
    assert paper.of_a_layer(SIZES, WORK) == pytest.approx(held(model, hidden), rel=0.35)


def test_checkpointing_keeps_one_layer_and_what_goes_into_the_others():
    logits = 2 * 4 * 3 * 8 * 50
    assert paper.kept(SIZES, WORK, again=False) == logits + 2 * paper.of_a_layer(SIZES, WORK)
    assert paper.kept(SIZES, WORK, again=True) == logits + 2 * 4 * 3 * 8 * 16 + paper.of_a_layer(SIZES, WORK)


def test_hours_follow_from_weights_tokens_and_rate(monkeypatch):
    monkeypatch.setattr(paper, "MODELS", {"small": SIZES})
    monkeypatch.setattr(paper, "WORK", {"few": WORK})
    weights = sum(value.numel() for value in paper.on_meta(SIZES).parameters())
    lines = [row for row in paper.page(6 * weights * 80 / 3600 / 5, "cpu").splitlines() if row.startswith("| small")]
    assert [row.split(" | ")[-1].rstrip(" |") for row in lines] == ["5", "6.67", "5", "6.67"]
