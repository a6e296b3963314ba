import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from django.core.management import get_commands

from packages_site.environment import Environment

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = ROOT / "docs" / "settings.md"
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "bench/*.md")
    for path in ROOT.glob(pattern)
)
APPS = ("workspaces", "containers", "immutability", "packages_site", "tests", "bench")


def list_documented() -> list[str]:
    """Return the first column of the first table, in order."""
    lines = SETTINGS.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append(line.split("|")[1].strip())
    header, rule, *names = rows
    assert not header.startswith("`")
    assert set(rule) <= set("-: ")
    return names


def test_every_setting_is_documented_once_and_nothing_else_is() -> None:
    expected = [f"`{field.name.upper()}`" for field in fields(Environment)]
    assert sorted(list_documented()) == sorted(expected)


@pytest.mark.parametrize("name", [field.name.upper() for field in fields(Environment)])
def test_every_setting_says_its_type_its_default_and_what_it_does(name: str) -> None:
    row = re.search(rf"^\| `{name}` \|(.*)\|$", SETTINGS.read_text(), re.MULTILINE)
    assert row
    cells = [cell.strip() for cell in row[1].split("|")]
    assert len(cells) >= 3
    assert all(cells)


@cache
def list_anchors(document: Path) -> set[str]:
    """Return what links into a document may name: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    for path, anchor in re.findall(
        r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", (ROOT / document).read_text()
    ):
        target = (ROOT / document.parent / path).resolve() if path else ROOT / document
        assert target.exists(), path
        assert not anchor or anchor in list_anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_command_that_is_named_is_there(document: Path) -> None:
    named = re.findall(r"manage\.py ([a-z_]+)", (ROOT / document).read_text())
    assert set(named) <= set(get_commands())


@pytest.mark.parametrize(
    ("document", "heading"), [("README.md", "Run it"), ("docs/dependencies.md", "Debian packages")]
)
def test_every_debian_package_that_is_installed_is_named(document: str, heading: str) -> None:
    text = (ROOT / document).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    scripts = "".join((ROOT / each).read_text() for each in ("Makefile", "tests/run"))
    commands = re.findall(r"requirements/debian (.*)", scripts.replace("\\\n", ""))
    installed = {name for command in commands for name in command.split()}
    assert {"docker-registry", "postgresql", "systemd"} <= installed
    assert {name for name in installed if f"`{name}`" not in text} == set()


def test_every_module_of_the_architecture_is_there() -> None:
    there = [f"/{path.relative_to(ROOT)}" for app in APPS for path in (ROOT / app).rglob("*.py")]
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)`", text))
    assert "immutability/push/gate.py" in named
    missing = [name for name in named if not any(path.endswith(f"/{name}") for path in there)]
    assert missing == []


def test_the_names_in_the_habits_are_there() -> None:
    habits = (ROOT / "CONTRIBUTING.md").read_text().partition("## Habits")[2].partition("\n## ")[0]
    names = re.findall(r"`([a-z]+(?:_[a-z]+)+|[A-Z]+(?:_[A-Z]+)+)`", habits)
    assert names
    source = "\n".join(path.read_text() for app in APPS for path in (ROOT / app).rglob("*.py"))
    assert [name for name in names if name not in source] == []
