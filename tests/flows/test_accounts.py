"""Accounts at the registry: real clients log in, and what is no valid token opens nothing."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from containers.tokens.tokens import LEEWAY_SECONDS, TOKEN_SECONDS
from tests.flows.asking import (
    IMMUTABLE,
    RESERVED,
    UNDELETABLE,
    Api,
    Done,
    digest_of_layout,
    run,
    skopeo_delete,
    skopeo_login,
    skopeo_pull,
    skopeo_push,
)
from tests.flows.forgeries import FORGERIES, OF_NO_CALLER, OF_NOBODY_HERE, Forger
from tests.services.accounts import Account
from tests.services.registry_user import (
    Answer,
    Repository,
    digest_of,
    log_in,
    send,
    send_raw,
)
from tests.services.site import Site

pytestmark = pytest.mark.process

UNAUTHORIZED = ("unauthorized", "authentication required", "denied")


@pytest.fixture
def one(site: Site) -> Path:
    return site.data_dir / "images" / "one"


@pytest.fixture
def two(site: Site) -> Path:
    return site.data_dir / "images" / "two"


def _assert_not_allowed(done: Done) -> None:
    """Assert that a client failed for want of permission, and was told nothing of locks."""
    assert done.returncode != 0, done
    assert any(text in done.stderr.lower() for text in UNAUTHORIZED), done
    for learned in (IMMUTABLE, UNDELETABLE, RESERVED, "lock-log", "Versions"):
        assert learned not in done.stderr


# People.


def test_a_member_logs_in_pushes_and_pulls(
    site: Site, repository: Repository, api: Api, one: Path, two: Path, tmp_path: Path
) -> None:
    done = skopeo_login(site.port, "bob")
    assert (done.returncode, done.stdout.strip()) == (0, "Login Succeeded!"), done
    assert skopeo_push(one, site.port, f"{repository.name}:v1").returncode == 0
    assert skopeo_push(one, site.port, f"{repository.name}:v1").returncode == 0
    refused = skopeo_push(two, site.port, f"{repository.name}:v1")
    assert refused.returncode != 0
    assert IMMUTABLE in refused.stderr
    assert "(pushed by bob)" in refused.stderr
    done = skopeo_pull(site.port, f"{repository.name}:v1", tmp_path / "pulled")
    assert done.returncode == 0, done.stderr
    assert digest_of_layout(tmp_path / "pulled") == digest_of_layout(one)
    assert api.locks_of(repository.name) == {"v1": ("locked", digest_of_layout(one))}


def test_a_name_without_a_workspace_is_given_to_one_and_locked_there(
    site: Site, repository: Repository, api: Api, one: Path, two: Path, tmp_path: Path
) -> None:
    prefix = repository.name.partition("/")[2]
    image = f"{prefix}:v1"
    assert skopeo_login(site.port, "bob").returncode == 0
    _assert_not_allowed(skopeo_push(one, site.port, image))
    site.manage("map_repositories", prefix, "acme")
    assert skopeo_push(one, site.port, image).returncode == 0
    refused = skopeo_push(two, site.port, image)
    assert IMMUTABLE in refused.stderr
    assert skopeo_pull(site.port, image, tmp_path / "pulled").returncode == 0
    assert skopeo_push(one, site.port, f"{prefix}/sub/app:v1").returncode == 0
    assert (
        api.locks_of(prefix)
        == api.locks_of(f"{prefix}/sub/app")
        == {"v1": ("locked", digest_of_layout(one))}
    )
    assert skopeo_login(site.port, "mallory").returncode == 0
    _assert_not_allowed(skopeo_pull(site.port, image, tmp_path / "hers"))
    _assert_not_allowed(skopeo_push(two, site.port, image))
    _assert_not_allowed(skopeo_delete(site.port, image))
    # What is known stays where it is, and locked.
    site.manage("map_repositories", "--remove", prefix)
    assert skopeo_login(site.port, "bob").returncode == 0
    assert IMMUTABLE in skopeo_push(two, site.port, image).stderr


def test_a_wrong_password_logs_nobody_in(site: Site, api: Api) -> None:
    for username, password in (("bob", "demo2"), ("bob", ""), ("nobody", "demo")):
        done = skopeo_login(site.port, username, password)
        assert done.returncode != 0, done
    answer = log_in(site.port, "bob", "demo2")
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert b"token" not in answer.body.replace(b"access token", b"")
    assert skopeo_login(site.port, "bob").returncode == 0


def test_an_auditor_pulls_and_does_not_push(
    site: Site, repository: Repository, api: Api, one: Path, two: Path, tmp_path: Path
) -> None:
    assert skopeo_login(site.port, "bob").returncode == 0
    assert skopeo_push(one, site.port, f"{repository.name}:v1").returncode == 0
    assert skopeo_login(site.port, "olga").returncode == 0
    done = skopeo_pull(site.port, f"{repository.name}:v1", tmp_path / "pulled")
    assert done.returncode == 0, done.stderr
    for tag in ("v1", "v2", "latest"):
        _assert_not_allowed(skopeo_push(two, site.port, f"{repository.name}:{tag}"))
    _assert_not_allowed(skopeo_delete(site.port, f"{repository.name}:v1"))
    assert repository.tags == {"v1": digest_of_layout(one)}


def test_somebody_of_another_workspace_neither_pulls_nor_pushes(
    site: Site, repository: Repository, api: Api, one: Path, two: Path, tmp_path: Path
) -> None:
    assert skopeo_login(site.port, "bob").returncode == 0
    assert skopeo_push(one, site.port, f"{repository.name}:v1").returncode == 0
    assert skopeo_login(site.port, "mallory").returncode == 0
    _assert_not_allowed(skopeo_pull(site.port, f"{repository.name}:v1", tmp_path / "pulled"))
    for tag in ("v1", "v2", "latest"):
        _assert_not_allowed(skopeo_push(two, site.port, f"{repository.name}:{tag}"))
    _assert_not_allowed(skopeo_delete(site.port, f"{repository.name}:v1"))
    assert repository.tags == {"v1": digest_of_layout(one)}
    # In her own she does as she likes.
    own = f"globex/{repository.name.partition('/')[2]}"
    assert skopeo_push(two, site.port, f"{own}:v1").returncode == 0


def test_anybody_without_an_account_does_nothing(
    site: Site, repository: Repository, api: Api, one: Path, tmp_path: Path
) -> None:
    image = repository.make_image("one")
    assert repository.put("v1", image).status == 201
    name = f"{repository.name}:v1"
    _assert_not_allowed(skopeo_pull(site.port, name, tmp_path / "pulled"))
    _assert_not_allowed(skopeo_push(one, site.port, name))
    _assert_not_allowed(skopeo_delete(site.port, name))
    anonymous = Repository(site.port, repository.name)
    for answer in (anonymous.put("v1", image), anonymous.delete("manifests/v1")):
        _assert_challenged(answer, repository)
    # And with a token that the service gives to anyone.
    scope = f"repository:{repository.name}:pull,push,delete"
    given = json.loads(send(site.port, "GET", f"/auth/token?service=taglock&scope={scope}").body)
    login = f"Authorization: Bearer {given['token']}\r\n"
    for answer in (
        anonymous.put("v1", image, headers=login),
        anonymous.delete("manifests/v1", login),
        send(site.port, "GET", f"/v2/{repository.name}/manifests/v1", headers=login),
        send(site.port, "GET", f"/v2/{repository.name}/tags/list", headers=login),
        send(site.port, "POST", f"/v2/{repository.name}/blobs/uploads/", b"", headers=login),
    ):
        _assert_challenged(answer, repository)


def _assert_challenged(answer: Answer, repository: Repository) -> None:
    """Assert that the client is told where to get a token, and nothing else."""
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED"), answer
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith(f'Bearer realm="http://127.0.0.1:{repository.port}/auth/token"')
    assert f'scope="repository:{repository.name}:' in challenge
    text = answer.body.decode() + challenge
    for learned in ("sha256:", "Versions", "^v", "lock-log", "immutable", "reserved"):
        assert learned not in text


# Access tokens.


class Tokens:
    """Access tokens of acme."""

    def __init__(self, site: Site, test: str) -> None:
        self._site = site
        self._test = test
        self._count = 0

    def create(self, *scopes: str, limit: str = "") -> tuple[str, str]:
        """Return the name by which a client logs in, and the secret."""
        self._count += 1
        name = f"ci-{self._test}-{self._count}"
        named = [part for scope in scopes for part in ("--scope", scope)]
        named += ["--repository", limit] if limit else []
        secret = self._site.manage("create_access_token", "acme", name, *named)
        return f"acme+{name}", secret

    def snippet(self, username: str) -> str:
        """Return the command that a new token's page shows for docker."""
        return self._site.run_python(
            "from django.conf import settings\n"
            "from workspaces.models import AccessToken\n"
            "from workspaces.pages.snippets import list_snippets\n"
            f"token = AccessToken.objects.get(name={username.partition('+')[2]!r})\n"
            f"settings.PUBLIC_URL = {self._site.url!r}\n"
            "print(list_snippets(token)[0].text)"
        )

    def revoke(self, username: str) -> None:
        """Revoke it."""
        name = username.partition("+")[2]
        self._site.manage("revoke_access_token", name, "--workspace", "acme")

    def let_expire(self, username: str) -> None:
        """Let it be past its time."""
        self._site.run_python(
            "from django.db.models.functions import Now\n"
            "from datetime import timedelta\n"
            "from workspaces.models import AccessToken\n"
            f"AccessToken.objects.filter(name={username.partition('+')[2]!r})"
            ".update(created_at=Now() - timedelta(days=2), expires_at=Now() - timedelta(days=1))"
        )


