"""What a server of processes has imported before it forks the first: all that a run or a report may need.

In such a process a command takes a fraction of a second that would else take ten seconds to import the same.
"""

# ruff: noqa: F401 (to have them imported is all)

import flwr_datasets.partitioner
import matplotlib.backends.backend_svg
import PIL.PngImagePlugin
import pytest
import sklearn.datasets
import sklearn.linear_model
import sklearn.manifold
import torchvision.datasets

from fedunlearn.cli import main, report, store
from fedunlearn.report import figures, sweep
from fedunlearn.runs import job
from fedunlearn.settings import registry

for kind in registry.KINDS:  # ours alone: a child may find other packages than this process
    registry.built_in(kind)
