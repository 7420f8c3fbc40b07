"""Links from page to page lead somewhere, on a forge as well, where nothing is built."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

REPOSITORY: Final = Path(__file__).parents[2]
MARKDOWN: Final = MarkdownIt("commonmark").enable("table")


def test_links_lead_to_files_and_headings(any_page: str) -> None:
    file = REPOSITORY / any_page
    links = [
        str(child.attrs[name])
        for token in MARKDOWN.parse(file.read_text())
        for child in token.children or []
        for name in ("href", "src")
        if name in child.attrs
    ]
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = file.parent / path if path else file
        assert there.resolve().is_relative_to(REPOSITORY), link
        assert there.exists(), link
        assert not anchor or anchor in _anchors(there), link


def _anchors(file: Path) -> set[str]:
    """What forges call the headings of a page."""
    tokens = MARKDOWN.parse(file.read_text())
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
