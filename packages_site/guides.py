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
# What each page is about, by the name of its address: words for the link, guide, and part of it.
_ABOUT = {
    "home": ("Roles", "accounts", "roles-and-scopes"),
    "login": ("Passwords and access tokens", "accounts", "logging-in"),
    "account": ("Accounts and passwords", "accounts", "people"),
    "forgotten-password": ("Accounts and passwords", "accounts", "people"),
    "password-link": ("Accounts and passwords", "accounts", "people"),
    "invitation": ("Accounts and passwords", "accounts", "people"),
    "overview": ("Terms", "glossary", ""),
    "workspace-settings": ("Logging in to the registry", "accounts", "logging-in"),
    "members": ("Members, invitations and password links", "accounts", "people"),
    "change-role": ("Roles", "accounts", "roles-and-scopes"),
    "remove-member": ("Members, invitations and password links", "accounts", "people"),
    "make-password-link": ("Members, invitations and password links", "accounts", "people"),
    "withdraw-invitation": ("Members, invitations and password links", "accounts", "people"),
    "access-tokens": ("Scopes and limits", "accounts", "roles-and-scopes"),
    "revoke-access-token": ("Scopes and limits", "accounts", "roles-and-scopes"),
    "packages-settings": ("Rules", "rules", ""),
    "container-settings": ("Rules", "rules", ""),
    "try-patterns": ("Rules", "rules", ""),
    "repositories": ("The gate and the registry", "gate", ""),
    "repository-visibility": ("Who can pull", "accounts", "roles-and-scopes"),
    "tag": ("A tag's story", "lock-log", "a-tags-story"),
    "locked-tags": ("What locked, released and reserved mean", "glossary", ""),
    "delete-locked-tag": ("What locked, released and reserved mean", "glossary", ""),
    "release-locked-tag": ("What locked, released and reserved mean", "glossary", ""),
    "lock-log": ("The lock log", "lock-log", ""),
    "lock-event": ("Kinds of events", "lock-log", "kinds-of-events"),
    "log-checkpoint": ("What keeps the lock log honest", "lock-log", "what-keeps-it-honest"),
    "export-log": ("Exporting the lock log", "lock-log", "exporting-it"),
    "download-log": ("Exporting the lock log", "lock-log", "exporting-it"),
    "export-progress": ("Exporting the lock log", "lock-log", "exporting-it"),
    "docs": ("How to use the API", "api", ""),
}
_LINK = re.compile(r"(?P<name>[a-z-]+)\.md(?P<anchor>#.*)?")


@dataclass(frozen=True)
class Guide:
    """A guide, with its text as HTML. `headings` are those of its parts, with their anchors."""

    name: str
    title: str
    headings: tuple[tuple[str, str], ...]
    html: SafeString


@dataclass(frozen=True)
class GuideLink:
    """Where to read more."""

    title: str
    address: str


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


def find_guide_link(url_name: str) -> GuideLink | None:
    """Return the link to the guide of a page, by the name of its address."""
    if url_name not in _ABOUT:
        return None
    title, name, anchor = _ABOUT[url_name]
    address = reverse("guide", args=[name])
    return GuideLink(title, f"{address}#{anchor}" if anchor else address)


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
