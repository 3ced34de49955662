"""What a model is here: an encoder, whose features are the representation, and a head on top of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fedunlearn.data.types import Inputs, Sample
from fedunlearn.errors import RequestError
from fedunlearn.randomness import derive
from fedunlearn.settings import registry

# PyTorch initialises layers from one generator for the whole process. Two threads that seed it draw each other's
# numbers, or wait for each other for ever: one holds the generator and wants the interpreter, the other the reverse.
_SEEDED = Lock()


class Network(nn.Module):
    """An encoder of the inputs (in their order) into features [n, d], and a head on these, which the task brings.

    `channels_last`: does it compute on images whose channels lie side by side in memory, or channel after channel?
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, channels_last: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.channels_last = channels_last

    def laid_out(self, device: torch.device) -> Network:
        """Itself, on the device and in the memory layout to compute in: on a GPU, channels-last for every model."""
        self.channels_last = self.channels_last or device.type == "cuda"
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return self.to(device).to(memory_format=layout)  # type: ignore[call-overload, no-any-return]

    def train(self, mode: bool = True) -> Network:
        """As in every module, at a tenth of the price: clients change the mode in every round."""
        waiting: list[nn.Module] = [self]
        for module in waiting:
            module.__dict__["training"] = mode  # past `nn.Module.__setattr__`, which looks for parameters
            for child in module._modules.values():
                if child is not None and getattr(child.train, "__func__", None) is nn.Module.train:
                    waiting.append(child)
                elif child is not None:  # it has a way of its own, such as layers that stay in evaluation mode
                    child.train(mode)
        return self

    def features(self, inputs: Inputs) -> Tensor:
        """Penultimate representation z, float [n, d]; of text, float [n, T, d], one for each token."""
        # Images come channels-last, and one such input is enough for a convolution to compute and answer likewise.
        given = inputs.values() if self.channels_last else [values.contiguous() for values in inputs.values()]
        features: Tensor = self.encoder(*given)
        return features

    def forward(self, inputs: Inputs) -> Tensor:
        """What the head makes of the features, such as logits [n, classes]."""
        said: Tensor = self.head(self.features(inputs))
        return said


class Around(nn.Module):
    """A function around a model: `torch.func.functional_call` lends the model weights as long as the function runs.

    The weights' names have the prefix `model.`.
    """

    def __init__(self, model: Network, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self._function = function

    def forward(self, *given: Any) -> Any:
        """What the function makes of `given`."""
        return self._function(*given)


class LinearHead(NamedTuple):
    """The names of a linear head's tensors in the model: weight [classes, d] and bias [classes]."""

    weight: str
    bias: str


def linear_head(model: Network) -> LinearHead:
    """Where the model's linear head is, for those that edit it. Raises RequestError if it has none with a bias."""
    if not isinstance(model.head, nn.Linear) or model.head.bias is None:
        raise RequestError("a linear head with a bias is needed, and the model's head is none")
    return LinearHead("head.weight", "head.bias")


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training moves, by name. Others are frozen, and methods leave them as they are."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def has_logits(model: Network) -> bool:
    """Does the model put out a number for each class, by a linear head? Others embed."""
    return isinstance(model.head, nn.Linear)


@dataclass(frozen=True)
class ModelFamily:
    """A registered architecture. `encoder(settings, shape)` returns the feature extractor and its output width d.

    `shape`: of a sample's first input, such as (C, H, W). Raises RequestError from `encoder` where it does not fit.
    `channels_last`: is the memory layout of that name the faster one on a CPU? (docs/scaling.md) `whole(settings,
    sample)`: encoder and head, for an architecture that is more than an encoder of one shape under the task's head: a
    language model depends on the vocabulary, and may bring a head of its own. `files(settings)`: what initial weights
    are read from; their content is part of store keys. `fetch(settings)`: downloads those that are not there; asked
    only if `data.download` is true.
    """

    name: str
    settings: type
    encoder: Callable[[Any, tuple[int, ...]], tuple[nn.Module, int]] | None = None
    about: str = ""  # for those who read conf/
    channels_last: bool = False
    whole: Callable[[Any, Sample], tuple[nn.Module, nn.Module]] | None = None
    files: Callable[[Any], tuple[Path, ...]] = lambda settings: ()
    fetch: Callable[[Any], None] = lambda settings: None

    def parts(self, settings: Any, sample: Sample, head: Callable[[int], nn.Module]) -> tuple[nn.Module, nn.Module]:
        """Encoder and head of a model for such samples, with `head(d)` on d features unless it brings its own."""
        if self.whole:
            return self.whole(settings, sample)
        assert self.encoder is not None, f"model {self.name} has neither an encoder nor a whole"
        encoder, width = self.encoder(settings, sample.shape)
        return encoder, head(width)


def fetch(name: str, settings: Any) -> None:
    """Download what a model's initial weights are read from, where it is not there. Raises RequestError."""
    registry.find("model", name).fetch(settings)


def build(name: str, settings: Any, sample: Sample, head: Callable[[int], nn.Module], seed: int) -> Network:
    """A freshly initialised model; its weights depend on `seed` alone. `head(d)`: a head on d features."""
    family: ModelFamily = registry.find("model", name)
    with _SEEDED, torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        return Network(*family.parts(settings, sample, head), family.channels_last)


def image_shape(model: str, shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """(C, H, W), for models of images. Raises RequestError where `shape` is none, or below `smallest` pixels."""
    if len(shape) != 3:
        raise RequestError(f"{model} is for images, and a sample of this dataset has the shape {list(shape)}")
    channels, height, width = shape
    if min(height, width) < smallest:
        raise RequestError(f"{model} needs images of at least {smallest}x{smallest}, not {height}x{width}")
    return channels, height, width
