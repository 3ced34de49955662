"""What models of the papers' size would take here: memory and time, from their shapes and one timed step.

    python -m experiments.language --size paper

No weights are there and none are fetched: models are made on PyTorch's meta device, which knows shapes alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.sweeps import markdown
from fedunlearn.data.text import transformers
from fedunlearn.data.types import Sample
from fedunlearn.models.language import DecoderSettings, whole
from fedunlearn.models.lora import matrices
from fedunlearn.report.formats import fixed, quantity

FLOAT = 4  # bytes: weights, gradients and all that is sent are float32
GIB = 2**30
RANK = 32
LLAMA_2 = {"vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32}
LLAMA_3 = {"vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}
MODELS: Mapping[str, Mapping[str, int]] = {  # the sizes that their publishers give
    "Llama-2-7B": {**LLAMA_2, "num_attention_heads": 32, "num_key_value_heads": 32},
    "Llama-3.2-1B": {**LLAMA_3, "num_attention_heads": 32, "num_key_value_heads": 8},
}
# Copies of all weights that a round holds at once where clients are trained one after another, by our reading of the
# code: the model, what was received, gradients, AdamW's two, a reply, and the server's sum in float64.
WHOLE = 8
# With adapters: the frozen weights, what was received, the merged weights with their gradients, the server's, its sum.
ADAPTED = 7
STEP = DecoderSettings(layers=4, width=256)
READING = """\
*Weights* and *sent* (by each client, each way) are counted. *A round*: {whole} copies of the weights, {adapted} with
adapters (rank {rank} on linear layers, whose own numbers are few), by our reading of the code; all in float32, on one
device. *A step*: what one forward pass keeps for the gradient, counted for one layer and multiplied, with attention
that keeps all of its weights, which the kinds that a GPU is given do not. About half of it with `model.dtype=bfloat16`.
*Hours*: of one epoch over all rows, inferred from the {rate} · 10¹² operations a second that steps of a small model
came to on this device ({device}), at six for each weight and token, eight with checkpointing. Larger models come nearer
to what a device can do. None of these models was trained here."""


@dataclass(frozen=True)
class Work:
    """How many rows of how many tokens an epoch goes through, so many at a time."""

    rows: int
    tokens: int
    batch: int


WORK = {"4,000 rows of 128 tokens (as TOFU)": Work(4000, 128, 4), "1,000 of 2,048 (as MUSE)": Work(1000, 2048, 1)}


def main() -> None:
    """Print the table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(page(operations(device), device.type))


def page(rate: float, device: str) -> str:
    """The table; `rate`: operations a second."""
    header = [
        "model",
        "weights",
        "rows",
        "trained",
        "checkpointing",
        "a round, GiB",
        "a step, GiB",
        "sent, GiB",
        "hours",
    ]
    lines = []
    for name, sizes in MODELS.items():
        model = on_meta(sizes)
        weights = sum(value.numel() for value in model.parameters())
        factors = adapter_numbers(model)
        for (said, work), adapted, again in product(WORK.items(), (False, True), (False, True)):
            held = FLOAT * weights * (ADAPTED if adapted else WHOLE) / GIB
            sent = FLOAT * (factors if adapted else weights) / GIB
            hours = work.rows * work.tokens * weights * (8 if again else 6) / rate / 3600
            step = kept(sizes, work, again) / GIB
            words = [
                name,
                quantity(weights),
                said,
                f"LoRA, rank {RANK}" if adapted else "whole",
                "yes" if again else "no",
            ]
            lines.append([*words, *(quantity(value) for value in (held, step, sent, hours))])
    told = READING.format(whole=WHOLE, adapted=ADAPTED, rank=RANK, rate=fixed(rate / 1e12), device=device)
    return f"{markdown(header, lines)}\n\n{told}"


def on_meta(sizes: Mapping[str, int]) -> Any:
    """A model of that shape without numbers; embedding and head are two, as in every model here."""
    library = transformers()
    config = library.AutoConfig.for_model("llama", **sizes, tie_word_embeddings=False)
    with torch.device("meta"):
        return library.AutoModelForCausalLM.from_config(config)


def adapter_numbers(model: nn.Module) -> int:
    """How many numbers A and B of all linear layers have together."""
    return sum(RANK * (rows + columns) for rows, columns in matrices(model, ("linear",)).values())


def kept(sizes: Mapping[str, int], work: Work, again: bool) -> int:
    """Bytes that wait for the gradient of a step: of all layers, or their inputs and one layer, and of the logits."""
    layers, width = sizes["num_hidden_layers"], sizes["hidden_size"]
    rows = work.batch * work.tokens
    one, logits = of_a_layer(sizes, work), 2 * FLOAT * rows * sizes["vocab_size"]  # logits and their log-softmax
    return logits + (FLOAT * rows * width * layers + one if again else layers * one)


def of_a_layer(sizes: Mapping[str, int], work: Work) -> int:
    """Bytes that the first layer keeps for the gradient, without its weights."""
    model = on_meta({**sizes, "num_hidden_layers": 1}).model
    weights = {_place(value) for value in model.parameters()}
    seen: dict[int, Tensor] = {}

    def note(value: Tensor) -> Tensor:
        seen.setdefault(_place(value), value)
        return value

    with torch.device("meta"):
        hidden = torch.zeros((work.batch, work.tokens, sizes["hidden_size"]), requires_grad=True)
        places = model.rotary_emb(hidden, position_ids=torch.arange(work.tokens)[None])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        model.layers[0](hidden, position_embeddings=places)
    return sum(value.untyped_storage().nbytes() for place, value in seen.items() if place not in weights)


def _place(value: Tensor) -> int:
    """What tensors that share memory have in common."""
    return int(value.untyped_storage()._cdata)


def operations(device: torch.device, steps: int = 3) -> float:
    """Operations a second that steps of a small model come to: six for each weight, but those of the embedding."""
    sample = Sample((65,), 2000)
    encoder, head = (part.to(device) for part in whole(STEP, sample))
    moved = [*encoder.parameters(), *head.parameters()]
    optimiser, rows = torch.optim.AdamW(moved), torch.randint(sample.vocabulary, (8, 64), device=device)
    seconds = []
    for _ in range(steps + 1):
        _wait(device)
        started = time.perf_counter()
        logits = head(encoder(rows, rows >= 0))
        F.cross_entropy(logits.flatten(0, 1), rows.flatten()).backward()
        optimiser.step()
        optimiser.zero_grad()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    weights = sum(value.numel() for value in moved) - sample.vocabulary * STEP.width
    return 6 * weights * rows.numel() / min(seconds[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
