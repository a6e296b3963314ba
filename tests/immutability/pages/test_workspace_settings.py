"""The settings pages General and Packages: what the workspace is, and how to connect to it."""

from collections.abc import Callable
from typing import Any

import pytest

from containers.prefixes import add_prefix
from immutability.policy.protection import Policy, Protection
from tests.conftest import SEMVER
from tests.page import Browser
from workspaces.access import SYSTEM
from workspaces.models import User, Workspace

GENERAL, PACKAGES = "/acme/settings/", "/acme/settings/packages/"


def test_general_says_who_is_there_and_what_is_protected(
    acme: Workspace, bob: User, admin: Browser, protect: Callable[..., Policy]
) -> None:
    facts = admin.open(GENERAL).facts
    assert facts["Members"] == "2 See members"
    assert facts["Protection"] == "No tags are protected Container settings"
    protect(acme, Protection.SOME, SEMVER)
    assert admin.open(GENERAL).facts["Protection"] == (
        "Some tags are protected, by 1 rule Container settings"
    )


def test_general_says_how_to_connect(acme: Workspace, admin: Browser, settings: Any) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    settings.PUBLIC_URL = "https://tags.example"
    page = admin.open(GENERAL)
    assert page.facts["Image names"].startswith("tags.example/acme/")
    assert page.main.find("pre").raw_text == "docker login tags.example --username alice"
    assert admin.follow("create an access token").heading == "Access tokens"


def test_general_names_the_repositories_without_the_slug(
    acme: Workspace, globex: Workspace, member: Browser, settings: Any
) -> None:
    assert "Also its own" not in member.open(GENERAL).facts
    for workspace, prefix in ((acme, "team/sub"), (acme, "library"), (globex, "theirs")):
        add_prefix(workspace, prefix, actor=SYSTEM)
    link = "Which repositories belong to it"
    told = f"Repositories under library, team/sub {link}"
    assert member.open(GENERAL).facts["Also its own"] == told
    settings.REGISTRY_WORKSPACE = "acme"
    told = f"Repositories under library, team/sub, and that no other workspace has {link}"
    assert member.open(GENERAL).facts["Also its own"] == told


def test_a_member_is_told_whom_to_ask_for_a_token(
    acme: Workspace, member: Browser, settings: Any
) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    page = member.open(GENERAL)
    assert "ask an admin for an access token" in page.main.text
    assert page.main.find("pre").raw_text.endswith("--username bob")


def test_without_a_registry_general_leads_to_the_guide(acme: Workspace, admin: Browser) -> None:
    page = admin.open(GENERAL)
    assert "Image names" not in page.facts
    assert not page.main.find_all("pre")
    assert admin.follow("How to connect a registry").path == "/docs/gate/"


def test_packages_says_what_is_protected(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    facts = member.open(PACKAGES).facts
    assert facts["Protection"] == "Some tags are protected"
    assert facts["Rules"] == f"{SEMVER.name} {SEMVER.pattern}"


@pytest.mark.parametrize(
    ("path", "guide"), [(GENERAL, "/docs/accounts/#logging-in"), (PACKAGES, "/docs/rules/")]
)
def test_each_page_leads_to_its_guide(
    acme: Workspace, admin: Browser, path: str, guide: str
) -> None:
    assert admin.open(path).main.find("a", class_="guide-link")["href"] == guide
