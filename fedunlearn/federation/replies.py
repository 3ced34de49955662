"""Replies are held against what was sent before a number of them counts: nothing that a client sends is trusted.

What does not fit raises ReplyError, a failure of that client. Nothing else comes out of here, whatever a reply holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from flwr.app import ArrayRecord, Message, MetricRecord
from torch import Tensor

from fedunlearn.federation import wire
from fedunlearn.federation.wire import Form, Forms
from fedunlearn.models.flat import Layout, name_of

P = ParamSpec("P")
R = TypeVar("R")
Tensors = dict[str, Tensor]

GROWTH = 1e6  # how many times longer than the model that was sent a client's may be: more is no training
LONGEST = 1e12  # norm of what else a client sends, far above any sum over samples and far below where float32 ends
SINGLE = 4  # bytes of a number of single precision
SHOWN = 40  # characters of a value that is not what it should be


class ReplyError(Exception):
    """A reply cannot be used; the message says why."""


class DivergedError(ReplyError):
    """A reply whose numbers are not finite, or too large: what training sends whose steps are too long."""


@dataclass(frozen=True)
class Sent:
    """What the clients of a round got to train: vectors, the layout of the model in them if it is one, forms, norm."""

    layout: Layout | None
    vectors: Tensors
    forms: Forms
    length: float

    @staticmethod
    def of(vectors: Tensors, layout: Layout | None) -> Sent:
        """What replies are held against when `vectors` were sent."""
        return Sent(layout, vectors, wire.forms(vectors), _length(vectors))


@dataclass(frozen=True)
class TrainReply:
    """A client's answer to `train`; `model`, in vectors, and `uploads` are on the server's device."""

    trained: int
    processed: int
    loss: float
    seconds: float
    data_seconds: float
    model: Tensors
    uploads: Tensors


def guarded(read: Callable[P, R]) -> Callable[P, R]:
    """Whatever else goes wrong while a reply is read is a failure of the reply."""

    @wraps(read)
    def guarded_read(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except (ReplyError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise ReplyError(f"cannot be read ({type(error).__name__}: {error})") from error

    return guarded_read


@guarded
def train_reply(
    reply: Message,
    client: int,
    sent: Sent,
    uploads: Forms | None,
    samples: float,
    epochs: int,
    device: torch.device,
) -> TrainReply:
    """The answer to `train` of `client`, which holds `samples` samples and was to go over them `epochs` times.

    `uploads`: what those of the other clients look like, None if they are not known yet. Raises ReplyError.
    """
    _expect_records(reply, "model", "uploads", "metrics")
    metrics = _metrics(reply, client)
    trained, processed = _whole(metrics, "trained", samples), _whole(metrics, "processed", samples * epochs)
    loss, seconds, data = (_number(metrics, name) for name in ("loss", "seconds", "data-seconds"))
    if min(seconds, data) < 0:
        raise ReplyError(f"seconds is {seconds:g} and data-seconds is {data:g}: time does not run backwards")
    model = _tensors(reply, "model", sent.forms, device)
    besides = f", and that of the model it was sent is {sent.length:.3g}"
    _check_length(model, GROWTH * max(1.0, sent.length), besides, sent.layout)
    added = _tensors(reply, "uploads", uploads, device)
    _check_length(added, LONGEST)
    return TrainReply(trained, processed, loss, seconds, data, model, added)


@guarded
def answer(reply: Message, client: int, like: Forms | None, device: torch.device) -> Tensors:
    """The answer of `client` to a query; `like`: what those of the others look like. Raises ReplyError."""
    _expect_records(reply, "uploads", "metrics")
    _metrics(reply, client)
    tensors = _tensors(reply, "uploads", like, device)
    _check_length(tensors, LONGEST)
    return tensors


@guarded
def introduction(reply: Message) -> tuple[int, int]:
    """An answer to the roll call: which client it is that answers, and the node that it is on. Raises ReplyError."""
    _expect_records(reply, "uploads", "metrics")
    return _whole(_record(reply, "metrics", MetricRecord), "partition-id", math.inf), reply.metadata.src_node_id


@guarded
def sender(reply: Message, waiting: dict[int, int]) -> int:
    """Which client a reply is from, by node id; it is no longer waited for. Raises ReplyError."""
    node = reply.metadata.src_node_id
    if node not in waiting:
        raise ReplyError(f"node {node}: was not asked, or has answered before")
    return waiting.pop(node)


def infinite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor that is not finite, if there is one."""
    if math.isfinite(_length(tensors)):
        return None
    return next((name for name, value in tensors.items() if not value.isfinite().all()), None)


