"""The version that pages show."""

import tomllib
from pathlib import Path

from packages_site.version import VERSION


def test_pages_show_the_version_of_the_project() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
