"""Python without any of Taglock's settings, for what reads them when it starts."""

import os
from collections.abc import Iterator
from dataclasses import fields

import pytest

from packages_site.environment import Environment
from tests.services.console import SETTINGS, Console


@pytest.fixture(scope="session")
def python() -> Iterator[Console]:
    ours = {SETTINGS, *(each.name.upper() for each in fields(Environment))}
    console = Console({name: value for name, value in os.environ.items() if name not in ours})
    yield console
    console.close()
