"""Fixed people and helpers that every test may use.

Alice is admin of acme, Bob a member, Olga its auditor; Mallory is admin of another workspace.
"""

import gc
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.template import Template
from django.test import Client, TransactionTestCase, override_settings
from django.utils import timezone
from django.utils.crypto import get_random_string
from hypothesis import HealthCheck, is_hypothesis_test, settings
from rest_framework.test import APIClient
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from containers import registries
from containers.registries import StoredRegistries, stored_registries
from containers.tokens import stored_keys
from containers.tokens.stored_keys import StoredKeys, token_keys
from immutability.actions.save_settings import save_container_settings
from immutability.models import LockedTag
from immutability.policy.drafts import Draft
from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection
from immutability.reading import read_policy
from packages_site.data_dir import make_missing_files
from tests.people import (
    write_access_token,
    write_first_settings,
    write_member,
    write_workspace,
)
from tests.services.chromium import find_chromium
from tests.services.tables import empty_tables
from workspaces.access import SYSTEM, Role, Scope
from workspaces.models import User, Workspace
from workspaces.throttles import forget_leases
from workspaces.verified_passwords import forget_verified

# As `migrate` does before anything else starts.
make_missing_files()

# How long an example takes is the machine's to say.
settings.register_profile("taglock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("taglock")

pytest_plugins = [
    "tests.services.browser",
    "tests.services.cluster",
    "tests.services.distribution",
]

AA = "sha256:" + "a" * 64
BB = "sha256:" + "b" * 64
CC = "sha256:" + "c" * 64

ROOT = Path(__file__).parent.parent
# What stops the database server and Redis; what starts processes, and mostly waits for them; and
# what keeps a core busy.
PARTS = ("outages", "processes", "others")
STARTS_PROCESSES = ("browser", "process", "cluster")
# Before which the journeys of tests/flows go.
REGISTRY_KINDS = ("docker-registry", "distribution-3")
# Of a file.
MANY_TESTS = 100
# New objects after which the garbage collector looks at them: nearly all are gone before that.
GARBAGE = 10_000

SEMVER = PolicyRule("Release versions", r"^v\d+\.\d+\.\d+$")
LATEST = PolicyException("Moving latest", "^latest$")
CACHES = PolicyException("Build caches", "^buildcache")


def skip_or_fail(missing: str) -> None:
    """Skip the test with a loud line that names what is missing; in CI nothing may skip."""
    line = f"MISSING: {missing}"
    if os.environ.get("CI"):
        pytest.fail(f"{line}; no test may skip in CI")
    pytest.skip(line)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="the first case of each test that starts no process and is neither slow nor random",
    )
    parser.addoption(
        "--both-databases", action="store_true", help="only the tests marked both_databases"
    )
    parser.addoption("--part", choices=PARTS, help="only the tests of one part of tests/run")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Read nothing that has none of the tests that are asked for: each costs a millisecond."""
    if not collection_path.name.startswith("test_") or not collection_path.is_file():
        return None
    part, file = config.option.part, str(collection_path.relative_to(ROOT))
    if part is not None and find_part(file) != part:
        return True
    if config.option.both_databases and "both_databases" not in collection_path.read_text():
        return True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Let each worker begin with files of its own: pytest compiles each for itself, and keeps it.

    The garbage collector waits, for next to nothing becomes garbage.
    """
    gc.disable()
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return
    number, count = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    for file in _find_files(session.config)[number::count]:
        # What is wrong with it is said when its tests are collected.
        with suppress(Exception, pytest.skip.Exception):
            import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


