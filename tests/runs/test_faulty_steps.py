"""What was made while clients were left out, or sources changed, is kept apart: nobody else is served it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedunlearn.cli import command_line
from fedunlearn.cli.main import conf_dir
from fedunlearn.federation import client
from fedunlearn.runs import federations, pipeline, runner, steps
from fedunlearn.runs.console import Console
from fedunlearn.runs.keeping import Keeper
from fedunlearn.runs.pipeline import Outcome
from fedunlearn.runs.running import Code
from fedunlearn.runs.steps import Measuring, Step
from fedunlearn.settings.config import Choice, RunConfig
from fedunlearn.sources import SourceFile, Sources, _file
from fedunlearn.store import Artifact, Store
from fedunlearn.store.catalogue import entries

TINY = ["data.limit=200", "partition.clients=4", "gates=warn", "train.rounds=2", "unlearn.rounds=2", "retrain.seeds=2"]
TINY += ["audit=quick", "audit.ausuc=null"]
Break = Callable[..., None]


def config_of(root: Path, *words: str) -> RunConfig:
    places = [f"store.dir={root / 'store'}", f"output.dir={root / 'run'}"]
    return command_line.read([*TINY, "method=finetune", *places, *words], conf_dir())


def run(root: Path, *words: str) -> Outcome:
    said = io.StringIO()
    return pipeline.run(config_of(root, *words), Console(said))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Break:
    """`broken("train", 2)`: from now on client 1 raises in round 2 of the stage `train`; `broken()`: all are well."""
    usual, where = client._train, []

    def training(briefing, context, federation, pack, check):  # type: ignore[no-untyped-def]
        number = client.client_of(briefing, context, federation).number
        if number == 1 and (briefing.work.spec.stage, briefing.round) in where:
            raise ValueError("disk on fire")
        return usual(briefing, context, federation, pack, check)

    monkeypatch.setattr(client, "_train", training)

    def choose(*stage_and_rounds: str | int) -> None:
        where[:] = [(stage_and_rounds[0], number) for number in stage_and_rounds[1:]] if stage_and_rounds else []

    return choose


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What comes out where nothing goes wrong."""
    return run(tmp_path_factory.mktemp("clean"))


def assert_clean(outcome: Outcome, clean: Outcome) -> None:
    for mine, theirs in zip(outcome.models, clean.models, strict=True):
        assert mine.step.label == theirs.step.label
        assert all(torch.equal(value, theirs.model.tensors[name]) for name, value in mine.model.tensors.items())
        assert mine.findings == theirs.findings
        assert mine.model.cost["failures"] == 0


def cached(outcome: Outcome) -> list[bool]:
    return [each.model.cached for each in outcome.models]


@pytest.mark.parametrize(
    ("where", "served"),
    [
        (("train", 1, 2), [False, True, True, False]),  # unlearning starts from it
        (("retrain_1", 2), [True, True, False, True]),
        (("unlearn", 1), [True, True, True, False]),
    ],
)
def test_healthy_clients_are_not_given_what_faulty_ones_made(
    tmp_path: Path, broken: Break, clean: Outcome, where: tuple[str | int, ...], served: list[bool]
) -> None:
    broken(*where)
    faulty = run(tmp_path)
    assert sum(each.model.cost["failures"] for each in faulty.models) == len(where) - 1
    assert not any(cached(faulty))
    broken()
    healthy = run(tmp_path)
    assert cached(healthy) == served
    assert_clean(healthy, clean)
    assert cached(run(tmp_path)) == [True] * 4


def test_the_findings_of_a_faulty_model_are_its_own(tmp_path: Path, broken: Break, clean: Outcome) -> None:
    """A faulty retrained model is a reference for every audit, so that every audit is made anew for healthy clients."""
    broken("retrain_0", 1, 2, 3, 4)
    faulty = run(tmp_path)
    assert faulty.findings != clean.findings
    before = {entry.location.key for entry in entries(tmp_path / "store") if entry.location.stage == "audit"}
    clean_keys = {step.key for step in steps.of_run(faulty.config, faulty.federation) if step.kind == "audit"}
    assert before and not before & clean_keys


