import re
from dataclasses import fields
from pathlib import Path

import pytest

from packages_site.environment import Environment

SETTINGS = Path(__file__).resolve().parent.parent.parent / "docs" / "settings.md"


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
