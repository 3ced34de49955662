"""Where a stage's time went, shared out by hand."""

from fedunlearn.federation.clock import Interval, Stopwatch, breakdown


def seconds(**parts):
    return {name.replace("_", " "): value for name, value in parts.items()}


def test_what_clients_leave_of_the_training_phase_is_aggregation_then_messages():
    parts = breakdown(seconds(client_data=1, client_work=7, waiting=5, aggregation=0.5, evaluation=2), workers=2)
    assert parts == {
        "preparation": 0,
        "data": 0.5,
        "local training": 3.5,
        "messages": 1.0,
        "aggregation": 0.5,
        "evaluation": 2,
        "checkpoint": 0,
    }
    assert sum(parts.values()) == 5 + 0.5 + 2


def test_aggregation_behind_the_clients_work_costs_nothing():
    parts = breakdown(seconds(client_work=10, waiting=3, aggregation=2.25), workers=2)
    assert (parts["local training"], parts["aggregation"], parts["messages"]) == (5, 0.25, 0)


def test_a_stopwatch_splits_time_without_gaps(monkeypatch):
    ticks = iter([10.0, 11.0, 11.5, 20.0, 24.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    watch = Stopwatch()
    watch.lap("a")
    watch.lap("b")
    watch.restart()
    watch.lap("a")
    watch.add("b", 1.0)
    assert watch.seconds == {"a": 5.0, "b": 1.5}


def test_a_pace_counts_from_when_it_was_done(monkeypatch):
    ticks = iter([0.0, 0.9, 1.0, 3.0, 3.9, 4.0])
    monkeypatch.setattr("time.monotonic", lambda: next(ticks))
    interval = Interval(1)
    assert [interval.is_due(), interval.is_due()] == [False, True]
    interval.begin()
    assert [interval.is_due(), interval.is_due()] == [False, True]