def test_what_happened_is_in_the_store_and_is_said(tmp_path: Path, broken: Break) -> None:
    said = io.StringIO()
    console = Console()
    console.screen.file = said
    broken("train", 2)
    pipeline.run(config_of(tmp_path), console)
    assert said.getvalue().count("train: a client was left out once, so the model is kept apart and given to no") == 1
    (entry,) = [entry for entry in entries(tmp_path / "store") if entry.location.stage == "train"]
    assert entry.manifest
    assert entry.manifest.determinants["apart"]["failures"] == 1


def test_the_same_mishap_is_the_same_model_under_the_same_key(tmp_path: Path, broken: Break) -> None:
    broken("train", 2)
    first, second = run(tmp_path), run(tmp_path)
    assert cached(second) == [False, True, True, True], "what is made of the very same model need not be made again"
    assert first.original.key == second.original.key
    assert first.signature == second.signature != steps.signature(first.config, first.federation)


def test_a_faulty_run_is_not_finished_for_good(tmp_path: Path, broken: Break) -> None:
    healthy = run(tmp_path)
    assert healthy.signature == steps.signature(healthy.config, federations.opened(healthy.config))


def test_a_faulty_history_makes_what_starts_with_it_faulty(tmp_path: Path, broken: Break) -> None:
    """The history is the training of the same name, so the fault comes once the original is in the store."""
    run(tmp_path)
    broken("train", 1)
    assert run(tmp_path, "method=federaser").unlearned.cached is False
    broken()
    healthy = run(tmp_path, "method=federaser")
    assert cached(healthy) == [True, True, True, False]
    assert cached(run(tmp_path, "method=federaser")) == [True] * 4