@pytest.fixture
def tokens(site: Site, repository: Repository) -> Tokens:
    return Tokens(site, repository.name.partition("/")[2])


def test_an_access_token_pushes_under_its_name(
    site: Site, repository: Repository, api: Api, tokens: Tokens, one: Path, two: Path
) -> None:
    username, secret = tokens.create("push")
    assert skopeo_login(site.port, username, secret).returncode == 0
    assert skopeo_push(one, site.port, f"{repository.name}:v1").returncode == 0
    refused = skopeo_push(two, site.port, f"{repository.name}:v1")
    assert refused.returncode != 0
    assert IMMUTABLE in refused.stderr
    said = refused.stderr.replace('\\"', '"')
    assert f'(pushed by token "{username.partition("+")[2]}")' in said
    assert UNDELETABLE in skopeo_delete(site.port, f"{repository.name}:v1").stderr
    assert repository.tags == {"v1": digest_of_layout(one)}


def test_the_command_of_a_new_tokens_page_logs_in(
    site: Site, repository: Repository, tokens: Tokens, one: Path
) -> None:
    username, secret = tokens.create("push")
    command = tokens.snippet(username)
    assert f"docker login 127.0.0.1:{site.port} " in command
    command = command.replace("docker login", "skopeo login --tls-verify=false")
    done = run("bash", "-c", command, stdin=f"{secret}\n")
    assert (done.returncode, done.stdout.strip()) == (0, "Login Succeeded!"), done
    assert skopeo_push(one, site.port, f"{repository.name}:v1").returncode == 0


