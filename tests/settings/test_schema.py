"""Plain data to frozen dataclasses and back; what does not fit is said in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.errors import RequestError
from fedunlearn.settings.schema import (
    Above,
    AtLeast,
    AtMost,
    Below,
    Count,
    Fraction,
    NonNegative,
    Positive,
    Seed,
    Share,
    Whole,
    default,
    defaults,
    parse,
    plain,
)


@dataclass(frozen=True)
class Inner:
    """A group below another."""

    depth: Count = 1
    kind: Literal["round", "flat", 3] = "round"


@dataclass(frozen=True)
class Outer:
    """Every type that is supported."""

    name: str
    flag: bool = False
    rate: Positive = 0.5
    limit: Count | None = None
    workers: Count | Literal["auto"] = "auto"
    numbers: tuple[int, ...] = ()
    shares: tuple[Share, ...] = (0.5,)
    held: dict[str, Count] | None = None
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    several: tuple[Inner, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A dataclass that checks itself."""

    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}")


@dataclass(frozen=True)
class Holder:
    pair: Pair = field(default_factory=Pair)


@dataclass(frozen=True)
class One:
    """A single number, of every kind there is."""

    count: Count = 1
    whole: Whole = 0
    seed: Seed = 0
    positive: Positive = 1.0
    nonnegative: NonNegative = 0.0
    share: Share = 1.0
    fraction: Fraction = 0.0
    between: Annotated[float, Above(-1), Below(1)] = 0.0
    few: Annotated[int, AtLeast(2), AtMost(4)] = 2


inners = st.builds(Inner, st.integers(1, 10**9), st.sampled_from(["round", "flat", 3]))
outers = st.builds(
    Outer,
    name=st.text(),
    flag=st.booleans(),
    rate=st.floats(1e-9, 1e9),
    limit=st.none() | st.integers(min_value=1),
    workers=st.just("auto") | st.integers(min_value=1),
    numbers=st.lists(st.integers()).map(tuple),
    shares=st.lists(st.floats(0, 1, exclude_min=True)).map(tuple),
    held=st.none() | st.dictionaries(st.text(), st.integers(min_value=1)),
    inner=inners,
    maybe=st.none() | inners,
    several=st.lists(inners, max_size=3).map(tuple),
)


@given(outers)
def test_what_is_written_is_read_back(value):
    assert parse(Outer, plain(value)) == value


def test_a_value_of_every_type():
    given_values = {
        "name": "a",
        "rate": 2,
        "workers": 3,
        "numbers": [1, 2],
        "shares": [1, 0.25],
        "held": {0: 20},
        "inner": {"kind": 3},
        "maybe": {},
        "several": [{"depth": 4}],
    }
    parsed = parse(Outer, given_values)
    assert parsed == Outer(
        "a", False, 2.0, None, 3, (1, 2), (1.0, 0.25), {"0": 20}, Inner(1, 3), Inner(), (Inner(depth=4),)
    )
    assert type(parsed.rate) is float and type(parsed.shares[0]) is float


def test_plain_is_ready_for_json():
    assert plain(Outer("a", several=(Inner(2, "flat"),))) == {
        "name": "a",
        "flag": False,
        "rate": 0.5,
        "limit": None,
        "workers": "auto",
        "numbers": [],
        "shares": [0.5],
        "held": None,
        "inner": {"depth": 1, "kind": "round"},
        "maybe": None,
        "several": [{"depth": 2, "kind": "flat"}],
    }
    assert plain({1: (2, [3])}) == {"1": [2, [3]]}


