"""Everything through PgBouncer in transaction mode, with fewer connections than there are threads.

And the isolation that every decision is made for, whatever the server's default is.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection

from immutability.models import LockedTag
from tests.conftest import AA, BB
from tests.outages.asking import SIGN_IN_COOKIE, Person, read_json
from tests.outages.conftest import end_leases, short_cluster, wait_until_quiet
from tests.services.cluster import Cluster
from tests.services.nursery import nursery
from tests.services.parts import wait_until
from tests.services.pgbouncer import PgBouncer
from tests.services.registry_user import Answer, Repository, digest_of, send
from workspaces.models import LockEvent, User

pytestmark = pytest.mark.cluster

AT_ONCE = 24
# Of the threads of two gates and a site, one in nine.
CONNECTIONS = 4
PAGES = (
    "/acme/",
    "/acme/settings/",
    "/acme/settings/packages/",
    "/acme/settings/packages/containers/",
    "/acme/locked-tags/",
    "/acme/lock-log/",
)
SERIALIZABLE = "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'"
AS_BEFORE = "ALTER DATABASE {} RESET default_transaction_isolation"
# Fails what is written in any other isolation.
WATCH = (
    "CREATE FUNCTION watch_isolation() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF current_setting('transaction_isolation') <> 'read committed' THEN "
    "RAISE EXCEPTION 'isolation is %', current_setting('transaction_isolation'); END IF; "
    "RETURN NEW; END $$",
    "CREATE TRIGGER watch BEFORE INSERT OR UPDATE ON {} "
    "FOR EACH ROW EXECUTE FUNCTION watch_isolation()",
)
# Written in transactions alone. A refusal changes nothing: a statement of its own records it.
WATCHED = ("containers_tag", "immutability_lockedtag")


@pytest.fixture(scope="module")
def _pooler(django_db_setup: None) -> Iterator[PgBouncer]:
    of = connection.settings_dict
    pooler = PgBouncer(of["HOST"], int(of["PORT"]), of["USER"], pool_size=CONNECTIONS)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.remove()


@pytest.fixture(scope="module")
def _pooled_cluster(
    _pooler: PgBouncer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    of = connection.settings_dict
    url = _pooler.address_of(of["NAME"], of["USER"])
    folder = tmp_path_factory.mktemp("pooled")
    cluster = short_cluster(folder, url, DATABASE_PREPARED_STATEMENTS="false")
    try:
        cluster.start()
        yield cluster
    finally:
        # First, or the server's sessions would be kept for the next client.
        _pooler.kill()
        cluster.stop()


@pytest.fixture
def pooled(
    transactional_db: None, _pooler: PgBouncer, _pooled_cluster: Cluster
) -> Iterator[PgBouncer]:
    """The pooler, before the database that the tests and their cluster are using."""
    yield _pooler
    wait_until_quiet()


@pytest.fixture
def cluster(pooled: PgBouncer, _pooled_cluster: Cluster) -> Cluster:
    """A cluster that knows nothing but the pooler."""
    return _pooled_cluster


def _at_once(asks: list[Callable[[], Answer]]) -> list[Answer]:
    with ThreadPoolExecutor(len(asks)) as threads:
        return list(threads.map(lambda ask: ask(), asks))


def _push_until_decided(repository: Repository, tag: str, image: bytes) -> Answer:
    """Push, and come back as long as it is to come back."""
    answers: list[Answer] = []

    def is_decided() -> bool:
        answers.append(repository.put(tag, image))
        assert answers[-1].status in (201, 403, 503), answers[-1]
        return answers[-1].status != 503

    wait_until(is_decided)
    return answers[-1]


def _race(repository: Repository, tag: str, images: list[bytes]) -> None:
    """Push all of them under one new tag at once, and assert that one has won."""
    answers = _at_once([partial(_push_until_decided, repository, tag, image) for image in images])
    won = [image for image, answer in zip(images, answers, strict=True) if answer.status == 201]
    assert Counter(answer.status for answer in answers) == {201: 1, 403: len(images) - 1}
    assert repository.read(tag) == digest_of(won[0])
    lock = LockedTag.objects.get(repository=repository.name, tag=tag)
    assert (lock.state, lock.digest) == ("locked", digest_of(won[0]))


def test_of_many_first_pushes_one_wins_and_the_same_image_is_always_taken(
    repository: Repository,
) -> None:
    images = [repository.make_image(f"image {number}") for number in range(8)]
    for tag in ("v1.0.0", "v1.1.0"):
        _race(repository, tag, images)
    won = repository.read("v1.0.0")
    image = next(image for image in images if digest_of(image) == won)
    same = _at_once([lambda: repository.put("v1.0.0", image)] * AT_ONCE)
    assert {answer.status for answer in same} == {201}
    others = _at_once(
        [
            partial(_push_until_decided, repository, f"v2.{number}.0", images[0])
            for number in range(AT_ONCE)
        ]
    )
    assert {answer.status for answer in others} == {201}
    events = LockEvent.objects.filter(repository=repository.name, kind="tag.locked")
    assert Counter(event.tag for event in events) == dict.fromkeys(
        ("v1.0.0", "v1.1.0", *(f"v2.{number}.0" for number in range(AT_ONCE))), 1
    )


def test_deletes_and_what_a_crash_left_are_finished(
    cluster: Cluster, repository: Repository
) -> None:
    one, two, three = (repository.make_image(text) for text in ("one", "two", "three"))
    assert repository.put("v1.0.0", one).status == 201
    assert repository.put("latest", two).status == 201
    assert repository.delete(f"manifests/{digest_of(one)}").status == 403
    assert repository.delete(f"manifests/{digest_of(two)}").status == 202
    fault = "X-Fault: fail before the point leaves\r\n"
    assert repository.put("v2.0.0", three, headers=fault).status == 500
    end_leases()
    said = cluster.folder / "reconcile.out"
    reconcile = nursery().start(("manage.py", "reconcile"), cluster.whole_env, said)
    assert reconcile.wait(30) == 0
    # Nobody but the gate knows that its own write has never left.
    told = r"1 tag reconciled, 1 not finished\.\nA write without an answer may still land .*\n"
    assert re.fullmatch(told, said.read_text())
    assert repository.tags == {"v1.0.0": digest_of(one), "v2.0.0": digest_of(three)}


def test_checks_settings_and_pages_work_for_many_at_once(
    cluster: Cluster, repository: Repository, person: Person
) -> None:
    rules = [{"name": "Release versions", "pattern": r"^v\d"}]
    body = {"protection": "some", "rules": rules, "suspend_locks": True}
    path = "workspaces/acme/container-settings"
    asks: list[Callable[[], Answer]] = []
    for number in range(6):
        tag = f"v3.{number}.0"
        asks += [
            partial(person.check_push, repository.name, tag, AA),
            partial(person.check_push, repository.name, tag, BB),
            lambda: person.call("GET", "workspaces/acme/locked-tags"),
            lambda: person.call("GET", "workspaces/acme/lock-log"),
            lambda: person.call("POST", f"{path}/test", {"tags": ["v1.0.0"]}),
        ]
    assert {answer.status for answer in _at_once(asks)} == {200}
    locks = LockedTag.objects.filter(repository=repository.name, state="locked")
    assert locks.count() == 6

    etag = person.call("GET", path).headers["etag"]
    saves = _at_once([lambda: person.call("PUT", path, body, f"If-Match: {etag}\r\n")] * 6)
    assert Counter(answer.status for answer in saves) == {200: 1, 412: 5}
    assert read_json(person.call("GET", path))["rules"] == rules

    opened = _at_once([partial(person.open, page) for page in PAGES * 3])
    assert {answer.status for answer in opened} == {200}


def test_somebody_signs_in(cluster: Cluster, alice: User, settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    alice.set_password("demo")
    alice.save()
    port = cluster.ports.edge
    form = send(port, "GET", "/accounts/login/")
    token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', form.body)
    assert token is not None
    cookie = form.headers["set-cookie"].partition(";")[0]
    typed = {
        "username": alice.username,
        "password": "demo",
        "csrfmiddlewaretoken": token[1].decode(),
    }
    done = send(
        port,
        "POST",
        "/accounts/login/",
        urlencode(typed).encode(),
        "application/x-www-form-urlencoded",
        f"Cookie: {cookie}\r\n",
    )
    assert done.status == 302, done.body
    assert SIGN_IN_COOKIE in done.headers["set-cookie"]


@contextmanager
def _serializable_by_default(pooler: PgBouncer) -> Iterator[None]:
    """Give the database another default, in every connection, and fail what is written in it."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    statements = [WATCH[0], *(WATCH[1].format(table) for table in WATCHED)]
    _run(SERIALIZABLE.format(name), *statements)
    pooler.renew()
    try:
        yield
    finally:
        dropped = [f"DROP TRIGGER watch ON {table}" for table in WATCHED]
        _run(AS_BEFORE.format(name), *dropped, "DROP FUNCTION watch_isolation")
        pooler.renew()


def _run(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_decisions_are_made_in_read_committed_whatever_the_servers_default_is(
    pooled: PgBouncer, repository: Repository, person: Person
) -> None:
    images = [repository.make_image(f"image {number}") for number in range(6)]
    with _serializable_by_default(pooled):
        assert repository.put("v1.0.0", images[0]).status == 201
        _race(repository, "v1.1.0", images)
        same = _at_once([lambda: repository.put("v1.0.0", images[0])] * AT_ONCE)
        assert {answer.status for answer in same} == {201}
        answer = person.check_push(repository.name, "v3.0.0", AA)
        assert read_json(answer)["allowed"] is True
