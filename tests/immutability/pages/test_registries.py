"""The pages of registries besides the first one, for site administrators."""

from typing import Any

import pytest

from containers.registry.checkup import Finding, Outcome
from containers.registry_changes import add_registry
from immutability.pages import registries
from tests.page import Browser, read_errors
from tests.problems import nothing_written
from workspaces.access import SYSTEM
from workspaces.models import Registry, User, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("changing_registries")]

PAGE, ADD = "/admin/registry/", "/admin/registry/add/"
TYPED = {"name": "harbor", "url": "https://harbor.internal", "host": "images.example.org"}
FOUND = [
    Finding(Outcome.OK, "It takes connections.", step="Reach"),
    Finding(Outcome.OK, "It asks for Basic.", step="Challenge"),
    Finding(Outcome.WARNING, "It cannot be read.", "Let Taglock list it.", "Catalog"),
]


@pytest.fixture
def browser(db: None, sign_in: Any) -> Browser:
    return Browser(sign_in(User.objects.create_user("sam", is_superuser=True)))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What a check finds."""
    found = list(FOUND)
    monkeypatch.setattr(registries, "check_connection", lambda _: found)
    return found


def make() -> Registry:
    return add_registry(**TYPED, accounts="tokens", username="", actor=SYSTEM)


def test_a_registry_is_connected_checked_and_removed(
    browser: Browser, found: list[Finding]
) -> None:
    assert "None. Each registry has its own host name" in browser.open(PAGE).main.text
    browser.follow("Connect a registry")
    page = browser.press("Connect and check", **TYPED)
    row = Registry.objects.get()
    assert (row.name, row.url, row.host, row.accounts) == (*TYPED.values(), "tokens")
    assert page.heading == "harbor"
    assert "The registry harbor is connected." in page.main.text
    # Step by step, as it is kept, and what the registry needs to trust its tokens.
    assert page.by_id("findings-heading").text == "The registry can be used. Read the warnings."
    assert page.main.find("tbody").find_all("tr")[-1].text == (
        "Catalog Warning It cannot be read. Let Taglock list it."
    )
    assert f"service: {row.service}" in page.main.text
    assert row.seen_at is not None
    listed = browser.open(PAGE).find("table").text
    assert "harbor https://harbor.internal images.example.org Warning" in listed
    found[:] = [Finding(Outcome.FAILED, "No connection.", "Start it.", "Reach")]
    browser.follow("harbor")
    page = browser.press("Check the connection")
    assert page.by_id("findings-heading").text == "The registry can't be used like this."
    assert Registry.objects.get().seen_at == row.seen_at
    browser.follow("Remove")
    page = browser.press("Remove")
    assert "The registry harbor is removed." in page.main.text
    assert not Registry.objects.exists()


@pytest.mark.usefixtures("found")
def test_the_page_says_which_variables_the_operator_has_to_set(browser: Browser) -> None:
    browser.open(ADD)
    page = browser.press("Connect and check", **TYPED, accounts="registry", username="robot")
    assert "Set REGISTRY_HARBOR_PASSWORD, or" in page.main.text
    assert "In its configuration" not in page.main.text


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ({"name": ""}, "Enter a name."),
        ({"name": "Harbor"}, "A name begins with a lower-case letter"),
        ({"url": "harbor.internal"}, "The address must begin with http:// or https://"),
        ({"url": "http://169.254.169.254"}, "No registry is at such an address."),
        ({"host": "tags.example.org"}, "This name already leads to the site or a registry."),
        ({"accounts": "registry"}, "Enter Taglock's own account there"),
    ],
)
def test_what_cannot_be_connected_is_explained_beside_the_field(
    browser: Browser, settings: Any, typed: dict[str, str], why: str
) -> None:
    settings.ALLOWED_HOSTS = ["testserver", "tags.example.org"]
    browser.open(ADD)
    with nothing_written():
        page = browser.press("Connect and check", 422, **TYPED | typed)
    (field,) = typed
    errors = read_errors(page)
    assert why in errors["id_username" if field == "accounts" else f"id_{field}"]


@pytest.mark.usefixtures("found")
def test_a_workspace_is_moved_while_it_is_empty(browser: Browser, acme: Workspace) -> None:
    row = make()
    browser.open(f"{PAGE}{row.pk}/")
    browser.follow("Move a workspace")
    page = browser.press("Move", workspace="acme")
    assert "acme is at the registry harbor." in page.main.text
    assert page.main.find("ul").text == "acme"
    browser.follow("Remove")
    page = browser.press("Remove")
    assert "Workspaces are at this registry, so it stays." in page.main.text
    acme.refresh_from_db()
    acme.repositories.create(name="acme/api")
    browser.open(f"{PAGE}move/")
    page = browser.press("Move", 422, workspace="acme", registry="")
    assert "acme has images already" in read_errors(page)["id_workspace"]
    browser.open(f"{PAGE}move/")
    page = browser.press("Move", 422, workspace="nonsense")
    assert "There is no workspace" in read_errors(page)["id_workspace"]


def test_a_registry_that_is_gone_has_no_page(browser: Browser) -> None:
    assert browser.client.get(f"{PAGE}1/").status_code == 404
