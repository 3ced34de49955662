"""Verification: are two images held to show one individual? Of forgotten, retained and never-seen individuals.

A model that was retrained without an individual still verifies it: recognising strangers is what such models are for.
How well is measured here on strangers: individuals that no client ever held, if the dataset keeps some back. So a
forgotten individual is forgotten when its true accept rate (TAR) is that of retrained models, inside the range of
strangers, and not when it is 0.

All rates of a model are taken at one threshold, as a system would: where the share of impostor pairs that are accepted
(the false accept rate, FAR), among all test individuals and strangers, is 10, 1 or 0.1 per cent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fedunlearn.audits import matching
from fedunlearn.audits.base import Audit, Evidence, FigureData, Findings, Reference, View
from fedunlearn.audits.matching import Pairs, Shown
from fedunlearn.randomness import numpy_stream
from fedunlearn.results.findings import Finding
from fedunlearn.settings.schema import AtLeast

RATES = {"10": 0.1, "1": 0.01, "01": 0.001}  # false accept rates, by how findings are called
NEEDED = 10  # impostor pairs that a rate has to be made of
GROUPS = {"forget": "forgotten individuals", "retain": "retained individuals", "unseen": "individuals never seen"}
CURVE = np.logspace(-4, 0, 33)  # false accept rates of a curve
MOST = 4000  # forgotten training images: of more, pairs do not fit into memory


@dataclass(frozen=True)
class VerificationSettings:
    """How much is compared."""

    images: Annotated[int, AtLeast(4)] = 1500  # of the test split, and of those never seen, at most, drawn by seed


def measure(evidence: Evidence, reference: Reference, settings: VerificationSettings) -> Findings:
    """For `forget`, `retain` and `unseen` individuals: rates, distances and how many pairs they come from.

    None where there are no such individuals, none with two images, or too few impostor pairs for a rate. Intervals are
    95 % bootstrap intervals over individuals of the mean of their rates.
    """
    stream = numpy_stream(reference.seed, "audit", "verification")
    test = _some(shown(evidence.test), settings.images, stream)
    strangers = None if evidence.unseen is None else _some(shown(evidence.unseen), settings.images, stream)
    everybody = test if strangers is None else matching.together([test, strangers])
    impostor = matching.pairs(everybody).impostor
    forgotten = np.isin(test.who, reference.forget_classes)
    groups = {"forget": test.at(forgotten), "retain": test.at(~forgotten), "unseen": strangers}
    limits = {
        name: matching.threshold(impostor, rate) if rate * len(impostor) >= NEEDED else None
        for name, rate in RATES.items()
    }
    found: Findings = {"impostor_pairs": float(len(impostor))}
    curves: FigureData = {"false accept rate": CURVE.tolist()}
    limits_of_curve = [matching.threshold(impostor, rate) for rate in CURVE]
    for name, group in groups.items():
        mates = Pairs(np.zeros(0), np.zeros(0), np.zeros(0)) if group is None else matching.pairs(group)
        found |= _of_group(name, mates, group, everybody, limits)
        found |= _intervals(name, mates, limits["1"], numpy_stream(reference.seed, "audit", "bootstrap", name))
        if len(mates.genuine):
            curves[GROUPS[name]] = [matching.accepted(mates.genuine, limit) for limit in limits_of_curve]
    found["forget_tar_train"] = _on_training(evidence.train, limits["1"])
    found["accept_rates"] = curves
    return found


def shown(view: View) -> Shown:
    """What a view shows."""
    return Shown(view.features, view.groups)


def _some(all_of_them: Shown, count: int, stream: np.random.Generator) -> Shown:
    chosen = np.sort(stream.permutation(len(all_of_them))[:count])
    return all_of_them.at(chosen)


def _of_group(
    name: str, mates: Pairs, group: Shown | None, everybody: Shown, limits: dict[str, float | None]
) -> Findings:
    genuine = mates.genuine
    found: Findings = {f"{name}_pairs": float(len(genuine))}
    for rate, limit in limits.items():
        known = len(genuine) and limit is not None
        found[f"{name}_tar_{rate}"] = matching.accepted(genuine, limit) if known and limit is not None else None
    if group is None or not len(genuine):
        return {**found, **dict.fromkeys((f"{name}_eer", f"{name}_d_prime", f"{name}_spread"))}
    impostor = matching.between(group, everybody)
    found[f"{name}_eer"] = matching.equal_error_rate(genuine, impostor)
    found[f"{name}_d_prime"] = matching.d_prime(genuine, impostor)
    found[f"{name}_spread"] = float(genuine.mean())
    return found


def _intervals(name: str, mates: Pairs, limit: float | None, stream: np.random.Generator) -> Findings:
    """Of retained individuals and strangers; of the latter also who is verified worst and best."""
    if name == "forget":
        return {}
    names = [f"{name}_tar_low", f"{name}_tar_high", *(["unseen_tar_least", "unseen_tar_most"] * (name == "unseen"))]
    if not len(mates.genuine) or limit is None:
        return dict.fromkeys(names)
    each = matching.by_individual(mates.genuine < limit, mates.who)
    values = [*matching.interval(each, stream), float(each.min()), float(each.max())]
    return dict(zip(names, values, strict=False))


def _on_training(view: View, limit: float | None) -> float | None:
    """The rate of the forgotten individuals' training images, at the threshold of the test images."""
    rows = np.flatnonzero(view.forget)
    genuine = matching.pairs(shown(view).at(rows)).genuine if 1 < len(rows) <= MOST else np.zeros(0)
    return matching.accepted(genuine, limit) if len(genuine) and limit is not None else None


