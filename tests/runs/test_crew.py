"""A job's audits keep to its share of the cores, whatever the machine has, and their calls may make calls."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from threadpoolctl import threadpool_info

from fedunlearn.runs.crew import crew


def threads() -> list[int]:
    return [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())]


@pytest.mark.parametrize("count", [1, 3])
def test_every_call_has_one_thread_and_the_machine_its_own_afterwards(count: int) -> None:
    torch.set_num_threads(4)
    try:
        before = threads()
        with crew(count) as hands:
            asked = [hands.submit(threads) for _ in range(6)]
            assert all(set(call.result()) == {1} for call in asked)
        assert threads() == before
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_calls_at_a_time_than_the_crew_has_hands(count: int) -> None:
    """Also where all of them make calls in turn: sixteen that are made while others wait for theirs."""
    at_work, most, lock = 0, 0, threading.Lock()

    def inner(number: int) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.01)
        with lock:
            at_work -= 1
        return number

    with crew(count) as hands:

        def outer(first: int) -> list[int]:
            return hands.side_by_side([lambda n=n: inner(n) for n in range(first, first + 4)])  # type: ignore[misc]

        found = [hands.submit(lambda first=first: outer(first)) for first in (0, 10, 20, 30)]  # type: ignore[misc]
        assert [call.result() for call in found] == [list(range(first, first + 4)) for first in (0, 10, 20, 30)]
    assert most == count


def test_free_hands_help_with_the_calls_of_a_call() -> None:
    meeting = threading.Barrier(2, timeout=10)  # passed by two threads at once, or not at all
    with crew(2) as hands:
        hands.submit(lambda: hands.side_by_side([meeting.wait, meeting.wait])).result()


def test_what_a_call_raises_reaches_whoever_asked() -> None:
    def fail() -> None:
        raise ValueError("no")

    with crew(2) as hands, pytest.raises(ValueError, match="no"):
        hands.submit(lambda: hands.side_by_side([int, fail, int])).result()
