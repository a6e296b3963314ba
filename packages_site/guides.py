"""The guides of docs/, as pages: whoever runs Taglock has them at hand, for this version."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

# In the order in which people need them.
NAMES = (
    "rules",
    "gate",
    "accounts",
    "api",
    "lock-log",
    "operations",
    "settings",
    "architecture",
    "glossary",
    "dependencies",
)
_LINK = re.compile(r"(?P<name>[a-z-]+)\.md(?P<anchor>#.*)?")


@dataclass(frozen=True)
class Guide:
    """A guide, with its text as HTML. `headings` are those of its parts, with their anchors."""

    name: str
    title: str
    headings: tuple[tuple[str, str], ...]
    html: SafeString


@require_safe
def list_guides(request: HttpRequest) -> HttpResponse:
    """List the guides."""
    return render(request, "guides.html", {"guides": _read_all()})


@require_safe
def show_guide(request: HttpRequest, name: str) -> HttpResponse:
    """Show one guide."""
    if name not in NAMES:
        raise Http404
    context = {"guide": read_guide(name), "guides": _read_all()}
    return render(request, "guide.html", context)


def _read_all() -> list[Guide]:
    return [read_guide(name) for name in NAMES]


@cache
def read_guide(name: str) -> Guide:
    """Return the guide of this name, one of NAMES."""
    text = (settings.BASE_DIR / "docs" / f"{name}.md").read_text()
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    headings = _name_headings(tokens)
    for token in _walk(tokens):
        _adapt(token)
    # Of our own files, with their HTML escaped.
    html = mark_safe(parser.renderer.render(_unlink(tokens), parser.options, {}))  # noqa: S308
    title = next(title for level, title, _ in headings if level == "h1")
    parts = tuple((title, anchor) for level, title, anchor in headings if level == "h2")
    return Guide(name, title, parts, html)


def make_anchor(heading: str) -> str:
    """Return the anchor of a heading, as GitHub names it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _name_headings(tokens: Sequence[Token]) -> list[tuple[str, str, str]]:
    """Give each heading its anchor, and return level, text and anchor of all."""
    found = []
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            anchor = make_anchor(inline.content)
            token.attrSet("id", anchor)
            found.append((token.tag, inline.content.replace("`", ""), anchor))
    return found


def _walk(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _walk(token.children or ())


def _adapt(token: Token) -> None:
    """Let the keyboard reach what scrolls, and let cells know their heading."""
    if token.type in ("fence", "code_block", "table_open"):
        token.attrSet("tabindex", "0")
    elif token.type == "th_open":
        token.attrSet("scope", "col")
    elif token.type == "link_open":
        link = _LINK.fullmatch(str(token.attrGet("href")))
        if link and link["name"] in NAMES:
            address = reverse("guide", args=[link["name"]])
            token.attrSet("href", f"{address}{link['anchor'] or ''}")


def _unlink(tokens: list[Token]) -> list[Token]:
    """Return the tokens without links to files that only the source has; their words stay."""
    for token in tokens:
        kept: list[Token] = []
        dropped = False
        for child in token.children or ():
            if child.type == "link_open":
                dropped = not str(child.attrGet("href")).startswith(("/", "#", "http"))
            if child.type not in ("link_open", "link_close") or not dropped:
                kept.append(child)
        if token.children is not None:
            token.children = kept
    return tokens
