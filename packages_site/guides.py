"""The guides: the Markdown files in docs/, as pages that every other page leads to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

# Each with what it is about, in the order in which the list shows them.
GUIDES = {
    "rules": "What to write as a pattern, and what Taglock says about it",
    "tags": "Find, release, delete and free tags",
    "accounts": "Roles, scopes, logging in, and what public repositories mean",
    "single-sign-on": "Sign in at an identity provider, and what its groups give",
    "lock-log": "What is recorded, who may read it, and how to verify it",
    "api": "How a registry or a pipeline asks, and how programs manage a workspace",
    "glossary": "The words that pages, API and lock log use",
    "gate": "Put the gate in front of your own registry",
    "registries": "Which settings fit which registry, and what was tried of that",
    "edges": "Which proxy stands in front of registry, gate and site, and what it refuses",
    "repositories": "Which workspace a repository belongs to, and how to change that",
    "production": "Every step, from DNS to the first restored backup",
    "operations": "Start, size, back up, restore and upgrade",
    "watch": "Metrics for Prometheus, and what each of them means",
    "scaling": "How far one database goes, and what breaks first",
    "settings": "Every environment variable",
    "architecture": "The parts, how a push is decided, and what happens when something fails",
    "pages": "How these pages are built",
    "dependencies": "What Taglock uses, and why",
}

_LINK_TO_GUIDE = re.compile(r"(?:docs/)?([a-z-]+)\.md(#.*)?\Z")
# What may be wider than the page scrolls, and so the keyboard has to reach it.
_SCROLLABLE = (
    ("<pre>", '<pre tabindex="0">'),
    ("<table>", '<div class="guide-table" tabindex="0" role="group" aria-label="Table"><table>'),
    ("</table>", "</table></div>"),
)
_NOT_IN_ANCHOR = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Guide:
    """A guide as HTML: its title, what is below it, and its sections as (anchor, title)."""

    title: str
    body: SafeString
    sections: Sequence[tuple[str, str]]


@require_safe
def guide_list(request: HttpRequest) -> HttpResponse:
    """List the guides."""
    return render(
        request,
        "guides.html",
        {"guides": [(name, read_guide(name), about) for name, about in GUIDES.items()]},
    )


@require_safe
def guide(request: HttpRequest, name: str) -> HttpResponse:
    """Show a guide."""
    if name not in GUIDES:
        raise Http404
    return render(request, "guide.html", {"guide": read_guide(name), "name": name})


@cache
def read_guide(name: str) -> Guide:
    """Return the guide `docs/<name>.md`."""
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse((Path(settings.BASE_DIR) / "docs" / f"{name}.md").read_text())
    title, body = tokens[1].content, tokens[3:]
    sections = _name_headings(body)
    for token in body:
        _adapt(token)
    html = parser.renderer.render(body, parser.options, {})
    for plain, scrollable in _SCROLLABLE:
        html = html.replace(plain, scrollable)
    # The files are the project's own: no one else's HTML is in them.
    return Guide(title, mark_safe(html), sections)  # noqa: S308


def _name_headings(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    """Give each heading the anchor that GitHub gives it; return those of the second level."""
    sections = []
    for heading, text in pairwise(tokens):
        if heading.type != "heading_open":
            continue
        plain = text.content.replace("`", "")
        anchor = _NOT_IN_ANCHOR.sub("", plain.lower()).replace(" ", "-")
        heading.attrSet("id", anchor)
        if heading.tag == "h2":
            sections.append((anchor, plain))
    return sections


def _adapt(token: Token) -> None:
    """Make a piece of Markdown what our pages want it to be."""
    if token.type == "th_open":
        token.attrSet("scope", "col")
    tag = "a"
    for child in token.children or ():
        if child.type == "link_open":
            address = _find_address(str(child.attrs.pop("href")))
            tag = "a" if address else "span"
            child.attrs |= {"href": address} if address else {}
        if child.type in ("link_open", "link_close"):
            child.tag = tag


def _find_address(link: str) -> str:
    """Return where a link of a file in docs/ leads from a page, or "" if that is not a page."""
    if link.startswith(("https://", "#")):
        return link
    match = _LINK_TO_GUIDE.match(link)
    if match is None or match[1] not in GUIDES:
        return ""
    return reverse("guide", args=[match[1]]) + (match[2] or "")
