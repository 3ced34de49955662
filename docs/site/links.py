"""Links out of docs/ lead to the repository on the site, and pictures from there come along."""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"(!?)\[([^\]]*)\]\(\.\./([^)]+)\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Called by mkdocs for every page of docs/ itself; generated ones stand a folder deeper and link inside."""
    if "/" in page.file.src_uri:
        return markdown

    def moved(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        there = f"pictures/{target}" if mark else f"{config['repo_url']}/blob/main/{target}"
        return f"{mark}[{text}]({there})"

    return OUTSIDE.sub(moved, markdown)
