"""`fedunlearn-store`: look into the store, check it, make room in it, and hand parts of it on."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.filesize import decimal
from rich.progress import track
from rich.table import Table

from fedunlearn.cli.signals import end_with_the_reader
from fedunlearn.errors import RequestError, RunError, listed, unknown
from fedunlearn.store import Store, bank
from fedunlearn.store.catalogue import (
    damage_of,
    damages,
    differences,
    entries,
    find,
    flatten,
    manifest_of,
    nearest,
    open_store,
    size_of,
)
from fedunlearn.store.folder import reason
from fedunlearn.store.layout import KEY
from fedunlearn.store.manifest import Manifest
from fedunlearn.store.pruning import Selection, prune

STORE = Path("outputs/store")
BANKED = ("train", "retrain")  # what every audit of a model is held against
Command = Callable[[Path, argparse.Namespace, Console], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 damage found or a failed removal, 2 a request that cannot be met."""
    if arguments is None:
        end_with_the_reader()
    try:
        options = _parser().parse_args(arguments)
        command: Command = options.command
        find_store: Callable[[Path], Path] = options.find_store
        return command(find_store(options.store), options, _console())
    except (RequestError, RunError) as error:
        print(f"fedunlearn-store: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    except OSError as error:
        print(f"fedunlearn-store: cannot read {error.filename or 'the store'}: {reason(error)}", file=sys.stderr)
        return 1


class _Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong, like the rest of the program."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fedunlearn-store", description="Look into the store of finished stages.")
    where: dict[str, Any] = {"type": Path, "metavar": "DIR", "help": f"default: {STORE}"}
    parser.add_argument("--store", default=STORE, **where)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Command, about: str, find_store: Callable[[Path], Path] = open_store
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=f"{about}. KEY may be the start of a key.")
        added.add_argument("--store", default=argparse.SUPPRESS, **where)  # before or after the command
        added.set_defaults(command=command, find_store=find_store)
        return added

    add("list", _list, "list what is kept")
    add("show", _show, "show what an artifact is and depends on").add_argument("key", metavar="KEY")
    explain = add("explain", _explain, "say why two artifacts of a stage are not the same one")
    explain.add_argument("key", metavar="KEY")
    explain.add_argument("other", metavar="KEY_B", nargs="?", help="default: KEY and the artifact nearest to it")
    add("verify", _verify, "check every file of every artifact")
    pruning = add("prune", _prune, "remove left-overs of dead processes, and what the options select")
    pruning.add_argument("--older-than", type=_days, metavar="DAYS", help="artifacts made at least so many days ago")
    pruning.add_argument("--stage", metavar="S", help="artifacts of this stage")
    pruning.add_argument("--damaged", action="store_true", help="what was set aside as damaged, not what is whole")
    pruning.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    exporting = add("export", _export, "put original and retrained models into one file, a bank for others")
    exporting.add_argument("bank", metavar="FILE.zip", type=Path)
    exporting.add_argument("--run", type=Path, metavar="DIR", help="only what the finished run in DIR has")
    exporting.add_argument("--stage", action="append", metavar="S", help="this stage instead (may be given again)")
    importing = add("import", _import, "take what a bank holds, and this store does not, into it", _made_store)
    importing.add_argument("bank", metavar="FILE.zip", type=Path)
    return parser


def _days(text: str) -> timedelta:
    try:
        days = timedelta(days=float(text))
    except (ValueError, OverflowError):
        days = timedelta(days=-1)
    if days < timedelta(0):
        raise argparse.ArgumentTypeError(f"takes a number of days, at least 0, not {text!r}")
    return days


def _list(root: Path, options: argparse.Namespace, console: Console) -> int:
    table = _table("stage", "key", "created", "seconds", "size", "state", right=("seconds", "size"))
    total = 0
    for entry in entries(root):
        size, manifest = size_of(entry.folder), entry.manifest
        total += size
        when = [_when(manifest), f"{manifest.seconds:.1f}"] if manifest else ["", ""]
        state = ("finished" if entry.finished else "unfinished") if manifest else f"damaged: {entry.problem}"
        table.add_row(entry.location.stage, entry.location.key, *when, decimal(size), state)
    if table.row_count:
        console.print(table)
    console.print(f"{_count(table.row_count, 'artifact')} in {root}, {decimal(total)}", soft_wrap=True)
    return 0


def _show(root: Path, options: argparse.Namespace, console: Console) -> int:
    entry = find(root, options.key)
    manifest = manifest_of(entry)
    state = "finished" if entry.finished else "not finished: this is its newest checkpoint"
    console.print(f"{manifest.stage} {manifest.key}, {state}")
    console.print(f"created {_when(manifest)} UTC, {manifest.seconds:.1f} seconds, {decimal(size_of(entry.folder))}")
    console.print(f"versions: {', '.join(f'{name} {version}' for name, version in manifest.versions.items())}")
    console.print(f"folder: {entry.folder}", soft_wrap=True)
    depends = _table("depends on", "value")
    for item in flatten(manifest.determinants).items():
        depends.add_row(*item)
    console.print(depends)
    files = _table("file", "size", "sha256", right=("size",))
    for name, file in manifest.files.items():
        files.add_row(name, decimal(file["bytes"]), file["sha256"])
    console.print(files)
    if manifest.tensors:
        tensors = _table("tensor", "type and shape")
        for item in manifest.tensors.items():
            tensors.add_row(*item)
        console.print(tensors)
    return 0


