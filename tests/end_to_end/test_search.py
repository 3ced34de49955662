"""Optuna as the sweeper: it is given every job's objective, and finds the better value.

Left out where Optuna is not installed, as in `make test`'s environment. To run it:
`pip install -e '.[dev,optuna]' && pytest tests/end_to_end/test_search.py`.
"""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from fedunlearn.results import objective
from fedunlearn.results import summary as summaries

pytest.importorskip("optuna")

SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=0", "audit=quick")
TINY = ("data.limit=400", "partition.clients=4", "train.rounds=3", "unlearn.rounds=1", "retrain.seeds=1", "gates=warn")


def test_the_best_job_is_that_of_the_least_objective(fedunlearn, tmp_path):
    places = (f"output.dir={tmp_path / 'search (1)'}", f"store.dir={tmp_path / 'store'}")
    space = ("train.lr=interval(0.001,0.1)", "method=choice(finetune,head_mask)")
    status, *_ = fedunlearn(*SEARCH, *TINY, *places, *space, "sweep.objective={retain_accuracy:1,forget_accuracy:2}")
    assert status == 0
    runs = [summaries.read(path.parent) for path in (tmp_path / "search (1)").glob("*/summary.json")]
    values = [objective.value(run, {"retain_accuracy": 1, "forget_accuracy": 2}) for run in runs]
    best = OmegaConf.load(tmp_path / "search (1)" / "optimization_results.yaml")
    assert len(runs) == 3 and best.best_value == pytest.approx(min(values))
    assert len({run.config["train"]["lr"] for run in runs}) > 1
