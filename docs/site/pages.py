"""Pages of the site that are made from the package itself: members, findings, rooms, pictures. Run by mkdocs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))

import rooms  # noqa: E402

from fedunlearn.audits.base import Audit  # noqa: E402
from fedunlearn.settings import conf_files, registry  # noqa: E402

DOCS = ROOT / "docs"
PICTURE = re.compile(r"!\[[^\]]*\]\(\.\./([^)]+)\)")
PACKAGE = ROOT / "fedunlearn"


def main() -> None:
    """All of them."""
    for kind, prose in (("method", "methods.md"), ("audit", "audits.md"), ("dataset", None)):
        write(f"{kind}/index.md", f"# {kind.title()}s, a page each\n\n{contents(kind)}")
        for name in registry.built_in(kind):
            write(f"{kind}/{name}.md", member_page(kind, name, prose))
    write("glossary.md", "# Glossary of findings\n\n" + "\n".join(glossary()))
    write("rooms.svg", rooms.picture())
    for package in sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")):
        write(f"api/{package}.md", f"# fedunlearn.{package}\n\n" + "\n".join(modules(package)))
    pictures()


def write(path: str, text: str) -> None:
    """One page, or another file of the site."""
    with mkdocs_gen_files.open(path, "w") as file:
        file.write(text)


def contents(kind: str) -> str:
    """A line for every member: its name and what it is for."""
    members = {name: registry.find(kind, name) for name in registry.built_in(kind)}
    return "".join(f"- [{name}]({name}.md){about(kind, member)}\n" for name, member in members.items())


def about(kind: str, member: Any) -> str:
    """What a member says of itself in a line, after a colon; nothing, if it says nothing."""
    if member.about:
        return f": {member.about}"
    source = sys.modules[member.objective.__module__] if kind == "method" else None
    return f": {(source.__doc__ or '').strip().splitlines()[0].rstrip('.')}" if source and source.__doc__ else ""


def member_page(kind: str, name: str, prose: str | None) -> str:
    """What the documentation says of a member, its settings, its findings, and the docstrings of its module."""
    member = registry.find(kind, name)
    parts = [f"# {name}\n", section(DOCS / prose, name, kind) if prose else f"{member.about}\n"]
    parts += ["## Settings\n", f"```yaml\n{conf_files.member_file(member)}```\n"] if kind != "audit" else []
    if kind == "audit":
        parts += ["## Settings\n", f"```yaml\n{conf_files.audit_file([name])}```\n"]
        parts += ["## Findings\n", *(f"- [{each}](../glossary.md#{each})\n" for each in findings_of(member))]
    origin = registry.origin(kind, name)
    if isinstance(origin, str) and kind != "dataset":
        parts += ["## Module\n", f"::: {origin}\n"]
    return "\n".join(parts)


def section(page: Path, name: str, kind: str) -> str:
    """The section of a page about a member, with links that work from a page of its own."""
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"{page.name} has no section about {name}")
    known = set(registry.built_in(kind))

    def moved(link: re.Match[str]) -> str:
        target = link.group(1)
        if target.startswith("#"):
            return f"]({target[1:]}.md)" if target[1:] in known else f"](../{page.name}{target})"
        return link.group(0) if ":" in target else f"](../{target})"

    return re.sub(r"\]\(([^)\s]+)\)", moved, found.group(1))


def findings_of(audit: Audit) -> list[str]:
    """Their names, with the audit's default settings."""
    return [finding.name for finding in audit.declared(audit.settings())]


def glossary() -> Iterator[str]:
    """Every finding that ours declare, by name."""
    declared = {}
    for name in registry.built_in("audit"):
        audit = registry.find("audit", name)
        declared.update({finding.name: (name, finding) for finding in audit.declared(audit.settings())})
    for name, (audit_name, finding) in sorted(declared.items()):
        yield f"### {name}\n"
        yield f"*{finding.label}*. {finding.meaning[:1].upper()}{finding.meaning[1:]}.\n"
        yield f"- Audit: [{audit_name}](audit/{audit_name}.md)"
        yield f"- Range: {finding.scale or 'none'}"
        yield f"- {'The verdict counts it.' if finding.counted else 'The verdict does not count it.'}\n"


def modules(package: str) -> Iterator[str]:
    """A package's modules with what they document."""
    for path in sorted((PACKAGE / package).glob("*.py")):
        if path.stem != "__init__":
            yield f"## {path.stem}\n\n::: fedunlearn.{package}.{path.stem}\n    options:\n      heading_level: 3\n"


def pictures() -> None:
    """Pictures outside of docs/ that a page shows."""
    for page in DOCS.glob("*.md"):
        for name in PICTURE.findall(page.read_text("utf-8")):
            with mkdocs_gen_files.open(f"pictures/{name}", "wb") as file:
                file.write((ROOT / name).read_bytes())


main()
