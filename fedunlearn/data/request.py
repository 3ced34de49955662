"""What is to be forgotten, checked against the data and the clients that hold them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from fedunlearn.data.types import Request
from fedunlearn.errors import RequestError, unknown
from fedunlearn.randomness import numpy_stream
from fedunlearn.settings.config import RequestConfig


def resolve(
    config: RequestConfig, labels: np.ndarray, parts: list[np.ndarray], class_names: Sequence[str], seed: int
) -> Request:
    """The training samples that `config` asks to forget.

    `labels`: int [N_train]; `parts`: sample numbers of each client. At class level every sample of the classes is
    marked, also the few that the partition gave to no client. Raises RequestError unless exactly one level is given
    and it names what exists, once, and leaves the clients something to retain.
    """
    where = _only_level(config)
    if config.classes:
        numbers = [_number(asked, class_names) for asked in config.classes]
        request = Request("class", _of_classes(numbers, labels, parts, class_names), tuple(sorted(numbers)))
    elif config.clients:
        _check_numbers(where, "client", config.clients, len(parts))
        request = Request("client", _marked(len(labels), [parts[client] for client in config.clients]), ())
    else:
        request = Request("sample", _marked(len(labels), _drawn(config.samples or {}, parts, seed)), ())
    if all(request.forget[part].all() for part in parts):
        raise RequestError(f"{where} asks to forget every sample that the clients hold, which leaves nothing to retain")
    return request


def held_out(request: Request, seed: int, variant: int) -> np.ndarray:
    """Bool [N_train]: the random half of the forget samples that variant `variant` of the federation lacks."""
    asked = np.flatnonzero(request.forget)
    chosen = np.zeros_like(request.forget)
    chosen[numpy_stream(seed, "shadow", variant, "held out").choice(asked, len(asked) // 2, replace=False)] = True
    return chosen


def _only_level(config: RequestConfig) -> str:
    given = [f"request.{name}" for name in ("classes", "clients", "samples") if getattr(config, name)]
    if not given:
        raise RequestError(
            "there is nothing to forget: give one of request.classes=[0], request.clients=[0] or request.samples={0: 1}"
        )
    if len(given) > 1:
        raise RequestError(f"a request forgets on one level, but {' and '.join(given)} are given: keep one of them")
    return given[0]


def _number(asked: int | str, class_names: Sequence[str]) -> int:
    """The number of a class that is given by number or by name."""
    if isinstance(asked, int):
        return asked
    if asked not in class_names:
        raise unknown("class", asked, class_names)
    return class_names.index(asked)


def _of_classes(
    asked: Sequence[int], labels: np.ndarray, parts: list[np.ndarray], class_names: Sequence[str]
) -> np.ndarray:
    _check_numbers("request.classes", "class", asked, len(class_names))
    held = np.unique(labels[np.concatenate(parts)])
    for number in asked:
        if number not in held:
            raise RequestError(
                f"request.classes asks for class {number} ({class_names[number]}), which no client holds"
            )
    return np.isin(labels, asked)


def _drawn(asked: dict[str, int], parts: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """The samples to forget of each client asked for, drawn without replacement from a stream of its own."""
    for name in asked:
        if not re.fullmatch("0|[1-9][0-9]{0,8}", name):
            raise RequestError(f"request.samples takes clients by number, such as {{0: 1}}, not {name!r}")
    clients = [int(name) for name in asked]
    _check_numbers("request.samples", "client", clients, len(parts))
    for client, number in zip(clients, asked.values(), strict=True):
        if number > len(parts[client]):
            raise RequestError(
                f"request.samples asks for {number} samples of client {client}, which has {len(parts[client])}"
            )
    return [
        numpy_stream(seed, "request", client).choice(parts[client], asked[str(client)], replace=False)
        for client in clients
    ]


def _marked(samples: int, groups: list[np.ndarray]) -> np.ndarray:
    forget = np.zeros(samples, dtype=bool)
    forget[np.concatenate(groups)] = True
    return forget


def _check_numbers(where: str, kind: str, asked: Sequence[int], there: int) -> None:
    for number in asked:
        if not 0 <= number < there:
            raise RequestError(f"{where} asks for {kind} {number}, but there are {there}, numbered 0 to {there - 1}")
        if asked.count(number) > 1:
            raise RequestError(f"{where} names {kind} {number} more than once")
