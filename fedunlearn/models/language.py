"""Causal language models of the package transformers: small ones that are trained from scratch, and saved ones.

Rows of text are filled up at the right, and no token sees what comes after it, so that no mask is needed. All dropout
is off: it would draw from a generator that clients share.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedunlearn.data.text import saved, transformers
from fedunlearn.data.types import Sample
from fedunlearn.errors import RequestError
from fedunlearn.models.base import ModelFamily
from fedunlearn.settings.schema import Count


@dataclass(frozen=True)
class DecoderSettings:
    """The size of a decoder."""

    architecture: str = "llama"  # a kind of causal language model that transformers knows, such as llama or gpt2
    layers: Count = 2
    width: Count = 96  # of a token's hidden state
    heads: Count = 4  # of attention; a divisor of the width


@dataclass(frozen=True)
class CausalLmSettings:
    """Where the model is."""

    # must be given: a folder that save_pretrained of transformers wrote, with weights in safetensors
    path: str


class Decoder(nn.Module):
    """The hidden states of a language model's last layer, which its head turns into logits."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Float [n, T, d] of `tokens`, int64 [n, T]. What fills rows up comes last."""
        hidden: Tensor = self.inner(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden


def whole(settings: DecoderSettings, sample: Sample) -> tuple[nn.Module, nn.Module]:
    """Encoder and head with new weights. Raises RequestError where there are no such models, or no texts."""
    check_text("decoder", sample)
    if settings.width % settings.heads:
        raise RequestError(f"model.width={settings.width} must be a multiple of model.heads={settings.heads}")
    sizes = {
        "vocab_size": sample.vocabulary,
        "hidden_size": settings.width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "max_position_embeddings": max(64, 2 * sample.shape[0]),
        "tie_word_embeddings": False,
    }
    library = transformers()
    try:
        config = library.AutoConfig.for_model(settings.architecture, **sizes)
        if hasattr(config, "intermediate_size"):
            config.intermediate_size = 2 * settings.width
        if hasattr(config, "num_key_value_heads"):
            config.num_key_value_heads = settings.heads
        model = library.AutoModelForCausalLM.from_config(without_dropout(config))
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(
            f"model.architecture={settings.architecture} cannot be made by transformers: {reason}"
        ) from error
    return parts(model)


def from_folder(settings: CausalLmSettings, sample: Sample) -> tuple[nn.Module, nn.Module]:
    """Encoder and head with the weights saved in a folder, in float32. No code or pickle from there is ever loaded.

    Raises RequestError where that is no such folder, or its model is for other or shorter texts.
    """
    check_text("causal_lm", sample)
    from safetensors import SafetensorError

    folder = Path(settings.path).expanduser()
    if not weights_in(settings):
        raise RequestError(
            f"model.path={settings.path} is no folder with config.json and weights in safetensors, as save_pretrained "
            "of transformers writes them"
        )
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    library = transformers()
    try:
        local["config"] = without_dropout(library.AutoConfig.from_pretrained(folder, **local))
        local |= {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
        model, loaded = library.AutoModelForCausalLM.from_pretrained(folder, **local)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"model.path={settings.path} cannot be read by transformers: {reason}") from error
    if loaded["missing_keys"]:
        raise RequestError(f"model.path={settings.path} lacks weights: {', '.join(sorted(loaded['missing_keys'])[:3])}")
    _check_fits(settings, model, sample)
    return parts(model)


def weights_in(settings: CausalLmSettings) -> tuple[Path, ...]:
    """The files that a saved model is made of; none where there is none."""
    folder = Path(settings.path).expanduser()
    weights = sorted(folder.glob("*.safetensors"))
    return (folder / "config.json", *weights) if weights and (folder / "config.json").is_file() else ()


def _check_fits(settings: CausalLmSettings, model: Any, sample: Sample) -> None:
    """Raises RequestError for texts in other tokens than the model's, or longer than it takes."""
    folder, room = Path(settings.path).expanduser(), model.get_input_embeddings().num_embeddings
    own = saved(settings.path).vocabulary if (folder / "tokenizer.json").is_file() else min(room, sample.vocabulary)
    if sample.vocabulary != own or own > room:
        raise RequestError(
            f"the dataset's texts are in {sample.vocabulary} tokens, and the model in model.path={settings.path} knows "
            f"{min(own, room)}: give its tokenizer as dataset.tokenizer={settings.path}"
        )
    longest, needed = getattr(model.config, "max_position_embeddings", None), 2 * sample.shape[0]
    if longest and needed > longest:  # audits read other answers, and have it write its own, which may be longer
        raise RequestError(
            f"the model in model.path={settings.path} takes texts of {longest} tokens at most, and the dataset "
            f"needs room for {needed}"
        )


def parts(model: Any) -> tuple[nn.Module, nn.Module]:
    """Encoder and head of a causal language model, whose layers are modules of torch and share no weights.

    Raises RequestError for a model that is more than these.
    """
    shown, training = torch.zeros((1, 2), dtype=torch.int64), model.training
    model.eval()
    with torch.no_grad():
        said = model(input_ids=shown).logits
        encoder, head = Decoder(with_linear_layers(model.base_model)), model.get_output_embeddings()
        head = copy.deepcopy(head) if any(weight is head.weight for weight in encoder.parameters()) else head
        ours = head(encoder(shown, shown >= 0))
    model.train(training)
    if not torch.allclose(said, ours, rtol=1e-3, atol=1e-3):
        raise RequestError(f"{type(model).__name__} is more than a linear head on hidden states, which is not offered")
    return encoder, head


def with_linear_layers(network: Any) -> nn.Module:
    """The same with torch's linear layers in place of the transposed ones of GPT-2, for adapters and formats."""
    from transformers.pytorch_utils import Conv1D

    for name, old in [(name, old) for name, old in network.named_modules() if isinstance(old, Conv1D)]:
        new = nn.Linear(*old.weight.shape)
        new.weight, new.bias = nn.Parameter(old.weight.detach().t().contiguous()), old.bias
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, new)
    return network  # type: ignore[no-any-return]


def without_dropout(config: Any) -> Any:
    """The configuration of a model, with every rate of dropout 0."""
    for name, value in config.to_dict().items():
        if isinstance(value, float) and "drop" in name:
            setattr(config, name, 0.0)
    return config


def check_text(model: str, sample: Sample) -> None:
    """Raises RequestError for samples that are no text."""
    if not sample.vocabulary:
        raise RequestError(f"{model} is for text, and a sample of this dataset has the shape {list(sample.shape)}")


MODELS = {
    "decoder": ModelFamily(
        "decoder",
        DecoderSettings,
        about="a small language model, trained from scratch; needs pip install 'fedunlearn[language]'",
        whole=whole,
    ),
    "causal_lm": ModelFamily(
        "causal_lm",
        CausalLmSettings,
        about="a causal language model that transformers saved; needs pip install 'fedunlearn[language]'",
        whole=from_folder,
        files=weights_in,
    ),
}
