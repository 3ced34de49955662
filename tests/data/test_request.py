"""What is to be forgotten: twelve samples of three classes, held by three clients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.data.request import held_out, resolve
from fedunlearn.data.types import Request
from fedunlearn.errors import RequestError
from fedunlearn.settings.config import RequestConfig

NAMES = ("cat", "dog", "owl")
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
PARTS = [np.array([0, 1, 2]), np.array([3, 4, 6, 7]), np.array([5, 8, 9, 10])]  # sample 11 (an owl) has no client


def ask(seed: int = 0, parts: list[np.ndarray] = PARTS, **given: object) -> Request:
    return resolve(RequestConfig(**given), LABELS, parts, NAMES, seed)  # type: ignore[arg-type]


def chosen(request: Request) -> list[int]:
    return np.flatnonzero(request.forget).tolist()


def test_classes_mark_every_sample_of_them() -> None:
    request = ask(classes=(2,))
    assert (request.level, request.classes, chosen(request)) == ("class", (2,), [2, 5, 8, 11])
    assert request.forget.dtype == bool and request.forget.shape == (12,)
    assert ask(classes=(2, 0)).classes == (0, 2) and chosen(ask(classes=(2, 0))) == [0, 2, 3, 5, 6, 8, 9, 11]


def test_clients_mark_what_they_hold() -> None:
    request = ask(clients=(2, 0))
    assert (request.level, request.classes, chosen(request)) == ("client", (), [0, 1, 2, 5, 8, 9, 10])


def test_samples_are_drawn_from_the_client() -> None:
    request = ask(samples={"1": 2, "2": 4})
    assert (request.level, request.classes) == ("sample", ())
    assert len(set(chosen(request)) & {3, 4, 6, 7}) == 2 and set(chosen(request)) - {3, 4, 6, 7} == {5, 8, 9, 10}


@given(first=st.integers(1, 3), second=st.integers(1, 4), seed=st.integers(0, 50))
def test_a_clients_draw_is_its_own(first: int, second: int, seed: int) -> None:
    both, alone = ask(seed, samples={"0": first, "1": second}), ask(seed, samples={"1": second})
    assert both.forget.sum() == first + second and alone.forget.sum() == second
    assert np.array_equal(both.forget[PARTS[1]], alone.forget[PARTS[1]])


def test_clients_draw_independently() -> None:
    requests = [ask(seed, samples={"1": 2, "2": 2}) for seed in range(20)]
    assert any(not np.array_equal(r.forget[PARTS[1]], r.forget[PARTS[2]]) for r in requests)


def test_draws_depend_on_the_seed() -> None:
    assert chosen(ask(3, samples={"1": 2})) == chosen(ask(3, samples={"1": 2}))
    draws = {tuple(chosen(ask(seed, samples={"1": 2}))) for seed in range(60)}
    assert len(draws) == 6  # all pairs of four samples


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "there is nothing to forget: give one of request.classes"),
        ({"classes": (0,), "clients": (1,)}, "request.classes and request.clients are given"),
        ({"clients": (0,), "samples": {"1": 1}}, "request.clients and request.samples are given"),
        ({"classes": (12,)}, "request.classes asks for class 12, but there are 3, numbered 0 to 2"),
        ({"classes": (3,)}, "request.classes asks for class 3, but there are 3, numbered 0 to 2"),
        ({"classes": (1, 0, 1)}, "request.classes names class 1 more than once"),
        ({"classes": (2, 1, 0)}, "request.classes asks to forget every sample"),
        ({"clients": (3,)}, "request.clients asks for client 3, but there are 3, numbered 0 to 2"),
        ({"clients": (1, 1)}, "request.clients names client 1 more than once"),
        ({"clients": (0, 1, 2)}, "request.clients asks to forget every sample"),
        ({"samples": {"7": 1}}, "request.samples asks for client 7, but there are 3"),
        ({"samples": {"0": 4}}, "request.samples asks for 4 samples of client 0, which has 3"),
        ({"samples": {"0": 3, "1": 4, "2": 4}}, "request.samples asks to forget every sample"),
        ({"samples": {"one": 1}}, "request.samples takes clients by number, such as {0: 1}, not 'one'"),
        ({"samples": {"01": 1}}, "not '01'"),
        ({"samples": {"-1": 1}}, "not '-1'"),
        ({"samples": {"9" * 5000: 1}}, "request.samples takes clients by number"),
    ],
)
def test_wrong_requests_are_one_sentence(given: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError) as error:
        ask(**given)  # type: ignore[arg-type]
    assert words in str(error.value) and "\n" not in str(error.value)


def test_what_a_shadow_model_never_sees_is_a_random_half_of_what_is_forgotten() -> None:
    wanted = ask(classes=(0, 1))
    drawn = [held_out(wanted, 0, shadow) for shadow in range(40)]
    assert {int(mask.sum()) for mask in drawn} == {int(wanted.forget.sum()) // 2}
    assert not any((mask & ~wanted.forget).any() for mask in drawn)
    often = np.sum(drawn, axis=0)[wanted.forget]
    assert often.min() > 8 and often.max() < 32  # 20 are expected, with a deviation of about 3
    assert (held_out(wanted, 0, 7) == drawn[7]).all()
    assert (held_out(wanted, 1, 7) != drawn[7]).any()


def test_a_class_that_no_client_holds() -> None:
    without_owls = [np.array([0, 1]), np.array([3, 4])]
    with pytest.raises(RequestError, match=r"asks for class 2 \(owl\), which no client holds"):
        ask(parts=without_owls, classes=(2,))
    with pytest.raises(RequestError, match="leaves nothing to retain"):
        ask(parts=without_owls, classes=(0, 1))  # all that is held, though there are three classes
    assert chosen(ask(parts=without_owls, classes=(0,))) == [0, 3, 6, 9]


def test_classes_by_name_are_the_classes_by_number() -> None:
    for classes in (("owl",), ("2",), (2,)):
        request = ask(classes=classes)
        assert (request.classes, chosen(request)) == ((2,), [2, 5, 8, 11])
    assert ask(classes=("owl", 0)).classes == (0, 2)


def test_a_name_that_looks_like_a_number_is_the_number() -> None:
    config = RequestConfig(classes=("1",))
    assert config.classes == (1,)
    assert resolve(config, LABELS, PARTS, ("1", "2", "0"), 0).classes == (1,)  # not class 0, which is called 1
    assert resolve(RequestConfig(classes=("01",)), LABELS, PARTS, ("00", "01", "02"), 0).classes == (1,)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("Dog",), "there is no class called 'Dog': choose cat, dog or owl; did you mean dog?"),
        (("DOG",), "there is no class called 'DOG': choose cat, dog or owl; did you mean dog?"),
        (("newt",), "there is no class called 'newt': choose cat, dog or owl"),
        (("owl", 2), "request.classes names class 2 more than once"),
        (("12",), "request.classes asks for class 12, but there are 3, numbered 0 to 2"),
    ],
)
def test_names_that_are_no_class(classes: tuple[int | str, ...], said: str) -> None:
    with pytest.raises(RequestError) as error:
        ask(classes=classes)
    assert str(error.value) == said


def test_of_many_names_the_nearest_is_enough() -> None:
    names = [f"animal {number}" for number in range(100)]
    with pytest.raises(RequestError) as error:
        resolve(RequestConfig(classes=("animal97",)), LABELS, PARTS, names, 0)
    assert str(error.value) == "there is no class called 'animal97'; did you mean animal 97?"
