"""The method printed in docs/extending.md works, as a package that declares it as an entry point."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_printed_method_runs_from_another_package(tmp_path):
    code = re.search(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.S)[1]
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "flatten.py").write_text(code + 'METHOD = METHODS["flatten"]\n')
    info = tmp_path / "site" / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fedunlearn.methods]\nflatten = my_package.flatten:METHOD\n")
    words = ["method=flatten", "method.strength=2.0", "data.limit=400", "train.rounds=3", "unlearn.rounds=2"]
    done = subprocess.run(
        [sys.executable, "-m", "fedunlearn", *words, "retrain.seeds=1", "audit=quick", "output.dir=out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["config"]["method"] == {"name": "flatten", "strength": 2.0}
    assert summary["models"]["unlearned"] != summary["models"]["original"]
