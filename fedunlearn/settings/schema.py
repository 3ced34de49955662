"""Turn plain mappings (what Hydra composes) into frozen dataclasses, and say in one sentence what does not fit.

A field's type states what is allowed, ranges included: `lr: Annotated[float, Above(0)] = 0.05`. Supported types:
bool, int, float, str, `Literal`, `X | None`, `tuple[X, ...]`, `dict[str, X]`, nested dataclasses, and `Annotated`
with the bounds below.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, Literal, TypeVar, Union

from fedunlearn.errors import RequestError, listed, unknown

T = TypeVar("T")
LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Bound:
    """A limit on a number, in words and as a comparison with `limit`."""

    words: str
    compare: Callable[[float, float], bool]
    limit: float

    def holds(self, value: float) -> bool:
        """Is `value` allowed?"""
        return self.compare(value, self.limit)

    def __str__(self) -> str:
        return f"{self.words} {self.limit if isinstance(self.limit, int) else format(self.limit, 'g')}"


AtLeast = partial(Bound, "at least", operator.ge)
AtMost = partial(Bound, "at most", operator.le)
Above = partial(Bound, "above", operator.gt)
Below = partial(Bound, "below", operator.lt)

Count = Annotated[int, AtLeast(1)]
Whole = Annotated[int, AtLeast(0)]
Seed = Annotated[int, AtLeast(0), AtMost(2**63 - 1)]  # what a Flower message can hold
Positive = Annotated[float, Above(0)]
NonNegative = Annotated[float, AtLeast(0)]
Share = Annotated[float, Above(0), AtMost(1)]
Fraction = Annotated[float, AtLeast(0), AtMost(1)]


def parse(cls: type[T], given: object, where: str = "") -> T:
    """Build the frozen dataclass `cls` from the mapping `given`.

    `where` is the dotted name shown in messages (`train`). Raises RequestError for unknown keys, missing keys, wrong
    types and values out of range. A dataclass may check itself further in `__post_init__` by raising ValueError.
    """
    if dataclasses.is_dataclass(given) and isinstance(given, cls):
        return given
    if not isinstance(given, Mapping):
        raise RequestError(f"{where or 'the configuration'} takes a group of settings, not {given!r}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = _hints(cls)  # type: ignore[arg-type]
    for key in given:
        if key not in fields:
            raise unknown(f"setting in {where or 'the configuration'}", key, fields)
    for name, field in fields.items():
        if name not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RequestError(f"{_dotted(where, name)} must be given ({_describe(hints[name])})")
    values = {key: _convert(value, hints[str(key)], _dotted(where, str(key))) for key, value in given.items()}
    try:
        return cls(**values)
    except RequestError:
        raise
    except ValueError as error:
        raise RequestError(f"{where}: {error}" if where else str(error)) from error


def default(field: dataclasses.Field) -> Any:
    """What a field of a settings dataclass is before anybody sets it; None where it must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def defaults(cls: type) -> dict[str, Any]:
    """The plain defaults of a settings dataclass. Raises RequestError for one that its field does not allow."""
    given = {field.name: plain(default(field)) for field in dataclasses.fields(cls)}
    for name, value in given.items():
        if value is not None:
            _convert(value, _hints(cls)[name], name)
    return given


def plain(value: object) -> Any:
    """The inverse of `parse`: dataclasses and tuples as plain dicts and lists, ready for JSON or YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _convert(value: object, hint: Any, where: str) -> object:
    origin = typing.get_origin(hint)
    if origin is Annotated:
        base, *bounds = typing.get_args(hint)
        try:
            converted: Any = _convert(value, base, where)
        except RequestError as error:
            raise _wrong(where, hint, value) from error  # which says the range as well
        if not all(bound.holds(converted) for bound in bounds if isinstance(bound, Bound)):
            raise _wrong(where, hint, value)
        return converted
    if origin in (Union, types.UnionType):
        return _convert_union(value, typing.get_args(hint), hint, where)
    if origin is Literal:
        if value not in typing.get_args(hint) or isinstance(value, bool):
            raise _wrong(where, hint, value)
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _wrong(where, hint, value)
        item = typing.get_args(hint)[0]
        if item is int and set(map(type, value)) <= {int}:  # lists can be long
            return tuple(value)
        return tuple(_convert(element, item, f"{where}[{i}]") for i, element in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(where, hint, value)
        item = typing.get_args(hint)[1]
        return {str(key): _convert(element, item, _dotted(where, str(key))) for key, element in value.items()}
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where)
    return _convert_scalar(value, hint, where)


def _convert_union(value: object, options: tuple[Any, ...], hint: Any, where: str) -> object:
    if value is None and type(None) in options:
        return None
    others = [option for option in options if option is not type(None)]
    group = len(others) == 1 and (dataclasses.is_dataclass(others[0]) or typing.get_origin(others[0]) is dict)
    if group and isinstance(value, Mapping):
        return _convert(value, others[0], where)  # which says what in there does not fit
    for option in others:
        try:
            return _convert(value, option, where)
        except RequestError:
            continue
    raise _wrong(where, hint, value)


def _convert_scalar(value: object, hint: Any, where: str) -> object:
    if hint is Any or hint is object:
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if -LARGEST <= value <= LARGEST:  # which NaN is not
            return float(value)
    elif hint is not float and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _wrong(where, hint, value)


def _wrong(where: str, hint: Any, value: object) -> RequestError:
    return RequestError(f"{where} must be {_describe(hint)}, not {value!r}")


_WORDS: dict[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
}


def _describe(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin is Annotated:
        base, *bounds = typing.get_args(hint)
        return " ".join([_describe(base), " and ".join(str(bound) for bound in bounds if isinstance(bound, Bound))])
    if origin in (Union, types.UnionType):
        return listed(_describe(option) for option in typing.get_args(hint))
    if origin is Literal:
        return listed(typing.get_args(hint))
    if origin is tuple:
        return f"a list in brackets, each item {_describe(typing.get_args(hint)[0])}"
    return _WORDS.get(hint, "a group of settings")
