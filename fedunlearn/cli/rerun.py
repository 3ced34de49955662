"""`--rerun FILE`: the configuration that a run has saved, read as data and handed to Hydra as overrides.

The file may be anybody's. It is plain YAML of bounded size, depth and number of entries, holds nothing but settings of
the schema, and none of its values is ever resolved: no interpolation, no section of Hydra's own.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from fedunlearn.errors import RequestError, unknown
from fedunlearn.runs.overrides import override
from fedunlearn.settings import registry
from fedunlearn.settings.config import CHOSEN_SECTIONS, PLAIN_SECTIONS, load

RERUN = "--rerun"
SECTIONS = (*PLAIN_SECTIONS, *CHOSEN_SECTIONS, "audit")
BYTES, ENTRIES, DEPTH, LETTERS = 1_000_000, 20_000, 20, 4096  # the most that a file, and a text in it, may have
# A member of every group that must have one, to check a file that leaves the choice to the defaults.
SOME_RUN = {
    "dataset": {"name": "digits"},
    "model": {"name": "cnn"},
    "partition": {"name": "iid"},
    "method": {"name": "retrain"},
}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain values alone, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := [key for key, count in Counter(keys).items() if count > 1]:
            raise yaml.constructor.ConstructorError(problem=f"{repeated[0]!r} is given twice")
        made: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return made


def expand(arguments: list[str]) -> list[str]:
    """Replace `--rerun run/config.yaml` by the overrides that lead to that configuration; later ones win.

    Raises RequestError for a file that is not the configuration of a run.
    """
    if RERUN not in arguments:
        return arguments
    at = arguments.index(RERUN)
    if at + 1 >= len(arguments):
        raise RequestError(f"{RERUN} needs the path of a run's config.yaml")
    path, later = Path(arguments[at + 1]), arguments[at + 2 :]
    anew = {word.partition("=")[0] for word in later}  # another engine or method: nothing of the saved one's settings
    try:
        saved = {key: value for key, value in _sections(_read(path)).items() if key not in anew}
        load({**SOME_RUN, **saved})
        return [*arguments[:at], *overrides(saved), *later]
    except RequestError as error:
        raise RequestError(f"{RERUN} {path}: {error}") from error


def overrides(saved: Mapping[str, Any]) -> Iterator[str]:
    """What Hydra is to be told, so that it composes the sections `saved`. Raises RequestError where it cannot."""
    groups = {key: value["name"] for key, value in saved.items() if isinstance(value, Mapping) and "name" in value}
    yield from (f"{section}={name}" for section, name in groups.items())
    for key, value in saved.items():
        entries = (
            {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, Mapping) else {key: value}
        )
        chosen = {f"{section}.name" for section in groups}  # given already, by choosing the member
        yield from (override(name, item) for name, item in entries.items() if name not in chosen)
    if "audit" in saved:
        yield from (f"++audit.{name}=null" for name in registry.names("audit") if name not in (saved["audit"] or {}))


def _sections(saved: object) -> dict[str, Any]:
    """The file's content, if it could be a run's configuration by its looks."""
    if not isinstance(saved, Mapping):
        raise RequestError("this is not the configuration of a run")
    for key in saved:
        if key not in SECTIONS:
            raise unknown("section in a run's configuration", key, SECTIONS)
    sections: dict[str, Any] = _plain(saved, "")
    return sections


def _plain(value: object, where: str) -> Any:
    """`value` with its keys as text. Raises RequestError for what no saved configuration holds."""
    name = where or "the file"
    if isinstance(value, Mapping):
        keys = [_key(key, name) for key in value]
        return {key: _plain(item, f"{where}.{key}".lstrip(".")) for key, item in zip(keys, value.values(), strict=True)}
    if isinstance(value, list):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, str):
        return _text(value, name)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise RequestError(f"{name} is neither text nor a number, but {type(value).__name__}")


def _key(key: object, where: str) -> str:
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise RequestError(f"{where} holds the key {key!r}, which is neither text nor a whole number")
    text = _text(str(key), where)
    if text.startswith("_"):
        raise RequestError(f"{where} holds {text!r}, which is no setting")
    return text


def _text(text: str, where: str) -> str:
    if "${" in text:
        raise RequestError(f"{where} holds an interpolation, {text[:50]!r}: a saved configuration has values alone")
    if text == "???" or "\0" in text:
        raise RequestError(f"{where} has no value, but {text!r}")
    if len(text) > LETTERS:
        raise RequestError(f"{where} is a text of {len(text)} characters, and at most {LETTERS} are read")
    return text


def _read(path: Path) -> object:
    """What the file holds. Raises RequestError if that is not plain YAML within bounds."""
    try:
        text = _bytes_of(path).decode("utf-8")
        _check_bounds(text)
        return yaml.load(text, _Loader)
    except RequestError:
        raise
    except OSError as error:
        raise RequestError(f"it cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise RequestError("this is not a text file") from error
    except yaml.YAMLError as error:
        raise RequestError(f"this is not plain YAML ({_reason(error)})") from error
    except (ValueError, TypeError) as error:  # a number of too many digits, a list as a key
        raise RequestError(f"this is not plain YAML ({error})") from error


def _bytes_of(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # reading a device or a pipe might never end
        raise RequestError("this is not a file")
    with path.open("rb") as file:
        content = file.read(BYTES + 1)
    if len(content) > BYTES:
        raise RequestError(f"this file has more than {BYTES} bytes, which no run's configuration has")
    return content


def _check_bounds(text: str) -> None:
    """Raise RequestError before anything is built of what is too deep, too much, or refers to something else."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, _Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            mark = event.start_mark
            raise RequestError(f"line {mark.line + 1} holds an anchor or alias, which no saved configuration has")
        if depth > DEPTH or count > ENTRIES:
            raise RequestError("it is nested too deeply, or holds too much, for a run's configuration")


def _reason(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}: {said}" if mark else said