def _explain(root: Path, options: argparse.Namespace, console: Console) -> int:
    first = manifest_of(find(root, options.key))
    if options.other is None:
        other = nearest(root, first)
        if other is None:
            console.print(f"{first.stage} {first.key} is the only artifact of its stage: nothing to compare it with")
            return 0
        _print_differences(root, other, first, console)
        return 0
    second = manifest_of(find(root, options.other))
    if first.stage != second.stage:
        raise RequestError(f"{first.key} is of stage {first.stage} and {second.key} of {second.stage}: not comparable")
    _print_differences(root, first, second, console)
    return 0


def _print_differences(root: Path, old: Manifest, new: Manifest, console: Console) -> None:
    """The differences of two artifacts, then those of artifacts that they were made from."""
    by_key = {entry.location.key: entry.manifest for entry in entries(root) if entry.manifest}
    waiting, printed = [(old, new)], set()
    while waiting:
        old, new = waiting.pop(0)
        printed.add((old.key, new.key))
        found = differences(old.determinants, new.determinants)
        table = _table("depends on", f"old: {_when(old)}", f"new: {_when(new)}")
        for row in found:
            table.add_row(*row)
        console.print(f"{old.stage} {old.key} → {new.key}: {_count(len(found), 'difference')}")
        if found:
            console.print(table)
        keys = [pair for _, a, b in found for pair in zip(re.findall(KEY, a), re.findall(KEY, b), strict=False)]
        inputs = [(by_key[a], by_key[b]) for a, b in keys if a != b and a in by_key and b in by_key]
        waiting += [(a, b) for a, b in inputs if a.stage == b.stage and (a.key, b.key) not in printed]


def _verify(root: Path, options: argparse.Namespace, console: Console) -> int:
    checked = list(damages(root))
    table = _table("damaged", "what is wrong")
    for entry, problem in checked:
        if problem:
            table.add_row(str(entry.folder), problem)
    if table.row_count:
        console.print(table)
        console.print("A run that needs a damaged artifact sets it aside and computes it again.")
    console.print(f"{len(checked) - table.row_count} of {_count(len(checked), 'artifact')} are whole")
    return 1 if table.row_count else 0


def _export(root: Path, options: argparse.Namespace, console: Console) -> int:
    stages = tuple(options.stage or BANKED)
    there = [entry for entry in entries(root) if entry.finished and entry.location.stage in stages]
    if options.run is not None:
        from fedunlearn.runs.banking import references_of  # loads torch

        wanted = references_of(options.run, stages)
        there = [entry for entry in there if (entry.location.stage, entry.location.key) in wanted]
        if missing := len(wanted) - len(there):
            raise RequestError(
                f"{root} lacks {missing} of the {len(wanted)} stages that {options.run} would have now: if code "
                "or data have changed since, run it once more"
            )
    if not there:
        raise RequestError(f"{root} holds nothing of stage {listed(stages)}")
    for entry in there:
        if problem := damage_of(entry):
            raise RequestError(f"{entry.folder} is damaged: {problem}")
    bank.export(options.bank, there)
    size = decimal(size_of(options.bank))
    console.print(f"{_count(len(there), 'artifact')} in {options.bank}, {size}", soft_wrap=True)
    return 0


def _import(root: Path, options: argparse.Namespace, console: Console) -> int:
    with bank.opened(options.bank) as opened:
        found = bank.names(opened)
        told = list(
            track(
                bank.take(root, opened, found), "checking", len(found), console=console, disable=not console.is_terminal
            )
        )
    table = _table("stage", "key", "what is wrong")
    for one in told:
        if one.problem:
            table.add_row(one.stage, one.key, one.problem)
    if table.row_count:
        console.print(table)
    new = sum(one.new for one in told)
    old = len(told) - new - table.row_count
    refused = f", {table.row_count} not taken" if table.row_count else ""
    console.print(f"{_count(new, 'artifact')} taken into {root}, {old} there already{refused}", soft_wrap=True)
    return 1 if table.row_count else 0


def _made_store(root: Path) -> Path:
    """The absolute path of a store, which is made if it is not there. Raises RequestError."""
    Store(root)
    return root.expanduser().absolute()


def _prune(root: Path, options: argparse.Namespace, console: Console) -> int:
    stages = sorted({entry.location.stage for entry in entries(root)})
    if options.stage is not None and not options.damaged and stages and options.stage not in stages:
        raise unknown("stage", options.stage, stages)
    selection = Selection(options.stage, options.older_than, options.damaged)
    removed, left = prune(root, selection, datetime.now(UTC), options.dry_run)
    table = _table("path", "size", "why", right=("size",))
    for unwanted in removed:
        table.add_row(str(unwanted.path.relative_to(root)), decimal(unwanted.size), unwanted.why)
    if removed:
        console.print(table)
    freed = decimal(sum(unwanted.size for unwanted in removed))
    console.print(f"{'would remove' if options.dry_run else 'removed'} {_count(len(removed), 'folder')}, {freed}")
    for location, why in left:
        console.print(f"{location} was left alone: {why}", soft_wrap=True)
    return 0


def _console() -> Console:
    """Without colours or markup of its own; tables that are not shown on a terminal are wide enough to be searched."""
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200)


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _when(manifest: Manifest) -> str:
    return manifest.created[:16].replace("T", " ")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
