"""Would a release work? Builds sdist and wheel, installs the wheel in a clean environment, and runs a quick job there.

Also asks the package index whether all dependencies can be had together for every Python that is declared.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
QUICK = ("+experiment=quick", "method=head_mask", "data.limit=400", "gates=warn", "train.rounds=2", "unlearn.rounds=1")


def main() -> None:
    """All of it, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="release-") as place:
        folder = Path(place)
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(TOP))
        (wheel,) = (folder / "dist").glob("*.whl")
        assert list((folder / "dist").glob("*.tar.gz")), "no sdist was built"
        for version in declared_pythons():
            resolves(version)
            print(f"Python {version}: all dependencies can be had together")
        run(sys.executable, "-m", "venv", str(folder / "env"))
        programs = folder / "env" / "bin"
        run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(programs / "python"), str(wheel))
        run(str(programs / "fedunlearn"), "--version", cwd=folder)
        run(str(programs / "fedunlearn"), *QUICK, f"output.dir={folder / 'run'}", cwd=folder)
        assert (folder / "run" / "report.html").is_file(), "the quick job left no page"
        print(f"{wheel.name}: built, installed in a clean environment, and a quick job ran")


def declared_pythons() -> list[str]:
    """The versions in the classifiers, but for the one that runs: that one is installed."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    named = [text.rpartition(" :: ")[2] for text in project["classifiers"] if "Python :: 3." in text]
    return [version for version in named if version != f"{sys.version_info.major}.{sys.version_info.minor}"]


def resolves(version: str) -> None:
    """Can all dependencies be had together for this Python? Nothing is installed."""
    run(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--python-version", version, "pyproject.toml")


def run(*words: str, cwd: Path = TOP) -> None:
    """Stops the check, with what was said, where a command fails."""
    done = subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\nfailed: {' '.join(words)}")


if __name__ == "__main__":
    main()
