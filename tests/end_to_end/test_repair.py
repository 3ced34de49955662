"""A run with a repair, from one command: what is mended, audited, kept, shared and refused."""

from __future__ import annotations

import json

import pytest

from fedunlearn.report import tables
from fedunlearn.results import summary as summaries
from fedunlearn.results.summary import from_json
from fedunlearn.runs import job, runner

TINY = [
    *("data.limit=300", "partition.clients=4", "gates=warn", "train.rounds=3", "unlearn.rounds=1", "audit=quick"),
    *("audit.ausuc=null", "train.local_epochs=2"),
]


@pytest.fixture
def command(undrawn, tmp_path):
    return lambda *words: undrawn(*TINY, f"store.dir={tmp_path / 'store'}", *words)


def test_one_command_mends_all_models_alike_and_audits_them(command, tmp_path):
    words = ["method=fucrt", "repair=average_logit_gap", "deploy.formats=[int4]", f"output.dir={tmp_path / 'run'}"]
    status, said, _ = command(*words)
    assert status == 0
    for name in ("original", "retrained_0", "retrained_1", "unlearned"):
        assert f"repair_{name}: 0 rounds" in said
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert written["models"].keys() == {"original", "retrained", "unlearned", "repaired"}
    for whole in (written, written["deployed"]["int4"]):
        mended = whole["repaired"]
        assert whole["models"]["repaired"] == mended["models"]["unlearned"]
        assert mended["noise_floor"].keys() == whole["noise_floor"].keys()
        for name, value in mended["gap"].items():
            assert value == pytest.approx(mended["models"]["unlearned"][name] - mended["models"]["retrained"][name])
        assert mended["verdict"]["retrained"] == 2
        assert mended["models"]["original"] != whole["models"]["original"], "the original is mended as well"
    assert "survival" in written["deployed"]["int4"]["repaired"] and written["repair"]["gamma"]
    assert written["cost"]["repair"]["bytes_up"] == 4 * 2 * 10 * 8  # gamma and samples of ten classes, four clients
    assert written["cached"]["repair"] is False
    stages = {json.loads(line)["stage"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()}
    assert {"repair", "audit_unlearned.repaired", "audit_original.repaired.int4"} <= stages

    assert "Repaired by average logit gap, " in written["headline"]
    page = (tmp_path / "run" / "report.html").read_text()
    for form in ("At int4", "Repaired by average logit gap", "Repaired by average logit gap, at int4"):
        assert f"<summary>{form}</summary>" in page
    assert page.count("What rounding undoes</h4>") == 2
    rows = tables.tidy([tmp_path / "run"])
    assert rows[["repair", "format"]].values.tolist() == [
        ["", "float32"],
        ["average_logit_gap", "float32"],
        ["", "int4"],
        ["average_logit_gap", "int4"],
    ]
    assert rows["unlearned.retain_accuracy"][1] == written["models"]["repaired"]["retain_accuracy"]
    assert rows["setting"][3].endswith(", repaired by average logit gap, at int4")
    assert "repaired by average logit gap" in said

    read = summaries.read(tmp_path / "run")
    assert read.after_repair().models["unlearned"] == read.models["repaired"]
    assert read.deployed["int4"].repaired is not None
    spoilt = {**written, "repaired": {**written["repaired"], "gap": {"retain_accuracy": "large"}}}
    with pytest.raises(ValueError, match=r"repaired\.gap\.retain_accuracy"):
        from_json(json.dumps(spoilt))

    status, said, _ = command(*words)
    assert status == 0 and "finished already" in said


def test_repairs_are_shared_by_a_sweep_and_go_on_where_they_were(command, tmp_path, monkeypatch, made_in):
    words = ["repair=finetune", "repair.rounds=3", "audit.accuracy=null", "audit.class_flow=null", "retrain.seeds=1"]
    status, *_ = command("-m", "method=head_mask,finetune", *words, f"output.dir={tmp_path / 'sweep'}")
    assert status == 0
    stages = made_in(tmp_path / "store")
    assert stages.count("train") == 1 and stages.count("unlearn") == 2
    assert stages.count("repair") == 4, "original and retrained once, and both unlearned models"

    plain = next(tmp_path.glob("sweep/*finetune*/summary.json"))
    before = json.loads(plain.read_text())["models"]["repaired"]
    ran = []
    true_stage = job.pipeline.Runner._train

    def interrupted(self, step, checkpoint, sound):
        if step.name == "repair_unlearned":
            save = checkpoint.save

            def once(artifact):
                save(artifact)
                ran.append(artifact.data["cost"]["rounds"])
                if ran == [0, 1, 2]:
                    raise KeyboardInterrupt

            monkeypatch.setattr(checkpoint, "save", once)
        return true_stage(self, step, checkpoint, sound)

    monkeypatch.setattr(job.pipeline.Runner, "_train", interrupted)
    monkeypatch.setattr(runner, "SAVE_EVERY", 0)
    elsewhere = [f"store.dir={tmp_path / 'other'}", f"output.dir={tmp_path / 'again'}", "method=finetune", *words]
    status, *_ = command(*elsewhere)
    assert status != 0 and ran == [0, 1, 2]
    status, said, _ = command(*elsewhere)
    assert status == 0 and "repair_unlearned: going on after round 2 of 3" in said and ran == [0, 1, 2, 3]
    assert json.loads((tmp_path / "again" / "summary.json").read_text())["models"]["repaired"] == before


def test_another_repair_makes_other_steps_and_none_makes_none(command, tmp_path, made_in):
    words = ["method=head_mask", "retrain.seeds=1", f"output.dir={tmp_path / 'run'}", "output.overwrite=true"]
    assert command(*words)[0] == 0
    plain = made_in(tmp_path / "store")
    assert "repair" not in plain
    assert "repaired" not in json.loads((tmp_path / "run" / "summary.json").read_text())["models"]
    for repair, more in (("repair=logit_adjustment", 3), ("repair.tau=2", 6)):
        assert command(*words, "repair=logit_adjustment", *([repair] if "tau" in repair else []))[0] == 0
        assert made_in(tmp_path / "store").count("repair") == more


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["repair=averge_logit_gap"], "average_logit_gap"),
        (["repair=finetune", "repair.rouds=3"], "rounds"),
        (["repair=finetune", "repair.rounds=0"], "repair.rounds must be"),
        (["repair=climbq", "repair.bits=9"], "repair.bits must be"),
        (["repair=climbq", "repair.weighting=homovr"], "homovar"),
        (["repair=logit_adjustment", "repair.tau=-1"], "repair.tau must be"),
        (["repair=average_logit_gap", "repair.tau=1"], "tau"),
        (["-m", "repair=average_logit_gap,pseudo_classes", "repair.centred=true"], "write ++repair.centred=…"),
    ],
    ids=lambda given: given[-1] if isinstance(given, list) else "",
)
def test_a_mistake_costs_one_sentence(command, tmp_path, words, says):
    status, _, error = command(*words, f"output.dir={tmp_path / 'run'}")
    assert status == 2 and says in error and "Traceback" not in error
    assert len(error.strip().splitlines()) == 1


def test_a_repair_that_does_not_fit_is_refused_before_anything_trains(command, tmp_path, monkeypatch):
    from torch import nn

    from fedunlearn.federation import federation

    true_build = federation.build
    headless = lambda name, settings, sample, head, seed: true_build(  # noqa: E731
        name, settings, sample, lambda width: nn.Linear(width, 10, bias=False), seed
    )
    monkeypatch.setattr(federation, "build", headless)
    monkeypatch.setattr(job.pipeline.Runner, "_train", lambda *given: pytest.fail("something was trained"))
    status, _, error = command("repair=pseudo_classes", f"output.dir={tmp_path / 'run'}", "data.limit=301")
    assert status == 2 and "repair pseudo_classes cannot mend model=cnn: a linear head with a bias is needed" in error
