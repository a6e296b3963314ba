"""Environments without any of Taglock's settings, for what reads them when it starts."""

import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from packages_site.environment import Environment
from tests.services.console import SETTINGS, Console

Set = Callable[..., None]


@pytest.fixture(scope="session")
def python() -> Iterator[Console]:
    ours = {SETTINGS, *(each.name.upper() for each in fields(Environment))}
    console = Console({name: value for name, value in os.environ.items() if name not in ours})
    yield console
    console.close()


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """Return a function that sets variables; all others of Taglock's are unset."""
    for each in fields(Environment):
        monkeypatch.delenv(each.name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)

    def set_variables(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_variables
