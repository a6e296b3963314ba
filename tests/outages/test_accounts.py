"""A part is down, and someone logs in, or has logged in before."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.outages.asking import assert_try_again, read_json
from tests.outages.conftest import mend, reconnect
from tests.services.accounts import Account
from tests.services.cluster import Cluster
from tests.services.parts import wait_until
from tests.services.postgresql import Server
from tests.services.redis import RedisServer
from tests.services.registry_user import Answer, Repository, digest_of, log_in, send
from workspaces.models import Membership, User

pytestmark = pytest.mark.cluster

PASSWORD = "demo"


@pytest.fixture
def ask(cluster: Cluster, repository: Repository, bob: User, settings: Any) -> "Ask":
    """Bob, who has a password that the cluster's site can verify."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    bob.set_password(PASSWORD)
    bob.save()
    return Ask(cluster, repository, bob.username)


class Ask:
    """Asks the token service."""

    def __init__(self, cluster: Cluster, repository: Repository, username: str) -> None:
        self._port = cluster.ports.edge
        self._scope = f"repository:{repository.name}:pull,push"
        self._username = username
        self._repository = repository

    def log_in(self, password: str = PASSWORD) -> Answer:
        """Ask for a token that is good for pushing."""
        return log_in(self._port, self._username, password, self._scope)

    def anonymously(self) -> Answer:
        """Ask for a token, and say nothing of who is asking."""
        return send(self._port, "GET", f"/auth/token?service=taglock&scope={self._scope}")

    def push(self, tag: str, image: bytes) -> int:
        """Log in and push with the token; return the answer's status."""
        answer = self.log_in()
        assert answer.status == 200, answer
        anonymous = Repository(self._port, self._repository.name)
        login = f"Authorization: Bearer {read_json(answer)['token']}\r\n"
        return anonymous.put(tag, image, headers=login).status


def test_without_the_site_who_has_a_token_goes_on_and_nobody_gets_a_new_one(
    cluster: Cluster, repository: Repository, ask: Ask
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    cluster.site.hang()
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(ask.log_in), threads.submit(ask.anonymously)]
        assert repository.put("v1.0.0", one).status == 201
        assert repository.put("v1.0.0", two).status == 403
        assert repository.tags == {"v1.0.0": digest_of(one)}
        for each in asked:
            assert_try_again(each.result())

    mend(cluster)
    assert ask.push("v1.0.0", two) == 403
    assert ask.push("v1.1.0", two) == 201


def test_without_the_site_what_is_taken_away_is_taken_away_at_once(
    cluster: Cluster, repository: Repository, pusher: Account
) -> None:
    one = repository.make_image("one")
    cluster.site.stop()
    assert repository.put("v1.0.0", one).status == 201
    Membership.objects.filter(user_id=pusher.caller.id).delete()
    refused = repository.put("v1.1.0", one)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert repository.tags == {"v1.0.0": digest_of(one)}


def test_without_registry_and_gates_somebody_logs_in(cluster: Cluster, ask: Ask) -> None:
    for part in (cluster.registry, *cluster.gates):
        part.hang()
    assert ask.log_in().status == 200
    assert ask.log_in("wrong").status == 401


def test_without_redis_somebody_logs_in(ask: Ask, redis_server: RedisServer) -> None:
    redis_server.kill()
    assert ask.log_in().status == 200
    redis_server.start()
    redis_server.hang()
    assert ask.log_in().status == 200


def _assert_nobody_gets_in(ask: Ask) -> None:
    """Neither who is right nor who is wrong is told anything."""
    with ThreadPoolExecutor(2) as threads:
        for each in [threads.submit(ask.log_in), threads.submit(ask.log_in, "wrong")]:
            assert_try_again(each.result())


@pytest.mark.parametrize("break_database", [Server.stop, Server.hang], ids=["stopped", "hung"])
def test_without_the_database_the_token_service_says_so(
    database: Server,
    ask: Ask,
    repository: Repository,
    break_database: Callable[[Server], None],
) -> None:
    one = repository.make_image("one")
    break_database(database)
    _assert_nobody_gets_in(ask)
    # Nor one who says nothing of themselves: what is public stands in the database.
    assert_try_again(ask.anonymously())
    # With a token that was good a moment ago, and that nobody can look up now.
    assert_try_again(repository.put("v1.0.0", one))

    database.resume()
    if not database.is_running:
        database.start()
    reconnect()
    wait_until(lambda: ask.log_in().status == 200)
    # A gate that was not asked meanwhile has connections that are broken.
    wait_until(lambda: ask.push("v1.0.0", one) == 201)


@pytest.mark.both_databases
def test_while_the_file_is_locked_for_long_the_token_service_says_so(
    file: Path, ask: Ask, repository: Repository
) -> None:
    one = repository.make_image("one")
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        _assert_nobody_gets_in(ask)
        writer.execute("ROLLBACK")
    assert ask.push("v1.0.0", one) == 201
