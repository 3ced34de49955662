"""Causal language models of the package transformers: small ones that are trained from scratch, and saved ones.

Rows of text are filled up at the right, and no token sees what comes after it, so that no mask is needed. All dropout
is off: it would draw from a generator that clients share.
"""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from fedunlearn.data import hub
from fedunlearn.data.text import check_extra, saved, transformers
from fedunlearn.data.types import Sample
from fedunlearn.errors import RequestError
from fedunlearn.models.base import ModelFamily
from fedunlearn.settings.schema import Count

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class DecoderSettings:
    """The size of a decoder."""

    architecture: str = "llama"  # a kind of causal language model that transformers knows, such as llama or gpt2
    layers: Count = 2
    width: Count = 96  # of a token's hidden state
    heads: Count = 4  # of attention; a divisor of the width
    # what layers compute in; weights, the head and all that is sent stay float32
    dtype: Dtype = "float32"
    checkpointing: bool = False  # compute what layers say again for gradients: less memory, more time


@dataclass(frozen=True)
class CausalLmSettings:
    """Where the model is."""

    # must be given: a folder that save_pretrained of transformers wrote, with weights in safetensors, or a model's name
    # on huggingface.co, which only data.download=true fetches
    path: str
    # what layers compute in; weights, the head and all that is sent stay float32
    dtype: Dtype = "float32"
    checkpointing: bool = False  # compute what layers say again for gradients: less memory, more time


class Decoder(nn.Module):
    """The hidden states of a language model's last layer, which its head turns into logits.

    `dtype`: what its layers compute in; their weights are float32.
    """

    def __init__(self, inner: nn.Module, dtype: Dtype = "float32") -> None:
        super().__init__()
        self.inner = inner
        self.dtype: Dtype = dtype

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Float32 [n, T, d] of `tokens`, int64 [n, T]. What fills rows up comes last."""
        with torch.autocast(tokens.device.type, torch.bfloat16) if self.dtype == "bfloat16" else nullcontext():
            hidden: Tensor = self.inner(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden.float()


class Checkpointed(nn.Module):
    """A layer that remembers what it was given, and computes the rest again for its gradient.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *given: Any, **more: Any) -> Any:
        """What the layer says."""
        if not torch.is_grad_enabled():
            return self.layer(*given, **more)
        # Of adapters, the layer has its weights on loan (`functional_call`): the second time, they would be gone.
        weights = {**dict(self.layer.named_parameters()), **dict(self.layer.named_buffers())}

        def said(*given: Any) -> Any:
            return functional_call(self.layer, weights, given, more)

        return checkpoint(said, *given, use_reentrant=False, preserve_rng_state=False)  # no layer draws anything


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
    return parts(model, settings)


def from_folder(settings: CausalLmSettings, sample: Sample) -> tuple[nn.Module, nn.Module]:
    """Encoder and head with the weights saved in a folder, or downloaded under a name, in float32.

    No code or pickle from there is ever loaded.

    Raises RequestError where that is no such folder, or its model is for other or shorter texts.
    """
    check_text("causal_lm", sample)
    from safetensors import SafetensorError

    if not weights_in(settings):
        lacks = "with config.json and weights in safetensors, as save_pretrained of transformers writes them"
        raise hub.unknown("model.path", settings.path, lacks)
    folder = hub.place(settings.path)
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
    return parts(model, settings)


def weights_in(settings: CausalLmSettings) -> tuple[Path, ...]:
    """The files that a saved model is made of; none where there is none."""
    folder = hub.place(settings.path)
    return _files(folder) if folder else ()


def fetch(settings: CausalLmSettings) -> None:
    """Download a model that is not there. Raises RequestError."""
    check_extra()
    hub.fetch(settings.path, lambda folder: bool(_files(folder)))


def _files(folder: Path) -> tuple[Path, ...]:
    """Configuration and weights, if none of them is missing: large models lie in several files, with an index."""
    weights, index = sorted(folder.glob("*.safetensors")), folder / "model.safetensors.index.json"
    try:
        wanted = set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.is_file() else set()
    except (ValueError, KeyError, AttributeError):
        return ()
    whole = weights and wanted <= {path.name for path in weights} and (folder / "config.json").is_file()
    return (folder / "config.json", *weights) if whole else ()


def _check_fits(settings: CausalLmSettings, model: Any, sample: Sample) -> None:
    """Raises RequestError for texts in other tokens than the model's, or longer than it takes."""
    folder, room = hub.place(settings.path), model.get_input_embeddings().num_embeddings
    named = folder is not None and (folder / "tokenizer.json").is_file()
    own = saved(settings.path).vocabulary if named else min(room, sample.vocabulary)
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


def parts(model: Any, settings: DecoderSettings | CausalLmSettings) -> tuple[nn.Module, nn.Module]:
    """Encoder and head of a causal language model, whose layers are modules of torch and share no weights.

    Raises RequestError for a model that is more than these, or whose layers cannot be checkpointed.
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
    if settings.checkpointing:
        _checkpoint(encoder.inner, shown)
    return Decoder(encoder.inner, settings.dtype), head


def _checkpoint(network: Any, shown: Tensor) -> None:
    """Wrap every layer of a network; `shown`: tokens to try it with. Raises RequestError."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [name for name, layer in network.named_modules() if isinstance(layer, GradientCheckpointingLayer)]
    for name in layers:
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, Checkpointed(network.get_submodule(name)))
    try:
        network(input_ids=shown, use_cache=False)
    except AttributeError as error:  # it asks its layers for more than what they say
        layers = []
        reason: Exception | None = error
    else:
        reason = None
    if not layers:
        raise RequestError(
            f"model.checkpointing=true is not offered for {type(network).__name__}: its layers cannot be wrapped"
        ) from reason


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
        fetch=fetch,
    ),
}
