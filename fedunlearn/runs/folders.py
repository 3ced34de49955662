"""What lies in the folders of runs and sweeps, and how nothing finished in there is lost.

A run that finds a finished one in its folder writes its files into the hidden folder `.new` there. Whoever reads run
folders passes that over, and sees the finished run until the new one is complete and takes its place: the files first,
the summary last. Whoever is killed in between leaves `.new` whole, and the next run in the folder puts the rest in
place.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedunlearn.errors import RequestError
from fedunlearn.files import alone, replacing
from fedunlearn.settings.config import CHOSEN_SECTIONS, RunConfig, essence
from fedunlearn.store.catalogue import differences
from fedunlearn.store.folder import reason

LOCK = ".lock"
NEW, REPLACED = ".new", ".replaced"
SUMMARY, SETTING, PAGE, SWEEP = "summary.json", ("config.yaml", "environment.json"), "report.html", "sweep.json"
LONGEST = f"{NEW}/figures/narrow/.erasure_utility.svg.{2**22}.tmp"  # below a run's folder
DRAWN = ("figures", "exhibits", "models")  # folders whose files come and go with the run
NAMED = 3  # how many differences, or folders, a sentence names


def summary_in(folder: Path) -> dict[str, Any]:
    """What `summary.json` holds; empty if there is none that can be read."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def is_done(folder: Path) -> bool:
    """Does a finished run lie in `folder`, whatever its configuration?"""
    return summary_in(folder).get("status") == "done"


def check_name(folder: Path) -> None:
    """Raise RequestError if the system has no room for the names of a run's files in `folder`."""
    longest = (folder / LONGEST).absolute()
    try:
        there = next(path for path in longest.parents if path.exists())
        for name in longest.relative_to(there).parts:  # one by one: below what is not there, no name is looked at
            (there / name).exists()
        longest.exists()
    except OSError as error:
        raise RequestError(f"the folder {folder} cannot be used: {reason(error)}") from error


def check_writable(folder: Path, key: str) -> None:
    """Raises RequestError if files cannot be made in `folder`, or it cannot be made. Leaves nothing behind."""
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise RequestError(f"{key}={folder} cannot be written to: {error.strerror or error}") from error


def check(folder: Path, config: RunConfig) -> None:
    """Raise RequestError if what lies in `folder` must not make room for a run of `config`. Touches nothing.

    That is the finished run of another configuration, or a sweep, unless the configuration says `output.overwrite`.
    """
    check_name(folder)
    if config.output.overwrite:
        return
    if (folder / SWEEP).is_file():
        raise RequestError(
            f"{folder} holds a sweep: give this run another output.dir, or put the sweep aside with "
            "output.overwrite=true"
        )
    summary = summary_in(folder)
    changed = changes(summary.get("config"), config) if summary.get("status") == "done" else []
    if changed:
        raise RequestError(
            f"{folder} holds the finished run of another configuration ({_some(changed)}): give this one another "
            "output.dir, or replace that one with output.overwrite=true"
        )


def changes(old: object, config: RunConfig) -> list[str]:
    """`seed: 0 → 1` for every setting that counts and differs; of another method, its name alone."""
    if not isinstance(old, Mapping):
        return ["an unknown one"]
    before, after = essence(old), essence(config.as_dict())
    for section in CHOSEN_SECTIONS:
        names = [_name(part.get(section)) for part in (before, after)]
        if names[0] != names[1]:
            before[section], after[section] = names
    return [f"{path}: {old} → {new}" for path, old, new in differences(before, after)]


def _name(section: object) -> object:
    return section.get("name") if isinstance(section, Mapping) else section


def _some(items: list[str], what: str = "difference") -> str:
    """The first few of the items, and how many more there are."""
    more = len(items) - NAMED
    rest = f" and {more} more {what}{'s' if more > 1 else ''}" if more > 0 else ""
    return ", ".join(items[:NAMED]) + rest


def make_room(folder: Path, config: RunConfig) -> None:
    """Put aside the sweep that a run was told to overwrite. Raises RequestError as `check` does."""
    check(folder, config)
    if (folder / SWEEP).is_file():
        set_aside(folder, {folder})


def workplace(folder: Path) -> Path:
    """Where a run writes its files: into its folder or, so that a finished one stays, into a folder of its own there.

    Only for the holder of the folder's lock, who has called `settle`.
    """
    return folder / NEW if is_done(folder) else folder


def settle(folder: Path) -> None:
    """Put in place what another run completed before it was killed, and remove what one left incomplete.

    Only for the holder of the folder's lock.
    """
    if is_done(folder / NEW):
        publish(folder)
    shutil.rmtree(folder / NEW, ignore_errors=True)