def _find_files(config: pytest.Config) -> list[Path]:
    """Return the files with tests that are asked for."""
    named = [ROOT / argument.partition("::")[0] for argument in config.args]
    found = {
        each for path in named for each in (path.rglob("test_*.py") if path.is_dir() else [path])
    }
    return [each for each in sorted(found) if not pytest_ignore_collect(each, config)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin with what takes long, so that no worker is left with it alone at the end.

    The garbage collector passes over what stays until then, which is much.
    """
    counts = Counter(item.path for item in session.items)

    def rank(item: pytest.Item) -> int:
        if item.get_closest_marker("slow") is not None:
            return 0
        return 1 if counts[item.path] > MANY_TESTS else 2

    session.items.sort(key=rank)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for."""
    chosen = [item for item in items if _is_chosen(item, config)]
    if config.option.quick:
        chosen = _leave_out_cases(chosen)
    if len(chosen) < len(items):
        kept = set(chosen)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = chosen


def _is_chosen(item: pytest.Item, config: pytest.Config) -> bool:
    if config.option.both_databases and item.get_closest_marker("both_databases") is None:
        return False
    file = item.nodeid.partition("::")[0]
    if config.option.part is not None and find_part(file) != config.option.part:
        return False
    return not config.option.quick or _is_quick(item)


def _is_quick(item: pytest.Item) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    is_random = is_hypothesis_test(getattr(item, "function", None))
    return not is_random and not marks & {*STARTS_PROCESSES, "slow"}


def _leave_out_cases(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the first case of each test."""
    first: dict[str, pytest.Item] = {}
    for item in items:
        first.setdefault(item.nodeid.partition("[")[0], item)
    return list(first.values())


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Give a worker what shares a started service as one piece, and everything else by files.

    Groups of xdist 3.8 are no help: it renames tests in a way that pytest 9.2 passes over.
    """
    return _Scheduling(config, log)


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return find_group(nodeid)

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        """Forget what is done, which xdist would count again after each test."""
        nodeid = self.registered_collections[node][item_index]
        group = find_group(nodeid)
        pending = self.assigned_work[node]
        del pending[group][nodeid]
        if not pending[group]:
            del pending[group]
        self._reschedule(node)


def find_part(file: str) -> str:
    """Return which part of tests/run the tests of a file belong to."""
    if file.startswith("tests/outages/"):
        return "outages"
    return "processes" if _read_marks(file) else "others"


def find_group(nodeid: str) -> str:
    """Return what a test shares services with; its file where it starts no process."""
    file, _, name = nodeid.partition("::")
    marks = _read_marks(file)
    if "cluster" in marks:
        return file.rpartition("/")[0]
    if not marks:
        return file
    if file.startswith("tests/flows/"):
        for kind in REGISTRY_KINDS:
            if re.search(rf"[\[-]{kind}[-\]]", name):
                return f"tests/flows before {kind}"
    return file


@cache
def _read_marks(file: str) -> frozenset[str]:
    """Return which of the marks of started processes are used in a file."""
    text = (ROOT / file).read_text()
    return frozenset(each for each in STARTS_PROCESSES if f"mark.{each}" in text)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Copy the migrated database, where tests/run has made one."""
    if template := os.environ.get("TEST_DATABASE_TEMPLATE"):
        connection.settings_dict["TEST"]["TEMPLATE"] = template


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Know keys and registries from here on: no test counts the statements that read them."""
    with django_db_blocker.unblock():
        token_keys().find_signing_key()
        stored_registries().look()


@pytest.fixture(autouse=True, scope="session")
def _keep_what_was_read() -> Iterator[None]:
    """Keep keys of tokens and registries as they were read, where a test does not forget them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stored_keys, "LOOK_SECONDS", math.inf)
        patched.setattr(stored_keys, "MAX_AGE_SECONDS", math.inf)
        patched.setattr(stored_keys, "KNOWN_SECONDS", math.inf)
        patched.setattr(registries, "LOOK_SECONDS", math.inf)
        patched.setattr(registries, "MAX_AGE_SECONDS", math.inf)
        yield


@pytest.fixture
def changing_keys(db: None) -> Iterator[None]:
    """Let a test change the keys of tokens, which are read again before it."""
    with known_again_afterwards(token_keys()):
        yield


@pytest.fixture
def changing_registries(db: None) -> Iterator[None]:
    """Let a test add registries, which are read again before it."""
    with known_again_afterwards(stored_registries()):
        yield


@contextmanager
def known_again_afterwards(stored: StoredKeys | StoredRegistries) -> Iterator[None]:
    """Forget what was read for now: a later test that counts statements reads nothing again."""
    known = vars(stored).copy()
    stored.forget()
    yield
    vars(stored).update(known)


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


@pytest.fixture(autouse=True, scope="session")
def _render_as_in_production(django_test_environment: None) -> Iterator[None]:
    """Keep no copy of every context of every template, which the tests have no use for."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Template, "_render", lambda self, context: self.nodelist.render(context))
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
    return write_workspace("acme", "Acme")


@pytest.fixture
def globex(db: None) -> Workspace:
    return write_workspace("globex", "Globex")


def make_member(workspace: Workspace, username: str, role: Role) -> User:
    user = User.objects.create_user(username, password="demo")
    write_member(workspace, user, role)
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
    """Return a function that gives a browser-like client in which someone is signed in."""
    return sign_in_as


def sign_in_as(user: User) -> Client:
    """Return a client with a session as signing in makes it, which takes one statement here."""
    key = get_random_string(32)
    said = {
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: django_settings.AUTHENTICATION_BACKENDS[0],
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    Session(
        session_key=key,
        session_data=SessionStore().encode(said),
        expire_date=timezone.now() + timedelta(days=1),
    ).save(force_insert=True)
    client = Client()
    client.cookies[django_settings.SESSION_COOKIE_NAME] = key
    return client


def make_api_client(workspace: Workspace, *scopes: Scope) -> APIClient:
    """Return an API client with a new access token of these scopes."""
    name = "token " + "+".join(scopes)
    secret = write_access_token(workspace, name, scopes)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


@pytest.fixture
def api_as() -> Callable[..., APIClient]:
    """Return a function that gives an API client with a new access token of these scopes."""
    return make_api_client


@pytest.fixture
def registry(acme: Workspace, api_as: Callable[..., APIClient]) -> APIClient:
    """The registry of acme."""
    return api_as(acme, Scope.REGISTRY)


def protect_workspace(
    workspace: Workspace, protection: Protection, *rules: PolicyRule, **others: Any
) -> Policy:
    """Save a workspace's settings, whatever they are now."""
    draft, before = Draft(protection, rules, **others), read_policy(workspace)
    if before == Policy() and not LockedTag.objects.filter(workspace=workspace).exists():
        return write_first_settings(workspace, draft)
    return save_container_settings(
        workspace,
        draft,
        expected_version=before.version,
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
    path = find_chromium()
    if path is None:
        skip_or_fail("Debian's chromium-headless-shell")
    return str(path)


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"
