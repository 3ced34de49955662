"""The federation of a run, opened once: whoever asks again in this process, for the same data and clients, gets it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache

from fedunlearn.federation.federation import Federation, open_federation
from fedunlearn.settings.config import RunConfig

SECTIONS = ("dataset", "data", "partition", "request", "seed", "device", "model")  # what a federation is made of


@dataclass(frozen=True)
class _Asked:
    """Two are the same if their federations are."""

    sections: str
    config: RunConfig = field(compare=False)


def opened(config: RunConfig) -> Federation:
    """The federation that `config` describes; the last one is kept. Raises RequestError."""
    return _open(_Asked(described(config), config))


def described(config: RunConfig) -> str:
    """What the federation of `config` is made of, as text."""
    whole = config.as_dict()
    return json.dumps([whole[section] for section in SECTIONS], sort_keys=True)


def forget() -> None:
    """Let go of what is kept: whoever asks next reads the data anew, as every command does once."""
    _open.cache_clear()


@lru_cache(maxsize=1)
def _open(asked: _Asked) -> Federation:
    return open_federation(asked.config)
