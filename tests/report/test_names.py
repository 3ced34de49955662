"""What settings and requests are called."""

# ruff: noqa: RUF001 (Greek letters are meant)

from __future__ import annotations

from typing import Any

import pytest

from fedunlearn.report import names


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"classes": [2]}, "class 2 (dress)"),
        ({"classes": [0, 2]}, "classes 0 (top) and 2 (dress)"),
        ({"classes": [0, 1, 7]}, "classes 0 (top), 1 and 7"),
        ({"classes": [0, 1, 2, 3]}, "4 classes"),
        ({"classes": ["dress"]}, "class 2 (dress)"),  # asked for by name
        ({"classes": ["blouse", 0]}, "classes blouse and 0 (top)"),
        ({"classes": [], "clients": [4]}, "client 4"),
        ({"clients": [4, 5]}, "clients 4 and 5"),
        ({"samples": {"0": 20}}, "20 samples of client 0"),
        ({"samples": {"0": 1000, "3": 500}}, "1,500 samples of clients 0 and 3"),
        ({}, ""),
    ],
)
def test_request_in_words(request_: dict[str, Any], text: str) -> None:
    assert names.request(request_, ["top", "1", "dress"]) == text


def test_setting_in_words_leaves_out_what_is_not_known() -> None:
    config = {"dataset": {"name": "mnist"}, "partition": {"name": "dirichlet", "alpha": 0.1, "clients": 1000}}
    assert names.setting(config) == "mnist, dirichlet α=0.1, 1,000 clients"
    assert names.setting({**config, "augment": {"name": "blur"}}).endswith("1,000 clients, augmented by blur")
    assert names.setting({**config, "augment": {"name": "none"}}) == names.setting(config)
    assert names.setting({}) == ""


def test_flat_takes_whole_sections_and_single_settings_but_not_where_the_data_are() -> None:
    config = {"data": {"root": "/a", "limit": 5}, "unlearn": {"rounds": 3, "lr": 0.1}, "request": {"samples": {}}}
    assert names.parts_of(config, ("data", "unlearn.rounds", "request")) == {
        "data.limit": "5",
        "unlearn.rounds": "3",
        "request.samples": "{}",
    }


def test_told_apart_shows_only_what_differs_among_those_that_read_the_same() -> None:
    texts = ["fucrt", "fucrt", "other"]
    details = [{"method.beta": "1", "lr": "2"}, {"method.beta": "3", "lr": "2"}, {"lr": "9"}]
    assert names.told_apart(texts, details) == ["fucrt (beta=1)", "fucrt (beta=3)", "other"]
