"""The page "Registries", for site administrators."""

from typing import Any

import pytest

from containers.pages import registry
from containers.registry.account import RegistryLogin
from containers.registry.checkup import Finding, Outcome
from tests.page import Browser
from workspaces.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(db: None, sign_in: Any) -> Browser:
    return Browser(sign_in(User.objects.create_user("sam", is_superuser=True)))


def test_without_a_registry_it_says_how_to_connect_one(browser: Browser) -> None:
    page = browser.open("/admin/registry/")
    assert "No registry is connected" in page.main.text
    assert page.main.find_all("form") == []


def test_the_connection_is_shown_without_secrets_and_checked_on_demand(
    browser: Browser, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REGISTRY_URL = "https://registry.example.org/artifactory"
    settings.REGISTRY_LOGIN_SECRET = RegistryLogin("robot", "hunter2")
    settings.REGISTRY_ACCOUNTS = "registry"
    found = [
        Finding(Outcome.OK, "It takes connections.", "", "Reach"),
        Finding(Outcome.WARNING, "It cannot be read.", "Let Taglock list it.", "Catalog"),
    ]
    monkeypatch.setattr(registry, "check_connection", lambda _: found)
    page = browser.open("/admin/registry/")
    assert "https://registry.example.org/artifactory" in page.main.text
    assert "The registry keeps those of people and programs." in page.main.text
    assert "robot" in page.main.text
    assert "hunter2" not in page.raw_text
    assert page.main.find_all("table") == []
    page = browser.press("Check the connection")
    assert page.main.find(role="status").text == "The registry can be used. Read the warnings."
    rows = [row.text for row in page.main.find("tbody").find_all("tr")]
    assert rows == [
        "Reach OK It takes connections.",
        "Catalog Warning It cannot be read. Let Taglock list it.",
    ]
    found.append(Finding(Outcome.FAILED, "No answer.", "Read its log.", "Manifest"))
    page = browser.press("Check the connection")
    assert page.main.find(role="status").text == "The registry can't be used like this."