def _expect_records(reply: Message, *names: str) -> None:
    """No error, no record missing, none too many."""
    if reply.has_error():
        lines = (reply.error.reason or "no reason given").strip().splitlines()
        raise ReplyError(lines[-1] if lines else "no reason given")
    if reply.content.keys() != set(names):
        raise ReplyError(_difference("record", set(reply.content.keys()), set(names)))


def _record(reply: Message, name: str, kind: type[R]) -> R:
    record = reply.content[name]
    if not isinstance(record, kind):
        raise ReplyError(f"record {name} is a {type(record).__name__} instead of a {kind.__name__}")
    return record


def _metrics(reply: Message, client: int) -> MetricRecord:
    metrics = _record(reply, "metrics", MetricRecord)
    if (named := _number(metrics, "partition-id")) != client:
        raise ReplyError(f"it says that it is client {named:g}")
    return metrics


def _number(metrics: MetricRecord, name: str) -> int | float:
    value: Any = metrics.get(name)
    if value is None:
        raise ReplyError(f"{name} is missing")
    if not isinstance(value, (int, float)):
        raise ReplyError(f"{name} is {repr(value)[:SHOWN]}, not a number")
    if not math.isfinite(value):
        raise (DivergedError if name == "loss" else ReplyError)(f"{name} is not finite")
    return value


def _whole(metrics: MetricRecord, name: str, most: float) -> int:
    value = _number(metrics, name)
    if not 0 <= value <= most or value != int(value):
        limit = f" from 0 to {most:.0f}" if math.isfinite(most) else ", 0 or more"
        raise ReplyError(f"{name} is {value:g}, not a whole number{limit}")
    return int(value)


def _tensors(reply: Message, name: str, expected: Forms | None, device: torch.device) -> Tensors:
    """The tensors of a record. They are looked at before they are unpacked: a few bytes can announce terabytes."""
    record = _record(reply, name, ArrayRecord)
    if expected is not None and record.keys() != expected.keys():
        raise ReplyError(_difference("tensor", set(record.keys()), set(expected)))
    unpacked = {}
    for key in expected or record:
        array = record[key]
        try:
            form = wire.form(array)
            if expected is not None and form != expected[key]:
                raise ValueError(_unlike(form, expected[key]))
            unpacked[key] = wire.tensor(array, device)
        except ValueError as error:
            raise ReplyError(f"tensor {key} {error}") from error
    return unpacked


def _check_length(tensors: Tensors, most: float, besides: str = "", layout: Layout | None = None) -> None:
    """Raises DivergedError for infinities and NaN, which survive a norm, and for a norm of more than `most`.

    `layout`: what is in the tensors, if they are the vectors of a model.
    """
    if _length(tensors) <= most:
        return
    for name, value in {**(layout.views(tensors) if layout else {}), **tensors}.items():
        if not value.isfinite().all():
            raise DivergedError(f"tensor {name} is not finite")
    length = math.hypot(*(float(value.double().norm()) for value in tensors.values() if value.is_floating_point()))
    if length > most:  # else the sum of the squares was too much for the tensors' own type
        raise DivergedError(f"its numbers are too large: their norm is {length:.3g}{besides}")


def _length(tensors: Mapping[str, Tensor]) -> float:
    """The norm of all of them; infinite or NaN also where the squares are too much for the tensors' own types."""
    return math.sqrt(sum(_square(value) for value in tensors.values() if value.is_floating_point()))


def _square(value: Tensor) -> float:
    """Σ v². The fastest of all ways to look at every number once, and nothing that is not finite escapes it."""
    flat = value.reshape(-1)
    flat = flat if value.dtype.itemsize >= SINGLE else flat.float()
    return float(flat.dot(flat))


def _difference(what: str, given: set[str], expected: set[str]) -> str:
    if missing := sorted(expected - given):
        return f"{what} {missing[0]} is missing"
    return f"{what} {sorted(given - expected)[0][:SHOWN]} should not be there"


def _unlike(form: Form, expected: Form) -> str:
    if form[1] != expected[1]:
        return f"has shape {list(form[1])} instead of {list(expected[1])}"
    return f"is {name_of(form[0])} instead of {name_of(expected[0])}"
