"""No repair: the unlearned model is what ships. The default."""

from __future__ import annotations

from fedunlearn.federation.method import NoSettings
from fedunlearn.federation.repair import Repair
from fedunlearn.tasks.base import EVERY

REPAIRS = {"none": Repair("none", NoSettings, tasks=EVERY, about="what the method leaves behind is what ships")}
