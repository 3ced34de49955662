"""What is printed in docs/extending.md works, as a package that declares it as entry points."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests import forked

DOCS = Path(__file__).resolve().parents[2] / "docs"


def printed(start: str) -> str:
    """The listing that begins with that word, as it stands in the docs."""
    listings = re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text("utf-8"), re.S)
    return next(code for code in listings if code.startswith(f'"""{start}:'))


def test_what_is_printed_runs_from_another_package(tmp_path):
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "flatten.py").write_text(printed("Flatten") + 'METHOD = METHODS["flatten"]\n')
    (package / "confidence.py").write_text(printed("Confidence") + 'AUDIT = AUDITS["confidence"]\n')
    (package / "shrink.py").write_text(printed("Shrink") + 'REPAIR = REPAIRS["shrink"]\n')
    (package / "ternary.py").write_text(printed("Ternary") + 'FORMAT = FORMATS["ternary"]\n')
    (package / "outskirts.py").write_text(printed("Outskirts") + 'SELECTOR = SELECTORS["outskirts"]\n')
    info = tmp_path / "site" / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fedunlearn.methods]\nflatten = my_package.flatten:METHOD\n"
        "[fedunlearn.audits]\nconfidence = my_package.confidence:AUDIT\n"
        "[fedunlearn.repairs]\nshrink = my_package.shrink:REPAIR\n"
        "[fedunlearn.formats]\nternary = my_package.ternary:FORMAT\n"
        "[fedunlearn.selectors]\noutskirts = my_package.outskirts:SELECTOR\n"
    )
    words = [
        "method=flatten",
        "method.strength=2.0",
        "data.limit=200",
        "gates=warn",
        "partition.clients=3",
        "train.rounds=2",
        "unlearn.rounds=1",
    ]
    words += [
        "retrain.seeds=1",
        "audit=quick",
        "+audit.confidence={temperature: 2}",
        "output.dir=out",
        "report.figures=false",
    ]
    words += ["repair=shrink", "repair.by=0.2", "deploy.formats=[ternary]", "select=outskirts", "select.share=0.3"]
    done = forked.command(words, tmp_path, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["config"]["method"] == {"name": "flatten", "strength": 2.0}
    assert summary["config"]["audit"]["confidence"] == {"temperature": 2.0}
    assert summary["models"]["unlearned"] != summary["models"]["original"]
    assert summary["config"]["repair"] == {"name": "shrink", "by": 0.2}
    assert summary["config"]["select"] == {"name": "outskirts", "share": 0.3, "to": None, "components": 16}
    assert summary["samples"]["replayed_train"] < 0.4 * summary["samples"]["retain_train"]
    assert summary["models"]["repaired"] != summary["models"]["unlearned"]
    assert summary["deployed"]["ternary"]["models"]["unlearned"] != summary["models"]["unlearned"]
    assert all(0.1 < values["forget_confidence"] < 1 for values in summary["models"].values())  # of ten classes
    assert summary["findings"]["forget_confidence"]["direction"] == "up"
    assert "confidence" in done.stdout  # a column of the printed table
