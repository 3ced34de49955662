"""The map keeps neighbours together, is small, and is the same every time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fedunlearn.audits.base import Reference
from fedunlearn.audits.feature_map import AUDITS, FeatureMapSettings, embedded


@pytest.fixture
def clusters(evidence: Any) -> Any:
    labels = np.tile(np.arange(4), 30)
    features = 9 * np.eye(4, 6)[labels] + np.random.default_rng(0).normal(size=(120, 6))
    return evidence(np.zeros((120, 4)), labels, [2], features)


def measure(found: Any, retrained: tuple[Any, ...] = (), forget: tuple[int, ...] = (2,), **settings: Any) -> Any:
    reference = Reference(found, retrained, forget, classes=4, seed=0)
    return AUDITS["feature_map"].measure(found, reference, FeatureMapSettings(**settings))


def test_clusters_are_clusters_on_the_map(clusters: Any) -> None:
    found = measure(clusters)["feature_map"]
    places, labels = np.array([found["x"], found["y"]]).T, np.array(found["label"])
    centres = np.stack([places[labels == c].mean(axis=0) for c in range(4)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.95


def test_it_is_small_and_the_same_every_time(clusters: Any) -> None:
    one, other = (json.dumps(measure(clusters, samples=60)) for _ in range(2))
    assert one == other
    assert len(json.loads(one)["feature_map"]["x"]) == 60
    assert len(one) < 60 * 30


def test_one_retrained_model_stands_for_all_and_below_class_level_there_is_none(clusters: Any, evidence: Any) -> None:
    other = evidence(clusters.test.logits, clusters.test.labels, [2], clusters.test.features)
    assert measure(clusters, (clusters, other), samples=20)
    assert measure(other, (clusters, other)) == {}
    assert measure(clusters, forget=()) == {}


def test_features_that_are_all_the_same_lie_in_one_place() -> None:
    assert not embedded(np.ones((20, 3)), FeatureMapSettings()).any()


def test_a_single_feature_can_be_drawn() -> None:
    assert np.isfinite(embedded(np.eye(20)[:, :1], FeatureMapSettings())).all()
