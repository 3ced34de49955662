"""conf/ is what the settings dataclasses and their comments say; the files are written from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest
import yaml

from fedunlearn.cli import command_line, main
from fedunlearn.settings import conf_files, registry
from fedunlearn.settings.config import CHOSEN_SECTIONS, PLAIN_SECTIONS, RunConfig
from fedunlearn.settings.schema import Count, default, defaults, parse, plain

FILES = dict(conf_files.files(conf_files.CONF))


@dataclass(frozen=True)
class Inner:
    """What is inside. And more."""

    # of the circle: a comment that is too long
    # for the field's own line
    radius: float = 2.0
    shape: Literal["round", "flat"] = "round"  # seen from above
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Base:
    """Shared."""

    common: bool = True  # of everybody


@dataclass(frozen=True)
class Outer(Base):
    """Settings."""

    path: str | None = None
    text = "no field"  # and no setting

    # alone up here, about nothing

    many: tuple[Count, ...] = (1, 2)  # a list
    inner: Inner = field(default_factory=lambda: Inner(radius=3))


@dataclass(frozen=True)
class Needy:
    """Settings."""

    folder: str  # must be given


@dataclass(frozen=True)
class Example:
    name: str
    settings: type
    about: str = ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_conf_is_up_to_date(path):
    assert path.is_file() and path.read_text("utf-8") == FILES[path], (
        "the settings dataclasses (or their comments) say something else: run `make conf`, which writes conf/ anew"
    )


@pytest.mark.parametrize("group", CHOSEN_SECTIONS)
def test_every_file_of_a_group_is_one_of_its_members(group):
    files = {path.stem for path in (conf_files.CONF / group).glob("*.yaml")}
    assert files == {member.name for member in registry.ours(CHOSEN_SECTIONS[group])}


@pytest.mark.parametrize("group", CHOSEN_SECTIONS)
def test_members_parse_to_the_defaults_of_their_dataclass(group):
    for member in registry.ours(CHOSEN_SECTIONS[group]):
        written = yaml.safe_load((conf_files.CONF / group / f"{member.name}.yaml").read_text("utf-8"))
        written = written[group] if getattr(member, "suits", {}) else written
        assert written.pop("name") == member.name
        assert written == defaults(member.settings)
        if None not in written.values():
            assert parse(member.settings, written) == member.settings()


def test_the_audits_of_default_are_all_there_are_with_their_defaults():
    written = yaml.safe_load((conf_files.CONF / "audit" / "default.yaml").read_text("utf-8"))
    assert written == {audit.name: defaults(audit.settings) for audit in registry.ours("audit")}


def test_a_run_without_overrides_is_the_default_of_every_section():
    config = command_line.read([], main.conf_dir())
    fields = RunConfig.__dataclass_fields__
    for name in PLAIN_SECTIONS:
        if name in CHOSEN_SECTIONS:
            continue
        found, expected = plain(getattr(config, name)), plain(default(fields[name]))
        for section, key in conf_files.ASKED:
            if section == name:
                assert found.pop(key) != expected.pop(key)
        assert found == expected, name
    assert config.request.classes == (9,)


def test_comments_above_and_beside_a_field_are_its_own():
    assert conf_files.comments(Inner) == {
        "radius": "of the circle: a comment that is too long for the field's own line",
        "shape": "seen from above",
        "kind": "",
    }
    assert conf_files.comments(Outer) == {"common": "of everybody", "path": "", "many": "a list", "inner": ""}


def test_a_member_written_out():
    assert conf_files.member_file(Example("outer", Outer, "all that can happen")) == (
        "name: outer   # all that can happen\n"
        "common: true  # of everybody\n"
        "path: null\n"
        "many: [1, 2]  # a list\n"
        "inner:        # what is inside. And more\n"
        "  radius: 3     # of the circle: a comment that is too long for the field's own line\n"
        "  shape: round  # round | flat: seen from above\n"
        "  kind: a       # a | b\n"
    )
    assert conf_files.member_file(Example("needy", Needy)) == "name: needy\nfolder: null  # must be given\n"


def test_sections_replace_what_is_between_defaults_and_hydra():
    text = "# head\ndefaults:\n  - _self_\n\nseed: 7\nold: 1\n\nhydra:\n  run: here\n"
    written = conf_files.with_sections(text)
    assert written.startswith("# head\ndefaults:\n  - _self_\n\nseed: 0       # all randomness is derived from it\n")
    assert written.endswith("\n\nhydra:\n  run: here\n") and "\nold:" not in written
    assert conf_files.with_sections(written) == written