def test_a_limited_access_token_pushes_in_its_repositories_and_deletes_nothing(
    site: Site, repository: Repository, api: Api, tokens: Tokens, one: Path
) -> None:
    name = repository.name.partition("/")[2]
    login = tokens.create("push-only", limit=f"{name[:-1]}*")
    assert skopeo_login(site.port, *login).returncode == 0
    assert skopeo_push(one, site.port, f"{repository.name}:nightly").returncode == 0
    _assert_not_allowed(skopeo_push(one, site.port, "acme/elsewhere:v1"))
    _assert_not_allowed(skopeo_delete(site.port, f"{repository.name}:nightly"))


def test_an_access_token_that_pulls_does_not_push(
    site: Site, repository: Repository, api: Api, tokens: Tokens, one: Path, tmp_path: Path
) -> None:
    assert skopeo_login(site.port, "bob").returncode == 0
    assert skopeo_push(one, site.port, f"{repository.name}:v1").returncode == 0
    assert skopeo_login(site.port, *tokens.create("pull")).returncode == 0
    done = skopeo_pull(site.port, f"{repository.name}:v1", tmp_path / "pulled")
    assert done.returncode == 0, done.stderr
    _assert_not_allowed(skopeo_push(one, site.port, f"{repository.name}:v2"))
    _assert_not_allowed(skopeo_delete(site.port, f"{repository.name}:v1"))


