"""The page is well-formed, needs nothing else, and says whatever there is to say."""

import re
from dataclasses import replace
from html.parser import HTMLParser

from slt_compress.assessment.page import html_page
from slt_compress.assessment.results import Assessment


class _Page(HTMLParser):
    """Counts what a page has, and whether what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag not in ("meta", "line", "circle", "rect", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "rect", "polyline"):
            assert self.open.pop() == tag


def test_the_page_needs_nothing_else(found: Assessment) -> None:
    text = html_page(replace(found, dataset="<b>&", notes=("a < b",)), "search 'x' <y>")
    page = _Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert "@import" not in text
    assert "url(" not in text
    assert "&lt;b&gt;&amp;" in text
    assert "a &lt; b" in text
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"\bnan\b|None", text)


def test_a_page_without_choices_can_be_made(found: Assessment) -> None:
    bare = replace(found, choices=(), dense=None, trials=(), fleet=None, years=())
    _Page(html_page(replace(bare, recommendation=replace(found.recommendation, choice=None)), ""))
