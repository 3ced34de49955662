"""TensorBoard: curves by round and the final audits, as event files in the run's own folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedunlearn.results.summary import Summary
from fedunlearn.tracking.base import Tracked, TrackerKind, audit_values, flat_config


@dataclass(frozen=True)
class TensorBoard:
    """Settings."""

    folder: str = "tensorboard"  # event files, below the run's folder: tensorboard --logdir DIR


class EventFiles:
    """Writes scalars. A run that goes on tells everything again, so what an earlier attempt wrote is removed."""

    def __init__(self, settings: TensorBoard, run: Tracked) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.work / settings.folder
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]
        rows = [f"| {key} | {value} |" for key, value in flat_config(run.config).items()]
        self._text("config", "\n".join(["| setting | value |", "|---|---|", *rows]))

    def measured(self, stage: str, number: int, values: Mapping[str, float]) -> None:
        """A point on each of the stage's curves."""
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, number)  # type: ignore[no-untyped-call]

    def finished(self, summary: Summary) -> None:
        """The audits, as single points, and the command."""
        for name, value in audit_values(summary).items():
            self._writer.add_scalar(f"audit_{name}", value, 0)  # type: ignore[no-untyped-call]
        self._text("command", summary.command)

    def close(self, status: str) -> None:
        """Everything is on disk afterwards."""
        self._writer.close()  # type: ignore[no-untyped-call]

    def _text(self, tag: str, text: str) -> None:
        self._writer.add_text(tag, text)  # type: ignore[no-untyped-call]


TRACKERS = {
    "tensorboard": TrackerKind(
        "tensorboard",
        TensorBoard,
        "tensorboard",
        "tensorboard",
        EventFiles,
        "needs pip install 'fedunlearn[tensorboard]'",
    )
}