def test_an_access_token_of_an_admin_deletes_a_locked_tag(
    site: Site, repository: Repository, api: Api, tokens: Tokens, one: Path, two: Path
) -> None:
    assert skopeo_login(site.port, "bob").returncode == 0
    assert skopeo_push(one, site.port, f"{repository.name}:v1").returncode == 0
    assert skopeo_login(site.port, *tokens.create("admin", "push")).returncode == 0
    done = skopeo_delete(site.port, f"{repository.name}:v1")
    assert done.returncode == 0, done.stderr
    assert api.locks_of(repository.name) == {"v1": ("reserved", digest_of_layout(one))}
    assert RESERVED in skopeo_push(two, site.port, f"{repository.name}:v1").stderr


@pytest.mark.parametrize("scope", ["registry", "audit"])
def test_an_access_token_for_something_else_neither_pulls_nor_pushes(
    site: Site,
    repository: Repository,
    api: Api,
    tokens: Tokens,
    one: Path,
    scope: str,
    tmp_path: Path,
) -> None:
    assert repository.put("v1", repository.make_image("one")).status == 201
    skopeo_login(site.port, *tokens.create(scope))
    _assert_not_allowed(skopeo_pull(site.port, f"{repository.name}:v1", tmp_path / "pulled"))
    _assert_not_allowed(skopeo_push(one, site.port, f"{repository.name}:v2"))


def test_an_access_token_logs_in_by_its_own_name_alone(
    site: Site, api: Api, tokens: Tokens
) -> None:
    username, secret = tokens.create("push")
    name = username.partition("+")[2]
    for wrong in (f"globex+{name}", "acme+other", f"acme+{name}x", "acme+", "+", name, "bob"):
        assert log_in(site.port, wrong, secret).status == 401, wrong
    assert log_in(site.port, username, f"{secret}x").status == 401
    assert log_in(site.port, username, "").status == 401
    assert log_in(site.port, username, secret).status == 200


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_an_access_token_that_is_over_is_worth_nothing_from_then_on(
    site: Site, repository: Repository, api: Api, tokens: Tokens, one: Path, end: str
) -> None:
    username, secret = tokens.create("push")
    assert skopeo_login(site.port, username, secret).returncode == 0
    assert skopeo_push(one, site.port, f"{repository.name}:v1").returncode == 0
    scope = f"repository:{repository.name}:pull,push,delete"
    given = json.loads(log_in(site.port, username, secret, scope).body)["token"]
    image = repository.make_image("two")
    if end == "revoked":
        tokens.revoke(username)
    else:
        tokens.let_expire(username)
    _assert_not_allowed(skopeo_push(one, site.port, f"{repository.name}:v2"))
    assert log_in(site.port, username, secret, scope).status == 401
    # What it was given before is valid for minutes, and opens nothing at the gate.
    login = f"Authorization: Bearer {given}\r\n"
    anonymous = Repository(site.port, repository.name)
    for answer in (
        anonymous.put("v1", image, headers=login),
        anonymous.put("v2", image, headers=login),
        anonymous.put("latest", image, headers=login),
        anonymous.delete("manifests/v1", login),
    ):
        assert (answer.status, answer.code) == (403, "DENIED"), answer
    assert repository.tags == {"v1": digest_of_layout(one)}


# What is no valid token.


@pytest.fixture
def locked(repository: Repository, api: Api) -> bytes:
    """An image that is locked under v1."""
    image = repository.make_image("one")
    assert repository.put("v1", image).status == 201
    return image


