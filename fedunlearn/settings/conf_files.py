"""Write conf/: the members of its groups, from the settings dataclasses and the comments beside their fields.

The dataclasses are the only copy of the defaults; `make conf` (`python -m fedunlearn.settings.conf_files`) renews the
files that people read. What stays by hand: the presets, which audits belong to `default` and `quick`, and Hydra's own
part of config.yaml.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml

from fedunlearn.files import write_text
from fedunlearn.settings import registry
from fedunlearn.settings.config import CHOSEN_SECTIONS, PLAIN_SECTIONS, RunConfig
from fedunlearn.settings.schema import default, plain

CONF = Path(__file__).resolve().parents[2] / "conf"
# config.yaml asks for something and puts it somewhere; the dataclasses' own defaults ask for nothing.
ASKED = {("request", "classes"): [9], ("output", "dir"): "outputs/${now:%Y-%m-%d}/${now:%H-%M-%S}"}
HEADS = {
    "default": """\
# The audits of a run, by name, with their settings. `audit.linear_probe=null` on the command line switches one off.
# What they mean and what a good value is: docs/audits.md.
""",
    "quick": """\
# The audits that only look at what the models say, for trying things out: `audit=quick`. Too few for a verdict.
""",
}

SECTIONS = (*PLAIN_SECTIONS, "sweep")
LONG = 30  # texts that do not push the comments of their neighbours to the right
# (text of a setting, comment), and the group of settings that hangs below it
Block = Iterable[tuple[tuple[str, str], Any]]


def files(conf: Path) -> Iterator[tuple[Path, str]]:
    """Every generated file below the folder `conf`, and what belongs into it."""
    for group, kind in CHOSEN_SECTIONS.items():
        for member in registry.ours(kind):
            yield conf / group / f"{member.name}.yaml", with_company(group, member)
    for name, head in HEADS.items():
        path = conf / "audit" / f"{name}.yaml"
        yield path, head + audit_file(list(yaml.safe_load(path.read_text("utf-8"))))
    path = conf / "config.yaml"
    yield path, with_sections(path.read_text("utf-8"))


def member_file(member: registry.Member) -> str:
    """`name: …`, then the settings with their defaults."""
    return _aligned(_member(member))


def with_company(group: str, member: registry.Member) -> str:
    """The same; with the members of other groups, and the settings, that suit it, if it says which."""
    suits: Mapping[str, Any] = getattr(member, "suits", {})
    if not suits:
        return member_file(member)
    others = "".join(f"  - override /{other}: {name}\n" for other, name in suits.items() if isinstance(name, str))
    settings = {section: values for section, values in suits.items() if not isinstance(values, str)}
    rest: str = yaml.safe_dump(settings, sort_keys=False)
    own = _aligned([((f"{group}:", ""), None)]) + _aligned(_member(member), indent="  ")
    head = f"# @package _global_\ndefaults:\n{others}"
    return f"{head}\n{own}\n# What suits it; whatever is said on a command line comes first.\n{rest}"


def _member(member: registry.Member) -> Block:
    return [((f"name: {member.name}", member.about), None), *_lines(member.settings)]


def audit_file(names: list[str]) -> str:
    """Those audits with their settings, in that order."""
    text = ""
    for name in names:
        audit: registry.Member = registry.find("audit", name)
        settings = _aligned(_lines(audit.settings), indent="  ")
        text += f"{name}:{'' if settings else ' {}'}  # {audit.about}\n{settings}"
    return text


def with_sections(text: str) -> str:
    """config.yaml with the plain sections as the dataclasses have them, between `defaults` and `hydra`."""
    start, end = text.index("\nseed:") + 1, text.index("\nhydra:") + 1
    return text[:start] + sections() + text[end:]


def sections() -> str:
    """The sections of a configuration that are no groups, with what config.yaml asks for."""
    loose, text = [], ""
    for line, nested in _lines(RunConfig):
        name = line[0].partition(":")[0]
        if name not in SECTIONS:
            continue
        if nested is None:
            loose.append((line, None))
            continue
        asked = {key: value for (section, key), value in ASKED.items() if section == name}
        text += "\n" + _aligned([(line, replace(nested, **asked))])
    return _aligned(loose) + text + "\n"


def comments(cls: type) -> dict[str, str]:
    """What stands beside each field of a dataclass, after the comments of their own right above it."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if dataclasses.is_dataclass(base)]):
        source = textwrap.dedent(inspect.getsource(base))
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        beside = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
        for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                first, last = node.lineno, node.end_lineno or node.lineno
                while first - 1 in beside and beside[first - 1].line.lstrip().startswith("#"):
                    first -= 1
                rows = [beside[row].string for row in range(first, last + 1) if row in beside]
                found[node.target.id] = " ".join(row.lstrip("# ") for row in rows)
    return found


def _lines(cls: type, settings: object = None) -> Block:
    """The settings of a dataclass, as they are in `settings` or else by default, each with its group of settings."""
    notes, hints = comments(cls), typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        value = default(field) if settings is None else getattr(settings, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield (f"{field.name}:", notes[field.name] or summary(type(value))), value
        else:
            note = ": ".join(filter(None, [_choices(hints[field.name]), notes[field.name]]))
            yield (f"{field.name}: {_as_yaml(value)}", note), None


def _choices(hint: Any) -> str:
    return " | ".join(map(str, typing.get_args(hint))) if typing.get_origin(hint) is Literal else ""


def summary(cls: type) -> str:
    """The first line of a class's description, as a comment says it."""
    first = (inspect.getdoc(cls) or "").partition("\n")[0].rstrip(".")
    return first[:1].lower() + first[1:]


def _as_yaml(value: object) -> str:
    written: str = yaml.safe_dump(plain(value), default_flow_style=True, width=1000)
    return written.removesuffix("...\n").strip()


def _aligned(block: Block, indent: str = "") -> str:
    """The lines of a block, comments below each other, with the groups of settings that it holds indented."""
    entries = list(block)
    column = max((len(text) for (text, note), _ in entries if note and len(text) < LONG), default=0)
    written = ""
    for (text, note), nested in entries:
        written += indent + (f"{text:<{column}}  # {note}" if note else text) + "\n"
        if nested is not None:
            written += _aligned(_lines(type(nested), nested), indent + "  ")
    return written


def main() -> None:
    """Renew what differs, and name it."""
    for path, text in files(CONF):
        if not path.is_file() or path.read_text("utf-8") != text:
            print(write_text(path, text))


if __name__ == "__main__":
    main()
