"""Fixed people and helpers that every test may use.

Alice is admin of acme, Bob a member, Olga its auditor; Mallory is admin of another workspace.
"""

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.test import Client, TransactionTestCase, override_settings
from rest_framework.test import APIClient

from immutability.actions.save_settings import save_container_settings
from immutability.policy.drafts import Draft
from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.reading import read_policy
from packages_site.data_dir import make_missing_files
from tests.services.tables import empty_tables
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.actions.workspaces import create_workspace
from workspaces.models import User, Workspace
from workspaces.throttles import forget_leases
from workspaces.verified_passwords import forget_verified

# As `migrate` does before anything else starts.
make_missing_files()

pytest_plugins = [
    "tests.services.browser",
    "tests.services.cluster",
    "tests.services.distribution",
]

AA = "sha256:" + "a" * 64
BB = "sha256:" + "b" * 64
CC = "sha256:" + "c" * 64

SEMVER = PolicyRule("Release versions", r"^v\d+\.\d+\.\d+$")


def skip_or_fail(missing: str) -> None:
    """Skip the test with a loud line that names what is missing; in CI nothing may skip."""
    line = f"MISSING: {missing}"
    if os.environ.get("CI"):
        pytest.fail(f"{line}; no test may skip in CI")
    pytest.skip(line)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out tests that start processes")
    parser.addoption(
        "--both-databases", action="store_true", help="only the tests marked both_databases"
    )
    parser.addoption(
        "--cluster", choices=["only", "none"], help="only the tests marked cluster, or none of them"
    )


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays until the end, which is much."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for, and keep together what shares a started service."""
    others = [item for item in items if not _is_chosen(item, config)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _is_chosen(item, config)]
    for item in items:
        if group := _find_group(item):
            item.add_marker(pytest.mark.xdist_group(group))


def _is_chosen(item: pytest.Item, config: pytest.Config) -> bool:
    if config.option.both_databases and item.get_closest_marker("both_databases") is None:
        return False
    is_cluster = item.get_closest_marker("cluster") is not None
    if config.option.cluster is not None and is_cluster != (config.option.cluster == "only"):
        return False
    return not config.option.quick or _find_group(item) == ""


def _find_group(item: pytest.Item) -> str:
    """Return what the test shares services with; empty where it starts no process."""
    marks = {mark.name for mark in item.iter_markers()}
    file = item.nodeid.partition("::")[0]
    if "cluster" in marks:
        return file.rpartition("/")[0]
    return file if marks & {"browser", "process"} else ""


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Copy the migrated database, where tests/run has made one."""
    if template := os.environ.get("TEST_DATABASE_TEMPLATE"):
        connection.settings_dict["TEST"]["TEMPLATE"] = template


@pytest.fixture(autouse=True, scope="session")
def _settings_of_tests() -> Iterator[None]:
    """Hash passwords fast, and serve static files under the names that they have in static/."""
    storages = {
        **django_settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # WhiteNoise warns of a folder that is not there, and a warning is an error here.
    Path(django_settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    with override_settings(PASSWORD_HASHERS=hashers, STORAGES=storages):
        yield


@pytest.fixture(autouse=True, scope="session")
def _empty_tables_fast() -> Iterator[None]:
    """Let a test that commits cost little more than what it has committed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransactionTestCase, "_fixture_teardown", lambda _: empty_tables())
        yield


@pytest.fixture(scope="module")
def kept_rows(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Keep what fixtures of a module write for all its tests.

    Each test begins with those rows, whatever the one before it has done to them. For tests without
    `transaction=True` alone.
    """
    around = transaction.atomic()
    # As the transaction of a test, it may have a durable one within.
    around._from_testcase = True  # type: ignore[attr-defined]
    with django_db_blocker.unblock(), around:
        yield
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def _no_leases() -> None:
    """What the process remembers of one test, permits and passwords, is not there in the next."""
    forget_leases()
    forget_verified()


@pytest.fixture
def within_one_window() -> None:
    """Wait where the windows of limits are about to end: their lengths divide an hour."""
    seconds_left = 900 - time.time() % 900
    if seconds_left < 8:
        time.sleep(seconds_left + 0.1)


@pytest.fixture
def acme(db: None) -> Workspace:
    return create_workspace("acme", "Acme", actor=SYSTEM)


@pytest.fixture
def globex(db: None) -> Workspace:
    return create_workspace("globex", "Globex", actor=SYSTEM)


def make_member(workspace: Workspace, username: str, role: Role) -> User:
    user = User.objects.create_user(username, password="demo")
    add_member(workspace, user, role, actor=SYSTEM)
    return user


@pytest.fixture
def alice(acme: Workspace) -> User:
    return make_member(acme, "alice", Role.ADMIN)


@pytest.fixture
def bob(acme: Workspace) -> User:
    return make_member(acme, "bob", Role.MEMBER)


@pytest.fixture
def olga(acme: Workspace) -> User:
    return make_member(acme, "olga", Role.AUDITOR)


@pytest.fixture
def mallory(globex: Workspace) -> User:
    return make_member(globex, "mallory", Role.ADMIN)


@pytest.fixture
def sign_in() -> Callable[[User], Client]:
    """Return a function that gives a browser-like client in which somebody is signed in."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def api_as() -> Callable[..., APIClient]:
    """Return a function that gives an API client with a new access token of these scopes."""

    def api_as(workspace: Workspace, *scopes: Scope) -> APIClient:
        name = "token " + "+".join(scopes)
        secret = create_access_token(workspace, name, list(scopes), actor=SYSTEM)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        return client

    return api_as


@pytest.fixture
def registry(acme: Workspace, api_as: Callable[..., APIClient]) -> APIClient:
    """The registry of acme."""
    return api_as(acme, Scope.REGISTRY)


def protect_workspace(
    workspace: Workspace, protection: Protection, *rules: PolicyRule, **switches: bool
) -> Policy:
    """Save a workspace's settings, whatever they are now."""
    return save_container_settings(
        workspace,
        Draft(protection, rules, **switches),
        expected_version=read_policy(workspace).version,
        may_suspend_locks=True,
        actor=SYSTEM,
    )


@pytest.fixture
def protect() -> Callable[..., Policy]:
    """Return a function that saves a workspace's settings."""
    return protect_workspace


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        skip_or_fail("Debian's chromium")
    return str(path)


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"
