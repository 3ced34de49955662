"""Every mistake costs one sentence and exit status 2, before any training and without a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedunlearn.cli import main
from fedunlearn.runs import runner

LONG = "a" * 300  # more than a file system takes
MISTAKES = {
    "misspelt group": ["metod=fucrt"],
    "misspelt choice": ["method=fucrtt"],
    "misspelt key": ["train.round=3"],
    "misspelt new key": ["+train.round=3"],
    "unknown nested key": ["method.selection.treshold=0.1"],
    "wrong type": ["train.rounds=many"],
    "a fraction where a count belongs": ["train.rounds=2.5"],
    "negative rounds": ["train.rounds=-1"],
    "no rounds at all": ["train.rounds=0"],
    "negative unlearning rounds": ["unlearn.rounds=-3"],
    "a floor in a format that does not exist": ["unlearn.min_step=int5"],
    "a floor under steps that nobody takes": ["unlearn.min_step=int4", "method=head_mask"],
    "a floor under a fresh start": ["unlearn.min_step=int4", "method=retrain"],
    "alpha of zero": ["partition.alpha=0"],
    "negative alpha": ["partition.alpha=-0.5"],
    "alpha without a Dirichlet": ["partition=iid", "partition.alpha=0.3"],
    "no clients": ["partition.clients=0"],
    "more clients than samples": ["partition.clients=10000"],
    "class that does not exist": ["request.classes=[12]"],
    "negative class": ["request.classes=[-1]"],
    "class name that does not exist": ["dataset=glyphs", "request.classes=[r,X]"],
    "a fraction of a class": ["request.classes=[1.5]"],
    "a character twice": ["dataset=glyphs", "dataset.characters=ABBA"],
    "the same class twice": ["request.classes=[3,3]"],
    "all classes": ["request.classes=[0,1,2,3,4,5,6,7,8,9]"],
    "gates that do neither": ["gates=ignore"],
    "network that torchvision does not have": ["model=torchvision", "model.arch=mobilnet_v3"],
    "network that does not take such images": ["model=torchvision", "model.arch=vit_b_16"],
    "images that are neither left out nor refused": ["dataset=image_folder", "dataset.path=.", "dataset.on_error=no"],
    "nothing to forget": ["request.classes=[]"],
    "two kinds of request": ["request.clients=[0]"],
    "client that does not exist": ["request.classes=[]", "request.clients=[10]"],
    "request level that the method lacks": ["request.classes=[]", "request.clients=[0]"],
    "text for a list": ["request.classes=nine"],
    "missing data": ["dataset=fashion_mnist", "data.root=/no/such/folder"],
    "missing CIFAR": ["dataset=cifar10", "data.root=/no/such/folder"],
    "image folder without a path": ["dataset=image_folder"],
    "image folder that is not there": ["dataset=image_folder", "dataset.path=/no/such/folder"],
    "no GPU": ["device=cuda"],
    "device that does not exist": ["device=tpu"],
    "unwritable output": ["output.dir=/dev/null/results"],
    "unwritable store": ["store.dir=/dev/null/store"],
    "participation above one": ["train.participation=1.5"],
    "no participation": ["train.participation=0"],
    "momentum of one": ["train.momentum=1"],
    "learning rate of zero": ["train.lr=0"],
    "not a number": ["train.lr=nan"],
    "image too small for the model": ["model=lenet"],
    "model setting out of range": ["model.width=0"],
    "model setting not among the choices": ["model.norm=layer"],
    "unknown audit": ["+audit.acuracy={}"],
    "audit setting of the wrong kind": ["audit.linear_probe.samples=none"],
    "limit below one sample per class": ["data.limit=5"],
    "several values without -m": ["seed=0,1"],
    "half an override": ["seed="],
    "not an override": ["seed"],
    "unknown engine": ["engine=rya"],
    "negative seed": ["seed=-1"],
    "seed too large for a message": [f"seed={2**70}"],
    "long output folder": [f"output.dir={LONG}"],
    "long output folder in one to be made": [f"output.dir=new/{LONG}/run"],
    "long store folder": [f"store.dir={LONG}"],
    "long folder of Hydra's": [f"hydra.run.dir={LONG}"],
    "long folder of a sweep": ["-m", "seed=0,1", f"output.dir={LONG}"],
    "long name of a job": ["-m", "seed=0,1", f"hydra.sweep.subdir={LONG}"],
    "long folder of presets": ["--config-dir", LONG],
    "unwritable folder of Hydra's": ["hydra.run.dir=/dev/null/results"],
    "unknown option": ["--sweep"],
    "rerun of nothing": ["--rerun", "/no/such/config.yaml"],
    "mistake in one value of a sweep": ["-m", "method=fucrt,fintune"],
    "capitals in a dataset's name": ["dataset=CIFAR10"],
    "capitals in a method's name": ["method=FUCRT"],
    "capitals in a preset's name": ["+experiment=DEMO"],
    "capitals in a setting's name": ["train.LR=0.1"],
    "no name of a dataset": ["dataset="],
    "sweeper that is not installed": ["-m", "hydra/sweeper=ax", "seed=0,1"],
    "launcher that is not installed": ["-m", "hydra/launcher=submitit_slurm", "seed=0,1"],
    "misspelt launcher": ["-m", "hydra/launcher=joblb", "seed=0,1"],
    "misspelt setting of Hydra's": ["hydra.run.dri=there"],
    "interval for a sweeper that does not search": ["-m", "train.lr=interval(0.01,0.1)"],
    "pattern that nothing matches": ["-m", "method=glob(zzz*)"],
    "misspelt configuration": ["-cn", "confg"],
    "no folder of configurations": ["--config-path", "/no/such/folder"],
    "no folder of presets": ["--config-dir", "/no/such/folder"],
    "Hydra's rerun of a pickle": ["--experimental-rerun", "job.pickle"],
    "setting that is there already": ["+seed=1"],
    "an edit of a layer that the model lacks": ["method=lra_npp", "method.edit=fc_rows", "model=resnet18"],
    "setting of an audit that was not chosen": ["audit=quick", "audit.idi.samples=300"],
    "misspelt audit of a preset": ["+experiment=quick", "audit.acuracy.k=1"],
    "misspelt finding of an objective": ["sweep.objective={retian_accuracy:1}"],
    "objective that is no number": ["sweep.objective={leak:much}"],
    "what cannot be shown": ["--cfg", "jobb"],
    "to show and to sweep at once": ["--cfg", "job", "-m", "seed=0,1"],
    "folder in a file": ["output.dir=/etc/passwd/my runs (1)"],
}

HINTS = {
    "misspelt choice": "did you mean fucrt?",
    "misspelt key": "did you mean rounds?",
    "misspelt new key": "did you mean rounds?",
    "unknown nested key": "did you mean threshold?",
    "nothing to forget": "request.classes",
    "text for a list": "a list in brackets",
    "misspelt group": "did you mean method?",
    "more clients than samples": "1437",
    "class that does not exist": "12",
    "class name that does not exist": "did you mean R?",
    "a character twice": "names 'B' more than once",
    "missing data": "data.download=true",
    "mistake in one value of a sweep": "did you mean finetune?",
    "capitals in a dataset's name": "did you mean cifar10?",
    "capitals in a method's name": "did you mean fucrt?",
    "capitals in a preset's name": "did you mean demo?",
    "capitals in a setting's name": "did you mean lr?",
    "no name of a dataset": "choose",
    "sweeper that is not installed": "pip install hydra-ax-sweeper",
    "launcher that is not installed": "pip install hydra-submitit-launcher",
    "misspelt launcher": "did you mean joblib?",
    "misspelt setting of Hydra's": "did you mean dir?",
    "interval for a sweeper that does not search": "hydra/sweeper=optuna",
    "pattern that nothing matches": "gives no value at all",
    "misspelt configuration": "did you mean config?",
    "no folder of configurations": "--config-path: there is no folder /no/such/folder",
    "no folder of presets": "--config-dir: there is no folder /no/such/folder",
    "Hydra's rerun of a pickle": "use --rerun",
    "setting that is there already": "seed=… without the +",
    "setting of an audit that was not chosen": "write +audit.idi.samples=… to add it",
    "misspelt audit of a preset": "did you mean accuracy?",
    "misspelt finding of an objective": "did you mean retain_accuracy?",
    "objective that is no number": "sweep.objective.leak must be a number",
    "what cannot be shown": "choose from 'job'",
    "to show and to sweep at once": "one of --cfg and --multirun",
    "folder in a file": "output.dir=/etc/passwd/my runs (1) cannot be written to",
    "unknown audit": "did you mean accuracy?",
    "unknown engine": "did you mean ray?",
    "seed too large for a message": "seed",
    "long output folder": "name too long",
    "long output folder in one to be made": "name too long",
    "long store folder": "store.dir",
    "long folder of Hydra's": "name too long",
    "long folder of a sweep": "name too long",
    "long name of a job": "name too long",
    "unwritable folder of Hydra's": "hydra.run.dir=/dev/null/results cannot be written to",
}


@pytest.fixture
def run_main(monkeypatch, tmp_path, capsys):
    """The command in this process: (exit status, what it said on stderr)."""
    monkeypatch.chdir(tmp_path)

    def no_training(*args, **kwargs):
        raise AssertionError("training started")

    monkeypatch.setattr(runner, "run_stage", no_training)

    def run(arguments):
        base = [f"output.dir={tmp_path}/run", f"store.dir={tmp_path}/store"]
        keys = {argument.partition("=")[0] for argument in arguments}
        words = [word for word in base if word.partition("=")[0] not in keys]
        monkeypatch.setattr(sys, "argv", ["fedunlearn", *words, *arguments])
        with pytest.raises(SystemExit) as stop:
            main.main()
        return stop.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("name", MISTAKES)
def test_one_sentence_and_status_2(name, run_main):
    status, said = run_main(MISTAKES[name])
    assert status == 2, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("fedunlearn: ")
    assert "Traceback" not in said
    assert HINTS.get(name, "").lower() in said.lower()


def test_the_installed_command_behaves_the_same(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fedunlearn", "method=fucrtt"], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("fedunlearn: there is no method called 'fucrtt'")
    assert list(tmp_path.iterdir()) == []
