"""Hydra's overrides, `key=value`: made from Python's values, read from people's words, and the jobs that they ask for.

Paths may be given as they are: `output.dir=~/my runs (1)/é` is no override in Hydra's grammar, and is quoted here.
What Hydra can read keeps its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.grammar.utils import escape_special_characters
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, Quote, QuotedString
from hydra.errors import HydraException

from fedunlearn.errors import RequestError
from fedunlearn.settings import registry
from fedunlearn.settings.config import CHOSEN_SECTIONS

PATHS = ("dir", "root", "path")  # how the names of settings end that are folders or files
GROUPS = {**{group: group for group in (*CHOSEN_SECTIONS, "audit")}, "experiment": "+experiment"}
OTHER_SWEEPERS = "hydra/sweeper="


def override(key: str, value: Any, prefix: str = "++") -> str:
    """`++key=value` in Hydra's grammar, such that Hydra reads exactly `value`. Raises RequestError where it cannot."""
    word = f"{prefix}{key}={_quoted(value)}"
    try:
        parsed = OverridesParser.create().parse_override(word)
    except HydraException:
        parsed = None
    if parsed is None or parsed.key_or_group != key or _as_read(parsed.value()) != value:
        raise RequestError(f"{key} cannot be given to Hydra: {value!r}")
    return word


def of_keywords(given: Mapping[str, Any]) -> Iterator[str]:
    """Python's keyword arguments as overrides: `seed=1`, `method="fucrt"`, `train={"rounds": 5}`.

    A mapping sets the settings that it names, and leaves the others of its section as they are.
    """
    for key, value in _settings(given):
        yield _of_value(key, value)


def of_alternatives(given: Mapping[str, Any]) -> Iterator[str]:
    """The same of a sweep: a list stands for several values, `seed=[0, 1]`, `train={"rounds": [5, 10]}`."""
    for key, value in _settings(given):
        yield _of_values(key, value) if isinstance(value, (list, tuple, range)) else _of_value(key, value)


def _settings(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", item) for name, item in value.items())
        else:
            yield key, value


def _of_values(key: str, values: Sequence[Any]) -> str:
    """`key=a,b,c`: every one of the values in turn."""
    words = [_of_value(key, value) for value in values]
    if not words:
        raise RequestError(f"{key} has no values to run")
    name = words[0].partition("=")[0]
    return f"{name}={','.join(word.partition('=')[2] for word in words)}"


def _of_value(key: str, value: Any) -> str:
    plain = _plain(value)
    if key in GROUPS and isinstance(plain, str):  # the name of a member, for which Hydra looks among its files
        return f"{GROUPS[key]}={plain}"
    return override(
        key, plain, prefix="++" if key.startswith("audit.") else ""
    )  # audits are switched on by naming them


def _plain(value: Any) -> Any:
    """A value of Python, NumPy or torch as plain data. Raises RequestError for what no setting can be."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [_plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if hasattr(value, "tolist"):  # of NumPy or torch
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise RequestError(f"no setting can be {value!r}, which is of the type {type(value).__name__}")


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        quoted: str = QuotedString(value, Quote.double).with_quotes()
        return quoted
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{escape_special_characters(key)}:{_quoted(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_quoted, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def _as_read(value: Any) -> Any:
    """A parsed value with its keys as text, which is what the schema makes of them."""
    if isinstance(value, Mapping):
        return {str(key): _as_read(item) for key, item in value.items()}
    return [_as_read(item) for item in value] if isinstance(value, list) else value


def with_paths(words: Sequence[str]) -> list[str]:
    """The same words, in which paths are as Hydra can read them, and `~/` is the home of whoever gave them."""
    return [_with_path(word) for word in words]


def _with_path(word: str) -> str:
    key, _, text = word.partition("=")
    name = key.lstrip("+")
    if not text or name.rpartition(".")[2] not in PATHS:
        return word
    try:
        value = OverridesParser.create().parse_override(word).value()
        readable = isinstance(value, str)
    except HydraException:
        value, readable = text, False  # no override: it is what it looks like
    path = text if isinstance(value, (int, float)) else value  # a folder may be called 7
    if not isinstance(path, str):  # null, or several
        return word
    meant = _from_home(path)
    return word if readable and meant == path else override(name, meant, prefix=key.removesuffix(name))


def _from_home(path: str) -> str:
    if path != "~" and not path.startswith("~/"):
        return path
    return str(Path(path).expanduser())


def parse(words: Sequence[str]) -> list[Override]:
    """The words as Hydra reads them. Raises RequestError for one that is no override."""
    parser = OverridesParser.create()
    parsed = []
    for word in words:
        try:
            parsed.append(parser.parse_override(word))
        except HydraException as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise RequestError(f"{word!r} is not a setting of the form key=value ({said[0]})") from error
    return parsed


def distinct_jobs(parsed: Sequence[Override], multirun: bool) -> Iterator[list[str]]:
    """The overrides of the first job, then of one job for every further value of every swept key.

    Of an interval, both ends. Raises RequestError where there are several jobs, and `multirun` says one.
    """
    swept = {i: _values(override, parsed) for i, override in enumerate(parsed) if override.is_sweep_override()}
    if swept and not multirun:
        word = parsed[next(iter(swept))].input_line
        raise RequestError(
            f"{word!r} gives several values: -m (--multirun, or fedunlearn.sweep in Python) runs them all"
        )
    first = [swept[i][0] if i in swept else str(override.input_line) for i, override in enumerate(parsed)]
    yield first
    for i, values in swept.items():
        yield from ([*first[:i], value, *first[i + 1 :]] for value in values[1:])


def _values(override: Override, among: Sequence[Override]) -> list[str]:
    key, given = override.get_key_element(), override.value()
    if isinstance(given, Glob):
        bare = key.lstrip("+~")
        options = registry.names(CHOSEN_SECTIONS.get(bare, bare))
        return _some([f"{bare}={name}" for name in given.filter(options)], override)
    if isinstance(given, IntervalSweep):
        if not any(str(other.input_line).startswith(OTHER_SWEEPERS) for other in among):
            raise RequestError(
                f"{override.input_line!r}: an interval is for a sweeper that searches, such as hydra/sweeper=optuna; "
                "name the values, or give a range(start,stop,step)"
            )
        return [f"{key}={end}" for end in (given.start, given.end)]
    return _some([f"{key}={value}" for value in override.sweep_string_iterator()], override)


def _some(values: list[str], override: Override) -> list[str]:
    if not values:
        raise RequestError(f"{override.input_line!r} gives no value at all")
    return values
