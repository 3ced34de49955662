"""Every repair on a device that is not the CPU."""

import pytest

from fedunlearn.settings import registry
from tests import elsewhere
from tests.elsewhere import DEVICE


@pytest.mark.parametrize("name", [repair.name for repair in registry.ours("repair") if repair.name != "none"])
def test_every_repair(make_federation, mend, monkeypatch, name):
    with elsewhere.entered(monkeypatch):
        done = mend(name, make_federation(per_class=20, device=DEVICE))[-1]
        assert done.cost["failures"] == 0, [entry.get("failure") for entry in done.history]
