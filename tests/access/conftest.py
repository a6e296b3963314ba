"""Two workspaces, made once a file, and everyone who may call: a test finds them as they were."""

from dataclasses import replace

import pytest
from django.test import Client

from containers.prefixes import create_workspace
from immutability.policy.protection import Protection
from tests.access.matrix import ALICE, BOB, LIMITED, OLGA, TOKENS
from tests.access.site import (
    Site,
    client_of,
    client_with,
    copy_of,
    make_limited,
    make_secret,
    make_things,
)
from tests.conftest import make_member, protect_workspace
from workspaces.access import SYSTEM, Role, Scope
from workspaces.models import User, Workspace


@pytest.fixture(scope="module")
def kept_site(kept_rows: None) -> Site:
    """What all tests here begin with; made once."""
    acme, globex = (
        create_workspace(slug, slug.title(), actor=SYSTEM) for slug in ("acme", "globex")
    )
    people = [
        make_member(acme, ALICE, Role.ADMIN),
        make_member(acme, BOB, Role.MEMBER),
        make_member(acme, OLGA, Role.AUDITOR),
        make_member(globex, "mallory", Role.ADMIN),
        User.objects.create_user("sam", password="demo", is_superuser=True),
    ]
    for workspace in (acme, globex):
        protect_workspace(workspace, Protection.ALL)
    clients = {"anonymous": Client(raise_request_exception=False)}
    clients |= {user.username: client_of(user) for user in people}
    logins = {user.username: (user.username, "demo") for user in people}
    logins |= {f"token {scope}": (f"acme+{scope}", make_secret(acme, scope)) for scope in Scope}
    logins |= {name: (f"acme+{name}", make_limited(acme, name)) for name in LIMITED}
    of_globex = ("globex+" + "+".join(Scope), make_secret(globex, *Scope))
    logins["token of globex"] = of_globex
    for caller in (*TOKENS, "token of globex"):
        clients[caller] = client_with(logins[caller][1])
    return Site(make_things(acme), make_things(globex), clients, logins)


@pytest.fixture
def site(changing_registries: None, kept_site: Site) -> Site:
    """Return it with clients that forget what this test makes them remember."""
    return replace(
        kept_site, clients={name: copy_of(each) for name, each in kept_site.clients.items()}
    )


@pytest.fixture
def acme(site: Site) -> Workspace:
    return Workspace.objects.get(slug="acme")


@pytest.fixture
def globex(site: Site) -> Workspace:
    return Workspace.objects.get(slug="globex")


@pytest.fixture
def alice(site: Site) -> User:
    return User.objects.get(username=ALICE)
