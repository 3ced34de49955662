"""No augmentation: clients train on images as they are. The default."""

from __future__ import annotations

from fedunlearn.augment.base import Augmentation, NoSettings

AUGMENTATIONS = {"none": Augmentation("none", NoSettings, about="clients train on images as they are")}