def test_what_is_parsed_already_stays_what_it_is():
    inner = Inner(2)
    assert parse(Inner, inner) is inner
    assert parse(Outer, {"name": "a", "inner": inner}).inner is inner


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"name": 1}, "name must be text, not 1"),
        ({"flag": 1}, "flag must be true or false, not 1"),
        ({"flag": "yes"}, "flag must be true or false, not 'yes'"),
        ({"rate": "1"}, "rate must be a number above 0, not '1'"),
        ({"rate": True}, "rate must be a number above 0, not True"),
        ({"rate": float("nan")}, "rate must be a number above 0, not nan"),
        ({"rate": float("inf")}, "rate must be a number above 0, not inf"),
        ({"rate": None}, "rate must be a number above 0, not None"),
        ({"limit": 0}, "limit must be a whole number at least 1 or null, not 0"),
        ({"limit": 1.0}, "limit must be a whole number at least 1 or null, not 1.0"),
        ({"limit": True}, "limit must be a whole number at least 1 or null, not True"),
        ({"workers": "all"}, "workers must be a whole number at least 1 or auto, not 'all'"),
        ({"workers": None}, "workers must be a whole number at least 1 or auto, not None"),
        ({"numbers": 3}, "numbers must be a list in brackets, each item a whole number, not 3"),
        ({"numbers": "12"}, "numbers must be a list in brackets, each item a whole number, not '12'"),
        ({"numbers": [1, True]}, "numbers[1] must be a whole number, not True"),
        ({"numbers": [1, 2.5]}, "numbers[1] must be a whole number, not 2.5"),
        ({"shares": [0.5, 1.5]}, "shares[1] must be a number above 0 and at most 1, not 1.5"),
        ({"held": {"3": 0}}, "held.3 must be a whole number at least 1, not 0"),
        ({"inner": {"kind": "square"}}, "inner.kind must be round, flat or 3, not 'square'"),
        ({"inner": None}, "inner takes a group of settings, not None"),
        ({"inner": [1]}, "inner takes a group of settings, not [1]"),
        ({"maybe": {"depth": 0}}, "maybe.depth must be a whole number at least 1, not 0"),
        (
            {"maybe": {"deep": 2}},
            "there is no setting in maybe called 'deep': choose depth or kind; did you mean depth?",
        ),
        ({"several": [{}, {"depth": "x"}]}, "several[1].depth must be a whole number at least 1, not 'x'"),
        (
            {"inner": {"dept": 2}},
            "there is no setting in inner called 'dept': choose depth or kind; did you mean depth?",
        ),
        ({"inner": {"qqq": 2}}, "there is no setting in inner called 'qqq': choose depth or kind"),
        ({"inner": {3: 2}}, "there is no setting in inner called '3': choose depth or kind"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changed, sentence):
    with pytest.raises(RequestError) as error:
        parse(Outer, {"name": "a", **changed})
    assert str(error.value) == sentence


def test_the_place_in_the_configuration_is_part_of_the_sentence():
    with pytest.raises(RequestError, match=r"^method\.inner\.depth must be a whole number at least 1, not 0$"):
        parse(Outer, {"name": "a", "inner": {"depth": 0}}, "method")
    with pytest.raises(RequestError, match=r"^there is no setting in the configuration called 'nane': .*mean name\?$"):
        parse(Outer, {"nane": "a"})
    with pytest.raises(RequestError, match=r"^the configuration takes a group of settings, not 7$"):
        parse(Outer, 7)


def test_what_has_no_default_must_be_given():
    with pytest.raises(RequestError, match=r"^method\.name must be given \(text\)$"):
        parse(Outer, {}, "method")


def test_whole_numbers_too_large_for_a_float_are_refused():
    with pytest.raises(RequestError, match=r"^positive must be a number above 0, not 1000"):
        parse(One, {"positive": 10**400})


@pytest.mark.parametrize(
    ("name", "inside", "outside", "words"),
    [
        ("count", [1, 10**30], [0, -1], "a whole number at least 1"),
        ("whole", [0, 5], [-1], "a whole number at least 0"),
        ("seed", [0, 2**63 - 1], [-1, 2**63, 2**70], "a whole number at least 0 and at most 9223372036854775807"),
        ("positive", [1e-300, 5], [0, 0.0, -1e-9], "a number above 0"),
        ("nonnegative", [0, 0.0, 3.5], [-1e-9], "a number at least 0"),
        ("share", [1e-9, 1], [0, 1.0000001], "a number above 0 and at most 1"),
        ("fraction", [0, 1, 0.5], [-0.1, 1.1], "a number at least 0 and at most 1"),
        ("between", [-0.999, 0, 0.999], [-1, 1, 1.0], "a number above -1 and below 1"),
        ("few", [2, 3, 4], [1, 5], "a whole number at least 2 and at most 4"),
    ],
)
def test_ranges_hold_at_their_ends(name, inside, outside, words):
    for value in inside:
        assert getattr(parse(One, {name: value}), name) == value
    for value in outside:
        with pytest.raises(RequestError) as error:
            parse(One, {name: value})
        assert str(error.value) == f"{name} must be {words}, not {value!r}"


def test_a_dataclass_may_check_itself():
    assert parse(Pair, {"low": 1, "high": 1}) == Pair(1, 1)
    with pytest.raises(RequestError, match=r"^pair: low=3 is above high=1$"):
        parse(Holder, {"pair": {"low": 3}})
    with pytest.raises(RequestError, match=r"^low=3 is above high=1$"):
        parse(Pair, {"low": 3})


def test_defaults_are_plain_and_checked():
    assert defaults(Outer)["name"] is None  # must be given
    assert defaults(Outer)["inner"] == {"depth": 1, "kind": "round"}
    fields = Outer.__dataclass_fields__
    assert default(fields["inner"]) == Inner() and default(fields["shares"]) == (0.5,)

    @dataclass(frozen=True)
    class Wrong:
        many: Count = 0

    with pytest.raises(RequestError, match=r"^many must be a whole number at least 1, not 0$"):
        defaults(Wrong)