def interrupted(root: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Ctrl-C as soon as the first round of a stage is in its checkpoint."""
    usual = runner.Runner._say_failures

    def stop(self, step, entry):  # type: ignore[no-untyped-def]
        if entry["round"] == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(runner.Runner, "_say_failures", stop)
    monkeypatch.setattr(runner, "SAVE_EVERY", 0)
    with pytest.raises(KeyboardInterrupt):
        run(root, *words)
    monkeypatch.setattr(runner.Runner, "_say_failures", usual)


def rounds_trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Filled with (stage, round) as rounds are trained."""
    usual, seen = runner.Runner._say_failures, []

    def note(self, step, entry):  # type: ignore[no-untyped-def]
        seen.append((step.name, entry["round"]))
        usual(self, step, entry)

    monkeypatch.setattr(runner.Runner, "_say_failures", note)
    return seen


def test_the_same_command_goes_on_and_still_knows_of_the_fault(
    tmp_path: Path, broken: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken("train", 1)
    interrupted(tmp_path, monkeypatch)
    broken()
    seen = rounds_trained(monkeypatch)
    resumed = run(tmp_path)
    assert [number for name, number in seen if name == "train"] == [2]
    assert resumed.original.cost["failures"] == 1
    assert resumed.original.key != resumed.models[0].step.key
    assert cached(run(tmp_path))[0] is False


def test_another_run_does_not_go_on_from_a_faulty_round(
    tmp_path: Path, broken: Break, clean: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken("train", 1)
    interrupted(tmp_path, monkeypatch)
    broken()
    seen = rounds_trained(monkeypatch)
    other = run(tmp_path, f"output.dir={tmp_path / 'other'}")
    assert [number for name, number in seen if name == "train"] == [0, 1, 2]
    assert_clean(other, clean)


def test_another_run_goes_on_from_a_clean_round(
    tmp_path: Path, clean: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path, monkeypatch)
    seen = rounds_trained(monkeypatch)
    other = run(tmp_path, f"output.dir={tmp_path / 'other'}")
    assert [number for name, number in seen if name == "train"] == [2]
    assert_clean(other, clean)


# Sources that change


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text("FACTOR = 1\n")
    return tmp_path / "mine.py"


def step_of(*files: SourceFile, name: str = "mine", inputs: dict[str, tuple[Step, ...]] | None = None) -> Step:
    code = Code({"mine": Sources(files)})
    return Step(name, name, name, Measuring(Choice("accuracy", None)), code, {"name": name}, inputs or {})


def made(text: str) -> Callable[..., Artifact]:
    return lambda checkpoint, sound: Artifact({}, {"text": text})


def fail(checkpoint: object, sound: object) -> Artifact:
    raise AssertionError("it is in the store")


def test_what_was_made_while_its_source_changed_is_served_to_nobody(tmp_path: Path, source: Path) -> None:
    store, said = Store(tmp_path / "store"), list[str]()
    step = step_of(_file("mine.py", source))

    def edit(checkpoint: object, sound: Callable[[], bool]) -> Artifact:
        assert sound()
        source.write_text("FACTOR = 2\n")
        assert not sound()
        return Artifact({}, {"text": "of nobody knows which code"})

    first = Keeper(store, said.append)
    assert first.get(step, edit).data == {"text": "of nobody knows which code"}
    assert first.kept[step.key] != step.key
    assert said and all(f"{source} changed after this process had read it" in text for text in said)
    assert first.get(step, fail).data == {"text": "of nobody knows which code"}, "it stays what it is for this run"
    assert store.peek(step.kind, step.determinants()) is None
    source.write_text("FACTOR = 1\n")
    other = Keeper(store, said.append)
    assert other.get(step_of(_file("mine.py", source)), made("clean")).data == {"text": "clean"}
    assert Keeper(store, said.append).get(step_of(_file("mine.py", source)), fail).data == {"text": "clean"}


def test_an_edit_before_the_computation_counts_too(tmp_path: Path, source: Path) -> None:
    """What is imported only now is the edited file, though the key was made of the one before."""
    store = Store(tmp_path / "store")
    step = step_of(_file("mine.py", source))
    source.write_text("FACTOR = 2\n")

    def reverts(checkpoint: object, sound: object) -> Artifact:
        source.write_text("FACTOR = 1\n")
        return Artifact({}, {"text": "of the edited file"})

    Keeper(store, lambda text: None).get(step, reverts)
    assert store.peek(step.kind, step.determinants()) is None


def test_a_file_that_was_only_touched_is_no_other(tmp_path: Path, source: Path) -> None:
    store = Store(tmp_path / "store")
    step = step_of(_file("mine.py", source))
    source.write_text("FACTOR = 1\n")
    Keeper(store, lambda text: None).get(step, made("clean"))
    assert store.peek(step.kind, step.determinants()) is not None


def test_what_is_made_of_it_is_kept_apart_too(tmp_path: Path, source: Path) -> None:
    store, keeper = Store(tmp_path / "store"), None
    file = _file("mine.py", source)
    first = step_of(file, name="first")
    second = step_of(name="second", inputs={"subject": (first,)})
    source.write_text("FACTOR = 2\n")
    keeper = Keeper(store, lambda text: None)
    keeper.get(first, made("stale"))
    keeper.get(second, made("of the stale one"))
    assert store.peek(second.kind, second.determinants()) is None
    held = store.peek(second.kind, second.determinants(keeper.kept))
    assert held and held.data == {"text": "of the stale one"}


def test_an_input_that_turns_out_faulty_late_counts(tmp_path: Path, source: Path) -> None:
    """A history is made only once the step that needs it is being computed."""
    store, keeper = Store(tmp_path / "store"), Keeper(Store(tmp_path / "store"), lambda text: None)
    first = step_of(_file("mine.py", source), name="first")
    second = step_of(name="second", inputs={"history": (first,)})
    source.write_text("FACTOR = 2\n")

    def needs(checkpoint: object, sound: Callable[[], bool]) -> Artifact:
        keeper.get(first, made("stale"))
        assert not sound()
        return Artifact({}, {"text": "of the stale one"})

    keeper.get(second, needs)
    assert store.peek(second.kind, second.determinants()) is None
    assert json.dumps(keeper.kept)
    assert replace(second, inputs={}).key != second.key
