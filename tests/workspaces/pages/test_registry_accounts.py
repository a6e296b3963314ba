"""Pages where the registry keeps the accounts of those who push and pull: none speaks of others."""

from typing import Any

import pytest

from containers.names import RepositoryName
from containers.sql import insert_repository
from tests.page import Browser, Page
from workspaces.models import AccessToken, Membership, User, Workspace

pytestmark = pytest.mark.django_db

TOKENS = "/acme/settings/access-tokens/"
# What only Taglock's own logins have.
FOREIGN = (
    "pull from all of them",
    "acme+",
    "Can pull",
    "Pull, push",
    "pull, push",
    "--username",
    "pull for",
)


@pytest.fixture(params=["registry", "tokens"])
def accounts(request: pytest.FixtureRequest, settings: Any) -> str:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    settings.REGISTRY_ACCOUNTS = request.param
    return str(request.param)


def _open_all(admin: Browser, acme: Workspace) -> list[Page]:
    bob = Membership.objects.get(workspace=acme, user__username="bob").pk
    admin.open(TOKENS)
    made = admin.press("Create access token", name="ci", scopes=["push"])
    revoke = f"{TOKENS}{AccessToken.objects.get().pk}/revoke/"
    return [
        made,
        *map(
            admin.open,
            [
                "/acme/repositories/",
                "/acme/repositories/acme/api/",
                "/acme/settings/",
                TOKENS,
                "/acme/settings/members/",
                f"/acme/settings/members/{bob}/remove/",
                revoke,
            ],
        ),
    ]


def test_every_page_speaks_of_the_accounts_that_there_are(
    admin: Browser, acme: Workspace, bob: User, accounts: str
) -> None:
    insert_repository(acme, RepositoryName("acme/api"))
    said = " ".join(page.main.text for page in _open_all(admin, acme))
    found = [each for each in FOREIGN if each in said]
    assert found == ([] if accounts == "registry" else list(FOREIGN))
    assert ("account at the registry" in said) is (accounts == "registry")


def test_visibility_is_only_offered_where_it_says_who_may_pull(
    admin: Browser, acme: Workspace, accounts: str
) -> None:
    insert_repository(acme, RepositoryName("acme/api"))
    for path in ("/acme/repositories/", "/acme/repositories/acme/api/"):
        said = admin.open(path).main.text
        assert ("Private" in said) is ("isibility" in said) is (accounts == "tokens")
    page = admin.open("/acme/repositories/acme/api/-/visibility/")
    assert ("changes nothing there" in page.main.text) is (accounts == "registry")