def publish(folder: Path) -> None:
    """Let the complete run in `.new` take the place of the one in `folder`. If it is stopped, `settle` goes on."""
    new = folder / NEW
    for path in _whole(new):
        with replacing(folder / path) as temporary:  # copied, so that `.new` stays whole until all is done
            shutil.copyfile(new / path, temporary)
    for path in _whole(folder):
        if not (new / path).exists() and _comes_with(new, path):
            (folder / path).unlink()
    with replacing(folder / SUMMARY) as temporary:
        shutil.copyfile(new / SUMMARY, temporary)
    (new / SUMMARY).unlink()
    shutil.rmtree(new)


def _comes_with(new: Path, path: Path) -> bool:
    """Does a file of the old run, at `path` in its folder, go where the one in `new` has no such file?"""
    inside = path.parts[0] in DRAWN or (len(path.parts) > 1 and (new / path.parent).is_dir())
    return inside or path == Path(PAGE)


def _whole(folder: Path) -> list[Path]:
    """The files of a run but for its summary, as seen from its folder."""
    found = (path.relative_to(folder) for path in folder.rglob("[!.]*") if path.is_file() and path != folder / SUMMARY)
    return sorted(path for path in found if not _is_hidden(path))


def clear(work: Path) -> None:
    """Remove what an earlier attempt left in `work`: nothing of it can be taken for the result of the next one."""
    work.mkdir(parents=True, exist_ok=True)
    (work / SUMMARY).unlink(missing_ok=True)
    for left_over in [*work.glob(".*.tmp"), *(path for name in DRAWN for path in work.glob(f"{name}/*"))]:
        if left_over.is_dir() and not left_over.is_symlink():
            shutil.rmtree(left_over)
        else:
            left_over.unlink(missing_ok=True)


def pending(folder: Path) -> str:
    """Why the run that should have taken the place of the finished one in `folder` did not; empty if none should."""
    if not (folder / NEW / SETTING[0]).is_file() and not summary_in(folder / NEW):
        return ""
    return str(summary_in(folder / NEW).get("reason") or "unfinished") + " (what it should replace is still there)"


def check_sweep(folder: Path, jobs: Iterable[tuple[Path, RunConfig | None]]) -> None:
    """Raise RequestError if a sweep's folder holds runs that are not its own. Touches nothing.

    `jobs`: the folder of every job, and its configuration where a finished run must be the same.
    """
    listed = list(jobs)
    others = [_seen_from(folder, path) for path in strangers(folder, {path for path, _ in listed})]
    if others:
        raise RequestError(
            f"{folder} holds {len(others)} run{'s' if len(others) > 1 else ''} that this sweep does not have "
            f"({_some(others, 'run')}): give it another output.dir (the store is shared all the same), or put them "
            "aside with output.overwrite=true"
        )
    for path, config in listed:
        if config:
            check(path, config)


def strangers(folder: Path, own: set[Path]) -> list[Path]:
    """The folders of runs in `folder` and below that are not among `own`, sorted; hidden ones do not count."""
    mine = {path.absolute() for path in own}
    found = {path.parent.absolute() for name in (SUMMARY, SETTING[1]) for path in folder.rglob(name)}
    return sorted(path for path in found - mine if not _is_hidden(path.relative_to(folder.absolute())))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def set_aside(folder: Path, own: set[Path]) -> Path | None:
    """Move the runs that are not among `own` into a hidden folder in `folder`, and say which; None if there are none.

    Raises RequestError if one of them is being worked on.
    """
    others = strangers(folder, own)
    if not others:
        return None
    target = folder / f"{REPLACED}-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}"
    for other in others:
        with alone(other / LOCK, _busy(other)):
            pass
    for path in _of_strangers(folder, others):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).rename(target / path)
    return target


def _busy(folder: Path) -> Callable[[], None]:
    def refuse() -> None:
        raise RequestError(f"another fedunlearn process is working in {folder}")

    return refuse


def _of_strangers(folder: Path, others: list[Path]) -> Iterator[Path]:
    """What to move, as seen from `folder`: whole folders of runs, or the files of one that lies in `folder` itself."""
    if (folder / SWEEP).is_file():
        yield Path(SWEEP)
    for other in others:
        if other == folder.absolute():
            yield from (path.relative_to(folder) for path in folder.glob("[!.]*") if path.is_file())
            yield from (Path(name) for name in DRAWN if (folder / name).is_dir())
    inside = [other for other in others if other != folder.absolute()]
    for other in inside:
        if not any(other != above and other.is_relative_to(above) for above in inside):
            yield other.relative_to(folder.absolute())


def _seen_from(folder: Path, path: Path) -> str:
    inside = path.relative_to(folder.absolute()).as_posix()
    return "one in the folder itself" if inside == "." else inside
