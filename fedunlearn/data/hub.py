"""Saved models and tokenizers, by their folder or by their name on huggingface.co.

What was downloaded lies in the cache of the package huggingface_hub, where other programs find it too. Only
`data.download=true` fetches anything, and then no file that is there already; never code, and never a pickle.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from fedunlearn.errors import RequestError

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")  # ORGANISATION/MODEL
WANTED = ["config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*.json", "*.jinja", "special_tokens*"]


def place(name: str) -> Path | None:
    """The folder `name`, or where the model of that name was downloaded to; None where neither is there."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    return _snapshot(name, only_here=True) if NAME.fullmatch(name) else None


def fetch(name: str, there: Callable[[Path], bool]) -> None:
    """Download the model of that name unless it is there: `there(folder)`. Raises RequestError where that fails.

    The name of a folder, or of nothing that could be on a hub, is left alone.
    """
    found = place(name)
    if not NAME.fullmatch(name) or Path(name).expanduser().is_dir() or (found and there(found)):
        return
    import httpx

    try:
        _snapshot(name, only_here=False)
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        raise RequestError(f"{name} cannot be downloaded: {' '.join(str(error).split())[:200]}") from error


def unknown(key: str, name: str, lacks: str) -> RequestError:
    """What is wrong with a name for which nothing is there; `lacks`: what a folder would have to be."""
    if not NAME.fullmatch(name) or Path(name).expanduser().is_dir():
        return RequestError(f"{key}={name} is no folder {lacks}")
    return RequestError(
        f"{key}={name} is no folder {lacks}, and nothing of that name was downloaded: data.download=true fetches it "
        "from huggingface.co"
    )


def _snapshot(name: str, only_here: bool) -> Path | None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=WANTED, local_files_only=only_here))
    except (LocalEntryNotFoundError, ValueError):  # or no name that a hub would take
        if only_here:
            return None
        raise