@contextmanager
def naming(case: str) -> Iterator[None]:
    """Say of an assertion that fails which case it was."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"Case: {case}")
        raise


def _assert_nothing_has_changed(repository: Repository, api: Api, locked: bytes) -> None:
    assert repository.tags == {"v1": digest_of(locked)}
    assert api.locks_of(repository.name) == {"v1": ("locked", digest_of(locked))}
    events = api.call("GET", f"lock-log?repository={repository.name}")["results"]
    assert [event["kind"] for event in events] == ["tag.locked"], events


def _write_at(place: Repository, locked: bytes, other: bytes, token: str) -> list[Answer]:
    """Push and delete with a token: what is locked, what is not, by tag and by digest."""
    login = f"Authorization: Bearer {token}\r\n"
    anonymous = Repository(place.port, place.name)
    return [
        anonymous.put("v1", other, headers=login),
        anonymous.put("v1", locked, headers=login),
        anonymous.put("v2", other, headers=login),
        anonymous.put("latest", other, headers=login),
        anonymous.put(digest_of(other), other, headers=login),
        anonymous.delete("manifests/v1", login),
        anonymous.delete(f"manifests/{digest_of(locked)}", login),
    ]


def test_a_forged_token_opens_nothing_and_tells_nothing(
    site: Site, repository: Repository, api: Api, account: Account, locked: bytes
) -> None:
    other = repository.make_image("two")
    for case in FORGERIES:
        with naming(case.name):
            token = case.make(Forger(account, repository.name))
            for answer in _write_at(repository, locked, other, token):
                _assert_challenged(answer, repository)
            _assert_the_registry_refuses(repository, site, locked, other, token)
    _assert_nothing_has_changed(repository, api, locked)


def _assert_the_registry_refuses(
    repository: Repository, site: Site, locked: bytes, other: bytes, token: str
) -> None:
    """Assert that it does so past the edge, and through it where the gate is not asked."""
    login = f"Authorization: Bearer {token}\r\n"
    config = json.loads(locked)["config"]["digest"]
    name = f"/v2/{repository.name}"
    answers = [
        send(site.registry_port, "PUT", f"{name}/manifests/v1", other, headers=login),
        send(site.registry_port, "DELETE", f"{name}/manifests/{digest_of(locked)}", headers=login),
        send(site.registry_port, "GET", "/v2/_catalog", headers=login),
        send(site.port, "GET", f"{name}/manifests/v1", headers=login),
        send(site.port, "GET", f"{name}/tags/list", headers=login),
        send(site.port, "GET", f"{name}/blobs/{config}", headers=login),
        send(site.port, "POST", f"{name}/blobs/uploads/", b"", headers=login),
    ]
    for answer in answers:
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED"), answer
        assert b"sha256:" not in answer.body


def test_a_token_of_no_caller_writes_nothing_and_tells_nothing(
    repository: Repository, api: Api, account: Account, locked: bytes
) -> None:
    other = repository.make_image("two")
    for case in OF_NO_CALLER:
        with naming(case.name):
            token = case.make(Forger(account, repository.name))
            for answer in _write_at(repository, locked, other, token):
                _assert_challenged(answer, repository)
    _assert_nothing_has_changed(repository, api, locked)


def test_a_token_of_nobody_here_writes_nothing_and_tells_nothing(
    repository: Repository, api: Api, account: Account, locked: bytes
) -> None:
    other = repository.make_image("two")
    for case in OF_NOBODY_HERE:
        with naming(case.name):
            token = case.make(Forger(account, repository.name))
            for answer in _write_at(repository, locked, other, token):
                assert (answer.status, answer.code) == (403, "DENIED"), answer
                assert answer.error["message"] == "requested access to the resource is denied"
                assert b"sha256:" not in answer.body
    _assert_nothing_has_changed(repository, api, locked)


def test_no_other_way_to_say_who_one_is_opens_the_gate(
    repository: Repository, api: Api, account: Account, locked: bytes, tokens: Tokens
) -> None:
    """Passwords, access tokens and tokens at the wrong place go to the token service alone."""
    other = repository.make_image("two")
    good = account.sign(repository.name)
    _, secret = tokens.create("admin", "push")
    basic = base64.b64encode(b"alice:demo").decode()
    anonymous = Repository(repository.port, repository.name)
    for headers in (
        f"Authorization: Basic {basic}\r\n",
        f"Authorization: Bearer {secret}\r\n",
        f"Authorization: Token {good}\r\n",
        f"Authorization: {good}\r\n",
        f"X-Authorization: Bearer {good}\r\n",
        f"Proxy-Authorization: Bearer {good}\r\n",
        f"Cookie: token={good}\r\n",
        "X-Forwarded-User: alice\r\nRemote-User: alice\r\nX-Remote-User: alice\r\n",
    ):
        for query in ("", f"?access_token={good}&token={good}"):
            _assert_challenged(anonymous.put("v1", other, query=query, headers=headers), repository)
            _assert_challenged(anonymous.put("v2", other, query=query, headers=headers), repository)
            _assert_challenged(anonymous.delete("manifests/v1", headers), repository)
    _assert_nothing_has_changed(repository, api, locked)


def test_a_token_is_good_for_what_it_was_asked_for_alone(
    repository: Repository, api: Api, account: Account, locked: bytes
) -> None:
    other = repository.make_image("two")
    anonymous = Repository(repository.port, repository.name)
    for actions in (("pull",), ("push",), ("delete",), ("pull", "delete")):
        header = account.header(repository.name, *actions)
        _assert_challenged(anonymous.put("v2", other, headers=header), repository)
    for actions in (("pull",), ("push",), ("pull", "push")):
        header = account.header(repository.name, *actions)
        _assert_challenged(anonymous.delete("manifests/v1", header), repository)
    _assert_nothing_has_changed(repository, api, locked)


# Someone's rights change while they have a token.


@pytest.fixture
def carl(site: Site, repository: Repository) -> Account:
    """An admin of acme besides Alice, of this test alone."""
    username = f"carl-{repository.name.partition('/')[2]}"
    site.manage("add_member", "acme", username, "--role", "admin")
    return site.account(username)


def test_the_old_token_of_an_admin_who_was_demoted_deletes_nothing(
    site: Site, repository: Repository, api: Api, locked: bytes, carl: Account
) -> None:
    old = carl.header(repository.name)
    site.manage("add_member", "acme", carl.caller.name, "--role", "member")
    anonymous = Repository(repository.port, repository.name)
    for reference in ("v1", digest_of(locked)):
        refused = anonymous.delete(f"manifests/{reference}", old)
        assert (refused.status, refused.code) == (403, "DENIED")
        assert UNDELETABLE in refused.error["message"]
    site.manage("add_member", "acme", carl.caller.name, "--role", "auditor")
    refused = anonymous.delete("manifests/v1", old)
    assert refused.error["message"] == "requested access to the resource is denied"
    assert repository.tags == {"v1": digest_of(locked)}
    assert api.locks_of(repository.name) == {"v1": ("locked", digest_of(locked))}


@pytest.mark.parametrize("how", ["removed", "switched off"])
def test_the_old_token_of_who_is_gone_pushes_nothing(
    site: Site, repository: Repository, api: Api, locked: bytes, carl: Account, how: str
) -> None:
    other = repository.make_image("two")
    old = carl.sign(repository.name)
    name = carl.caller.name
    site.run_python(
        "from workspaces.models import Membership, User\n"
        "from workspaces.actions.members import remove_member\n"
        "from workspaces.access import SYSTEM\n"
        + (
            f"membership = Membership.objects.get(user__username={name!r})\n"
            "remove_member(membership.workspace, membership.pk, actor=SYSTEM)"
            if how == "removed"
            else f"User.objects.filter(username={name!r}).update(is_active=False)"
        )
    )
    for answer in _write_at(repository, locked, other, old):
        assert (answer.status, answer.code) == (403, "DENIED"), answer
        assert answer.error["message"] == "requested access to the resource is denied"
        assert b"sha256:" not in answer.body
    _assert_nothing_has_changed(repository, api, locked)


# Time.


def _about_to_expire(account: Account, repository: str, seconds_left: int) -> str:
    """Return a token that everyone refuses in so many seconds, with all their leeway."""
    ago = TOKEN_SECONDS + LEEWAY_SECONDS - seconds_left
    return account.sign(repository, now=int(time.time()) - ago, seconds=TOKEN_SECONDS)


def _send_slowly(port: int, target: str, headers: str, content: bytes, seconds: float) -> Answer:
    """Send a chunk of an upload, dribbling."""
    pieces = 20
    size = len(content) // pieces + 1

    def dribble() -> Iterator[bytes]:
        yield (
            f"PATCH {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
            f"{headers}Content-Type: application/octet-stream\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        ).encode()
        for start in range(0, len(content), size):
            time.sleep(seconds / pieces)
            yield content[start : start + size]

    return send_raw(port, dribble())


def test_a_token_that_expires_during_an_upload_is_renewed_and_nothing_is_lost(
    site: Site, repository: Repository, api: Api, account: Account
) -> None:
    content = bytes(range(256)) * 4096
    login = f"Authorization: Bearer {_about_to_expire(account, repository.name, 4)}\r\n"
    uploads = f"/v2/{repository.name}/blobs/uploads/"
    started = send(site.port, "POST", uploads, b"", headers=login)
    assert started.status == 202, started
    sent = _send_slowly(site.port, started.headers["location"], login, content, seconds=6)
    assert sent.status == 202, sent
    location = sent.headers["location"]
    last = f"{location}{'&' if '?' in location else '?'}digest={digest_of(content)}"
    refused = send(site.port, "PUT", last, b"", headers=login)
    _assert_challenged(refused, repository)
    assert send(site.port, "PUT", last, b"", headers=repository.login).status == 201

    image = repository.make_image("one")
    anonymous = Repository(site.port, repository.name)
    _assert_challenged(anonymous.put("v1", image, headers=login), repository)
    assert api.locks_of(repository.name) == {}
    assert repository.put("v1", image).status == 201


# Other clients.


def _post_form(port: int, **fields: str) -> Answer:
    """Ask for a token as containerd and buildkit do."""
    body = urlencode({"service": "taglock", "client_id": "containerd-client", **fields}).encode()
    return send(port, "POST", "/auth/token", body, "application/x-www-form-urlencoded")


def test_containerds_way_of_logging_in_gives_a_token_that_pushes(
    site: Site, repository: Repository, api: Api
) -> None:
    scope = f"repository:{repository.name}:pull,push repository:{repository.name}-base:pull"
    asked = {"grant_type": "password", "username": "bob", "scope": scope}
    wrong = _post_form(site.port, **asked, password="wrong")
    assert (wrong.status, wrong.code) == (401, "UNAUTHORIZED")
    given = _post_form(site.port, **asked, password="demo", access_type="offline")
    assert given.status == 200, given
    document = json.loads(given.body)
    assert document["access_token"] == document["token"]
    assert document["expires_in"] >= 60
    image = repository.make_image("one")
    login = f"Authorization: Bearer {document['access_token']}\r\n"
    anonymous = Repository(site.port, repository.name)
    assert anonymous.put("v1", image, headers=login).status == 201
    refused = anonymous.put("v1", repository.make_image("two"), headers=login)
    assert refused.status == 403
    assert "(pushed by bob)" in refused.error["message"]
    # Deleting was not asked for.
    _assert_challenged(anonymous.delete("manifests/v1", login), repository)


def test_a_way_of_logging_in_that_is_not_known_sends_containerd_to_the_other_one(
    site: Site, api: Api
) -> None:
    for fields in (
        {"grant_type": "refresh_token", "refresh_token": "x"},
        {"grant_type": "password"},
        {},
    ):
        answer = _post_form(site.port, **fields)
        assert answer.status in (400, 401, 404, 405), answer


def _succeed(done: Done) -> None:
    assert done.returncode == 0, done


def _fail_with(text: str, done: Done) -> None:
    assert done.returncode != 0, done
    assert text in done.stdout + done.stderr, done
