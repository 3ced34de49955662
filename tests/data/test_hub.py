"""Models by name: what may fetch them, and what is done with what is there."""

from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

import huggingface_hub
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from fedunlearn.data import hub
from fedunlearn.errors import RequestError


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The calls of a hub that has `org/small`, whose files come into tmp_path/cache; nothing is really fetched."""
    calls = []

    def snapshot_download(name, allow_patterns, local_files_only):
        calls.append(local_files_only)
        cache = tmp_path / "cache"
        if not local_files_only and name == "org/small":
            cache.mkdir(exist_ok=True)
            (cache / "config.json").write_text("{}")
        if not cache.is_dir():
            raise LocalEntryNotFoundError("not here") if local_files_only else ConnectionError("no such model")
        assert not any(".bin" in pattern or ".py" in pattern or pattern == "*" for pattern in allow_patterns)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def configured(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def test_looking_for_a_model_fetches_nothing(asked):
    assert hub.place("org/small") is None and asked == [True]
    assert hub.place("nothing that a hub could have") is None and asked == [True]


def test_a_folder_comes_before_a_name(asked, tmp_path, monkeypatch):
    (tmp_path / "org" / "small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.place("org/small") == Path("org/small")
    hub.fetch("org/small", configured)
    assert asked == []


def test_what_was_fetched_once_is_not_fetched_again(asked, tmp_path):
    hub.fetch("org/small", configured)
    assert hub.place("org/small") == tmp_path / "cache" and False in asked
    asked.clear()
    hub.fetch("org/small", configured)
    assert asked == [True]


def test_what_is_incomplete_is_fetched(asked, tmp_path):
    (tmp_path / "cache").mkdir()
    hub.fetch("org/small", configured)
    assert asked == [True, False]


def test_what_goes_wrong_is_one_sentence(asked):
    with pytest.raises(RequestError, match="org/other cannot be downloaded: no such model"):
        hub.fetch("org/other", configured)
    said = str(hub.unknown("model.path", "org/small", "with a model"))
    assert said.endswith("nothing of that name was downloaded: data.download=true fetches it from huggingface.co")
    assert "huggingface.co" not in str(hub.unknown("model.path", "~/models", "with a model"))
    assert issubclass(RepositoryNotFoundError, OSError), "what the package raises is caught"
