"""The guides at /docs/: the files of docs/, as pages."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from packages_site.guides import NAMES, find_guide_link, make_anchor, read_guide
from tests.page import Browser, Page, parse
from workspaces.models import User, Workspace


def list_patterns() -> Iterator[URLPattern]:
    """Yield the addresses of pages: those of the API are in a namespace of their own."""
    for entry in get_resolver().url_patterns:
        if isinstance(entry, URLResolver) and entry.namespace is None:
            yield from (each for each in entry.url_patterns if isinstance(each, URLPattern))


ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def browser(db: None, client: Client) -> Browser:
    return Browser(client)


def test_every_file_of_the_folder_is_a_guide() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in (ROOT / "docs").glob("*.md"))


def test_the_guides_are_listed(browser: Browser) -> None:
    page = browser.open("/docs/")
    assert page.heading == "Documentation"
    links = [link["href"] for link in page.main.find_all("a")]
    listed = [each for each in links if each.startswith("/docs/")]
    assert listed == [f"/docs/{name}" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_a_guide_is_a_page_with_one_heading(browser: Browser, name: str) -> None:
    page = browser.open(f"/docs/{name}")
    assert len(page.main.find_all("h1")) == 1
    assert page.title.startswith(page.heading)
    assert not page.main.find_all("script")
    assert page.find("nav", aria_label="Documentation").find(aria_current="page").text == (
        read_guide(name).title
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_links_of_a_guide_lead_somewhere(browser: Browser, name: str) -> None:
    page = browser.open(f"/docs/{name}")
    for link in page.main.find_all("a"):
        address, _, anchor = link["href"].partition("#")
        if address.startswith(("http:", "https:")):
            continue
        assert address == "" or browser.client.get(address).status_code == 200, address
        if anchor and address.removeprefix("/docs/") in (*NAMES, ""):
            target = page if not address else open_guide(browser, address)
            assert target.main.find_all(id=anchor), link["href"]


def open_guide(browser: Browser, address: str) -> Page:
    return Browser(browser.client).open(address)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_guide_is_lost(name: str) -> None:
    """Each word of the file is on the page."""
    text = (ROOT / "docs" / f"{name}.md").read_text()
    shown = parse(f"<div>{read_guide(name).html}</div>").raw_text
    words = re.findall(r"[a-zA-Z]{4,}", re.sub(r"\]\([^)]*\)|```\w*", "", text))
    assert [word for word in set(words) if word not in shown] == []


@pytest.mark.parametrize(
    "name", ["nowhere", "rules.md", "..%2Fsettings", "Rules", "%00", "a" * 300, "images"]
)
def test_a_guide_that_is_not_there(browser: Browser, name: str) -> None:
    assert browser.client.get(f"/docs/{name}").status_code == 404


def test_what_only_the_source_has_is_not_linked() -> None:
    assert "CHANGELOG.md" in read_guide("operations").html
    assert 'href="../' not in "".join(read_guide(name).html for name in NAMES)


def test_headings_have_the_anchors_that_links_use() -> None:
    assert make_anchor("Two phases") == "two-phases"
    assert make_anchor("`check-push`: once?") == "check-push-once"


def test_no_template_links_to_a_guide_that_is_not_there() -> None:
    for template in (ROOT / "templates").rglob("*.html"):
        for name, anchor in re.findall(
            r"{% url 'guide' '([\w-]+)' %}(?:#([\w-]+))?", template.read_text()
        ):
            assert name in NAMES, template
            assert not anchor or f'id="{anchor}"' in read_guide(name).html, (template, anchor)


PAGES = [
    entry.name
    for entry in list_patterns()
    if "<str:slug>" in str(entry.pattern) and entry.name is not None
]


@pytest.mark.parametrize("name", PAGES)
def test_every_page_of_a_workspace_has_a_guide(name: str) -> None:
    link = find_guide_link(name)
    assert link is not None
    address, _, anchor = link.address.partition("#")
    guide = address.removeprefix("/docs/")
    assert guide in NAMES
    assert not anchor or f'id="{anchor}"' in read_guide(guide).html


def test_a_page_links_to_its_guide(acme: Workspace, alice: User) -> None:
    client = Client()
    client.force_login(alice)
    page = Browser(client).open("/acme/settings/members/")
    link = page.find(class_="site-footer").find("a", href="/docs/accounts#people")
    assert link.text == "Members, invitations and password links"
