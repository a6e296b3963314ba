"""The guides: the files in docs/, as pages."""

import re
from pathlib import Path

import pytest
from django.test import Client

from packages_site.guides import GUIDES, read_guide
from tests.page import Browser, Page

FOLDER = Path("docs")


@pytest.fixture
def stranger(db: None) -> Browser:
    return Browser(Client())


def test_every_file_in_docs_is_a_guide(stranger: Browser) -> None:
    files = {each.stem for each in FOLDER.glob("*.md")}
    assert files == set(GUIDES)
    links = stranger.open("/docs/").main.find_all("a")
    assert {f"/docs/{name}/" for name in files} < {link["href"] for link in links}


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_its_files_title_and_sections(stranger: Browser, name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text()
    page = stranger.open(f"/docs/{name}/")
    assert page.heading == re.findall(r"^# (.*)$", text, re.MULTILINE)[0].replace("`", "")
    assert len(page.main.find_all("h2")) == len(re.findall(r"^## ", text, re.MULTILINE))


def test_every_link_between_guides_leads_somewhere(stranger: Browser) -> None:
    guides = {path: stranger.open(path) for path in (f"/docs/{name}/" for name in GUIDES)}
    pages = {**guides, "/docs/": stranger.open("/docs/")}
    for page in guides.values():
        for link in page.main.find_all("a"):
            path, _, anchor = link["href"].partition("#")
            if path.startswith("https://"):
                continue
            target = pages[path] if path else page
            assert not anchor or target.find_all(id=anchor), (page.path, link["href"])


def test_what_is_wide_can_be_scrolled_by_keyboard(stranger: Browser) -> None:
    page: Page = stranger.open("/docs/api/")
    for wide in (*page.main.find_all("pre"), *page.main.find_all(class_="guide-table")):
        assert wide["tabindex"] == "0"
    for heading in page.main.find_all("th"):
        assert heading["scope"] == "col"


@pytest.mark.parametrize("path", ["/docs/nothing/", "/docs/README/"])
def test_there_is_no_other_guide(stranger: Browser, path: str) -> None:
    stranger.open(path, 404)


def test_no_template_links_to_a_guide_that_is_not_there() -> None:
    """Tags and includes alike: a template names a guide, and perhaps a section of it."""
    tags = r"""{% guide_url ['"]([\w-]+)['"](?: ['"]([\w-]+)['"])? """
    includes = r'guide="([\w-]+)"(?: guide_anchor="([\w-]+)")?'
    for template in Path("templates").rglob("*.html"):
        text = template.read_text()
        for name, anchor in (*re.findall(tags, text), *re.findall(includes, text)):
            assert name in GUIDES, template
            assert not anchor or f'id="{anchor}"' in read_guide(name).body, (template, anchor)