def _declared() -> Iterator[Finding]:
    for group, who in GROUPS.items():
        direction = "up" if group == "forget" else "as retrained"
        for name, rate in RATES.items():
            yield Finding(
                f"{group}_tar_{name}",
                f"TAR {group}" if name == "1" else f"TAR {group}, FAR {100 * rate:g} %",
                f"share of pairs of test images of {who} that are accepted where {100 * rate:g} % of impostors are",
                direction,  # type: ignore[arg-type]
                "0 to 1",
                headline=name == "1" and group != "retain",
                counted=group == "forget" and name == "1",
            )
        yield Finding(
            f"{group}_eer",
            f"EER {group}",
            f"where as many impostors of {who} are accepted as genuine pairs rejected",
            "down" if group == "forget" else "as retrained",
            "0 to 1",
        )
        yield Finding(
            f"{group}_d_prime",
            f"d-prime {group}",
            f"distance between genuine and impostor pairs of {who}, in their standard deviations",
            direction,  # type: ignore[arg-type]
        )
        yield Finding(
            f"{group}_spread",
            f"spread {group}",
            f"mean distance between test images of one of the {who}",
            "down" if group == "forget" else "as retrained",
            "0 and up",
        )
        yield Finding(f"{group}_pairs", f"pairs {group}", f"genuine pairs of {who}", scale="0 and up")
        if group == "forget":
            continue
        for name, words in (("low", "lower"), ("high", "upper")):
            yield Finding(
                f"{group}_tar_{name}",
                f"TAR {group}, {words} end",
                f"{words} end of the 95 % bootstrap interval, over individuals, of the mean of the rates at FAR 1 %",
                scale="0 to 1",
            )
    for name, words in (("least", "lowest"), ("most", "highest")):
        yield Finding(
            f"unseen_tar_{name}",
            f"{words} TAR unseen",
            f"{words} of the rates of single individuals never seen, at FAR 1 %",
            scale="0 to 1",
        )
    yield Finding("impostor_pairs", "impostor pairs", "pairs of test images of two individuals", scale="0 and up")
    yield Finding(
        "forget_tar_train",
        "TAR forget (train)",
        "share of pairs of the training images to be forgotten that are accepted where 1 % of impostors are",
        "up",
        "0 to 1",
        counted=True,
    )
    yield Finding("accept_rates", "ROC", "true against false accept rates", kind="figure", drawn="curves")


AUDITS = {
    "verification": Audit(
        "verification",
        VerificationSettings,
        measure,
        findings=tuple(_declared()),
        tasks=frozenset({"identity"}),
        about="are two images held to show one individual? forgotten, retained and never seen ones",
    )
}
