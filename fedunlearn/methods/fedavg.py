"""FedAvg on all data: how the original model is trained and, as a method, the control that forgets nothing.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017.
As a method it shows what the extra rounds alone do to a model.
"""

from __future__ import annotations

from fedunlearn.federation.method import Method, NoSettings
from fedunlearn.federation.objective import Objective, everything
from fedunlearn.tasks.base import EVERY

METHODS = {
    "fedavg": Method(
        name="fedavg",
        title="more training",
        settings=NoSettings,
        objective=lambda settings, spec: Objective(everything),
        tasks=EVERY,
    )
}
