"""MLflow: one MLflow run per run, through its client, so that nothing of MLflow's global state is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedunlearn.results.summary import Summary, as_plain
from fedunlearn.tracking.base import Tracked, TrackerKind, audit_values, flat_config

STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


@dataclass(frozen=True)
class MLflow:
    """Settings."""

    experiment: str = "fedunlearn"  # made if it is not there
    uri: str | None = None  # tracking server or folder; null: as MLflow's environment variables say


class Client:
    """Logs parameters, metrics by round and the run's summary file."""

    def __init__(self, settings: MLflow, run: Tracked) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=settings.uri)
        found = self._client.get_experiment_by_name(settings.experiment)
        number = found.experiment_id if found else self._client.create_experiment(settings.experiment)
        tags = {"fedunlearn.folder": str(run.folder)}
        self._run = self._client.create_run(number, run_name=run.name, tags=tags).info.run_id
        for key, value in flat_config(run.config).items():
            self._client.log_param(self._run, key, value)

    def measured(self, stage: str, number: int, values: Mapping[str, float]) -> None:
        """A point on each of the stage's curves."""
        for name, value in values.items():
            self._client.log_metric(self._run, f"{stage}/{name}", value, step=number)

    def finished(self, summary: Summary) -> None:
        """The audits, and the whole summary as an artifact."""
        for name, value in audit_values(summary).items():
            self._client.log_metric(self._run, f"audit/{name}", value)
        self._client.log_dict(self._run, as_plain(summary), "summary.json")

    def close(self, status: str) -> None:
        """The MLflow run ends with the run's status."""
        self._client.set_terminated(self._run, STATUS[status])


TRACKERS = {
    "mlflow": TrackerKind("mlflow", MLflow, "mlflow", "mlflow", Client, "needs pip install 'fedunlearn[mlflow]'")
}
