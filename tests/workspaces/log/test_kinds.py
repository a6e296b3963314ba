"""The kinds of events: each is described where people look it up."""

import re
from pathlib import Path

from workspaces.log.kinds import EventKind

PAGE = Path(__file__).resolve().parents[3] / "docs" / "lock-log.md"


def test_the_page_says_of_each_kind_when_it_is_recorded() -> None:
    table = PAGE.read_text().partition("## Kinds of events")[2].partition("\n## ")[0]
    described = re.findall(r"^\| `(\S+)` \| \S", table, re.MULTILINE)
    assert sorted(described) == sorted(EventKind)
