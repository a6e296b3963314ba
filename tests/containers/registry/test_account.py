"""Taglock's own account at a registry with accounts: Basic, or tokens of its token service."""

import base64
import json
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from containers.names import RepositoryName, TagName
from containers.registry import account as account_module
from containers.registry import passwords
from containers.registry.account import RegistryAccount, RegistryLogin, parse_realm
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from containers.registry.passwords import PasswordError, run_password_command
from containers.tokens.grants import repository_access
from tests.containers.registry.servers import Server
from tests.services.certificates import make_certificate
from workspaces.transport import Deadline

API, WEB, V1 = RepositoryName("acme/api"), RepositoryName("acme/web"), TagName("v1")
LOGIN = RegistryLogin("robot", "secret")


class Registry:
    """A registry and its token service in one: it answers by what it is told to."""

    def __init__(self, serve: Callable[..., Server]) -> None:
        self.challenge = ""
        self.is_open = False
        self.passwords = {"secret"}
        self.tokens: list[str] = []
        self.given: dict[str, object] = {"expires_in": 300}
        self.seen: list[tuple[str, str, str]] = []
        self.service_status = 200
        self.knows_delete = True
        self.server = serve(self._reply, is_kept_open=True)
        self.speak_bearer()

    def speak_bearer(self, scope: str = "") -> None:
        more = f',scope="{scope}"' if scope else ""
        self.challenge = f'Bearer realm="{self.server.url}/token",service="reg"{more}'

    def client(self, login: RegistryLogin = LOGIN, path: str = "") -> RegistryClient:
        url = self.server.url + path
        account = RegistryAccount(url, login)
        return RegistryClient(url, authorize=account.authorize, renew=account.renew)

    @property
    def asked_scopes(self) -> list[str]:
        targets = [urlsplit(target) for _, target, _ in self.seen]
        asked = [parse_qs(each.query) for each in targets if each.path == "/token"]
        return [" ".join(each.get("scope", ["none"])) for each in asked]

    def _reply(self, connection: socket.socket) -> None:
        head = self.server.requests[-1].partition(b"\r\n\r\n")[0].decode()
        method, target, _ = head.splitlines()[0].split(" ")
        lines = dict(line.split(": ", 1) for line in head.splitlines()[1:])
        authorization = lines.get("Authorization", "")
        self.seen.append((method, target, authorization))
        status, headers, body = self._answer(target, authorization)
        lengths = {"Content-Length": str(len(body))}
        told = "".join(f"{name}: {value}\r\n" for name, value in {**lengths, **headers}.items())
        connection.sendall(f"HTTP/1.1 {status} X\r\n{told}\r\n".encode())
        if method != "HEAD":
            connection.sendall(body)

    def _answer(self, target: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        if target.startswith("/token"):
            if not self._is_login(authorization):
                return 401, {}, b""
            if "delete" in target and not self.knows_delete:
                return 400, {}, b'{"errors":[{"code":"BAD_SCOPE","message":"no such action"}]}'
            self.tokens.append(f"token-{len(self.tokens)}")
            if "scope" not in target and self.service_status == 200:
                return 200, {}, b'{"token":"for-nothing"}'
            body = json.dumps({"token": self.tokens[-1], **self.given}).encode()
            return self.service_status, {}, body
        is_let_in = (
            authorization.removeprefix("Bearer ") in self.tokens[-2:]
            if self.challenge.startswith("Bearer")
            else self._is_login(authorization)
        )
        if is_let_in or self.is_open:
            return 200, {}, b"{}"
        return 401, {"WWW-Authenticate": self.challenge}, b""

    def _is_login(self, authorization: str) -> bool:
        text = base64.b64decode(authorization.removeprefix("Basic ")).decode(errors="replace")
        return text.startswith("robot:") and text.removeprefix("robot:") in self.passwords


@pytest.fixture
def registry(serve: Callable[..., Server]) -> Registry:
    return Registry(serve)


def _put(client: RegistryClient, repository: RepositoryName = API) -> RegistryAnswer:
    return client.put_manifest(repository, V1, b"{}", "application/json")


def basic() -> str:
    return f"Basic {base64.b64encode(b'robot:secret').decode()}"


# Bearer.


def test_a_password_is_exchanged_for_a_token_of_each_scope_which_is_kept(
    registry: Registry,
) -> None:
    client = registry.client()
    for repository in (API, API, WEB):
        assert _put(client, repository).status == 200
    assert client.ask_manifest(API, V1).status == 200
    assert registry.asked_scopes == [
        "repository:acme/api:pull,push",
        "repository:acme/web:pull,push",
        "repository:acme/api:pull",
    ]
    first = urlsplit(registry.seen[1][1])
    assert parse_qs(first.query) | {"scope": []} == {
        "service": ["reg"],
        "account": ["robot"],
        "scope": [],
    }
    # The password goes to the token service alone, and a write is sent once.
    for _, target, authorization in registry.seen[1:]:
        assert (authorization == basic()) == target.startswith("/token")
    assert registry.seen[0] == ("GET", "/v2/", "")
    assert [method for method, _, _ in registry.seen].count("PUT") == 3


def test_a_token_is_not_used_until_it_expires(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, now = registry.client(), time.monotonic()
    assert _put(client).status == 200
    monkeypatch.setattr(time, "monotonic", lambda: now + 260)
    assert _put(client).status == 200
    assert len(registry.asked_scopes) == 1
    monkeypatch.setattr(time, "monotonic", lambda: now + 275)
    assert _put(client).status == 200
    assert len(registry.asked_scopes) == 2


@pytest.mark.parametrize("seconds", [None, 0, -1, "300", 1e300, True])
def test_a_token_whose_end_is_not_told_is_used_for_half_a_minute(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, seconds: object
) -> None:
    registry.given = {} if seconds is None else {"expires_in": seconds}
    client, now = registry.client(), time.monotonic()
    assert _put(client).status == 200
    monkeypatch.setattr(time, "monotonic", lambda: now + 32)
    assert _put(client).status == 200
    assert len(registry.asked_scopes) == 2


def test_a_token_that_the_registry_refuses_is_renewed_once_for_what_it_names(
    registry: Registry,
) -> None:
    client = registry.client()
    assert _put(client).status == 200
    registry.tokens.clear()
    registry.speak_bearer("repository:acme/api:*")
    assert _put(client).status == 200
    assert registry.asked_scopes[1:] == ["repository:acme/api:*"]
    # It is asked for what the registry named from now on.
    registry.tokens.clear()
    registry.given = {"token": "not-one-of-ours"}
    assert _put(client).status == 401
    assert registry.asked_scopes[2:] == ["repository:acme/api:*"]


def test_a_scope_that_the_token_service_cannot_read_is_taken_from_the_registry(
    registry: Registry,
) -> None:
    """Quay's knows no action `delete`: a delete is a push there."""
    registry.knows_delete = False
    client = registry.client()
    registry.speak_bearer("repository:acme/api:push")
    assert client.delete_manifest(API, V1).status == 200
    assert client.delete_manifest(API, V1).status == 200
    assert registry.asked_scopes == [
        "repository:acme/api:delete",
        "none",
        "repository:acme/api:push",
    ]


def test_several_scopes_are_asked_for_one_by_one(registry: Registry) -> None:
    account = RegistryAccount(registry.server.url, LOGIN)
    access = [repository_access(each.name, "pull") for each in (API, WEB)]
    with Deadline(2):
        assert account.authorize(*access) == account.authorize(*access)
    assert registry.asked_scopes == ["repository:acme/api:pull repository:acme/web:pull"]
    assert registry.seen[-1][1].count("scope=") == 2


def test_least_recently_used_tokens_are_forgotten(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_module, "MAX_TOKENS_KEPT", 1)
    client = registry.client()
    for repository in (API, WEB, API):
        assert _put(client, repository).status == 200
    assert len(registry.asked_scopes) == 3


@pytest.mark.parametrize(
    ("status", "given"),
    [
        (200, {"token": 7}),
        (200, {"token": ""}),
        (200, {"token": "a b"}),
        (200, {"token": "a\r\nX-Own: 1"}),
        (200, {"token": "é"}),
        (200, {"token": "a" * (account_module.MAX_TOKEN_LENGTH + 1)}),
        (302, {}),
        (500, {}),
        (400, {"errors": [{"code": "BAD_SCOPE", "message": "no such action"}]}),
    ],
)
def test_without_a_token_nothing_is_sent(
    registry: Registry, status: int, given: dict[str, object]
) -> None:
    registry.service_status, registry.given = status, given
    with pytest.raises(RegistryUnavailableError) as caught:
        _put(registry.client())
    assert not caught.value.was_sent
    assert "secret" not in str(caught.value)
    assert "PUT" not in [method for method, _, _ in registry.seen]
    if status == 400:
        assert "its token service answered 400 (BAD_SCOPE: no such action)" in str(caught.value)


def test_a_wrong_password_is_told_without_it(registry: Registry) -> None:
    registry.passwords = {"another"}
    with pytest.raises(RegistryUnavailableError, match="does not accept robot") as caught:
        _put(registry.client())
    assert "secret" not in str(caught.value)
    assert not caught.value.was_sent


def test_token_and_call_have_one_deadline_together(serve: Callable[..., Server]) -> None:
    server = serve(lambda connection: time.sleep(3), is_kept_open=True)
    account = RegistryAccount(server.url, LOGIN)
    client = RegistryClient(server.url, 0.3, authorize=account.authorize, renew=account.renew)
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError) as caught:
        _put(client)
    assert time.monotonic() - started < 2
    assert not caught.value.was_sent


REGISTRY, SECURE = "http://registry.example:5000", "https://registry.example"


@pytest.mark.parametrize(
    ("registry_url", "realm"),
    [
        (REGISTRY, "http://registry.example/token"),
        (REGISTRY, "http://REGISTRY.example:5001/token?a=b"),
        (REGISTRY, "https://auth.example/token"),
        (SECURE, "https://auth.example:8443/token"),
        (SECURE, "https://auth.example"),
    ],
)
def test_a_token_service_may_be_elsewhere_over_tls(registry_url: str, realm: str) -> None:
    assert parse_realm(realm, urlsplit(registry_url)).geturl().lower() == realm.lower()


@pytest.mark.parametrize(
    ("registry_url", "realm", "why"),
    [
        (REGISTRY, "http://auth.example/token", "in the clear"),
        (REGISTRY, "http://registry.example.evil.example/token", "in the clear"),
        (SECURE, "http://registry.example/token", "in the clear"),
        (SECURE, "ftp://registry.example/token", "in the clear"),
        (SECURE, "file:///etc/passwd", "cannot be read"),
        (SECURE, "https://", "cannot be read"),
        (SECURE, "", "cannot be read"),
        (SECURE, "/token", "cannot be read"),
        (SECURE, "https://user:pw@auth.example/token", "cannot be read"),
        (SECURE, "https://auth.example:0/token", "cannot be read"),
        (SECURE, "https://auth.example:x/token", "cannot be read"),
        (SECURE, "https://auth.example/a b", "cannot be read"),
        (SECURE, "https://auth.example/\r\nX-Own: 1", "cannot be read"),
        (SECURE, "https://äuth.example/", "cannot be read"),
        (SECURE, "https://[::1/", "cannot be read"),
        (SECURE, f"https://auth.example/{'a' * 2048}", "cannot be read"),
    ],
)
def test_a_realm_that_would_give_the_password_away_is_refused(
    registry_url: str, realm: str, why: str
) -> None:
    with pytest.raises(RegistryUnavailableError, match=why) as caught:
        parse_realm(realm, urlsplit(registry_url))
    assert not caught.value.was_sent


# Basic.


def test_a_registry_that_asks_for_basic_gets_it_with_the_first_call(registry: Registry) -> None:
    registry.challenge = 'Basic realm="r"'
    client = registry.client()
    assert [_put(client).status for _ in range(2)] == [200, 200]
    assert [(method, said) for method, _, said in registry.seen] == [
        ("GET", ""),
        ("PUT", basic()),
        ("PUT", basic()),
    ]


def test_a_registry_that_lets_everyone_in_is_told_who_is_calling(registry: Registry) -> None:
    registry.is_open = True
    assert _put(registry.client()).status == 200
    assert registry.seen[-1][2] == basic()


def test_the_challenge_is_asked_for_below_the_registrys_path(registry: Registry) -> None:
    registry.challenge = 'Basic realm="r"'
    assert _put(registry.client(path="/artifactory/")).status == 200
    assert [target for _, target, _ in registry.seen] == [
        "/artifactory/v2/",
        "/artifactory/v2/acme/api/manifests/v1",
    ]


def test_a_challenge_that_changes_is_answered(registry: Registry) -> None:
    client = registry.client()
    assert _put(client).status == 200
    registry.challenge = 'Basic realm="r"'
    assert _put(client).status == 200
    assert registry.seen[-1][2] == basic()


def test_a_refused_password_is_not_sent_twice(registry: Registry) -> None:
    registry.challenge, registry.passwords = 'Basic realm="r"', {"another"}
    assert _put(registry.client()).status == 401
    assert [method for method, _, _ in registry.seen].count("PUT") == 1


def test_a_registry_that_wants_something_else_is_told_of(registry: Registry) -> None:
    registry.challenge = "Negotiate"
    with pytest.raises(RegistryUnavailableError, match="neither for Basic nor for Bearer"):
        _put(registry.client())


# Where the password comes from.


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused password is read again at once."""
    monkeypatch.setattr(passwords, "_REREAD_SECONDS", 0.0)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_refused_password_is_read_from_its_file_again(
    registry: Registry, tmp_path: Path, at_once: None, scheme: str
) -> None:
    if scheme == "Basic":
        registry.challenge = 'Basic realm="r"'
    file = tmp_path / "password"
    file.write_text("secret\n")
    client = registry.client(RegistryLogin("robot", password_file=file))
    assert _put(client).status == 200
    file.write_text("new one")
    assert _put(client).status == 200
    registry.passwords = {"new one"}
    assert _put(client, WEB).status == 200


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    """A command that prints secret, and counts how often it was run in the file `runs`."""
    program = tmp_path / "print password"
    program.write_text(f"#!/bin/sh\necho >>'{tmp_path}/runs'\necho \"$1\"\n")
    program.chmod(0o700)
    return (str(program), "secret")


def test_a_command_is_run_once_for_many_calls(
    registry: Registry, command: tuple[str, ...], tmp_path: Path
) -> None:
    client = registry.client(RegistryLogin("robot", password_command=command))
    for repository in (API, WEB):
        assert _put(client, repository).status == 200
    assert (tmp_path / "runs").read_text() == "\n"


def test_a_command_is_not_run_again_at_once_for_a_password_that_is_refused(
    registry: Registry, command: tuple[str, ...], tmp_path: Path
) -> None:
    registry.passwords = {"another"}
    client = registry.client(RegistryLogin("robot", password_command=command))
    for _ in range(3):
        with pytest.raises(RegistryUnavailableError):
            _put(client)
    assert (tmp_path / "runs").read_text() == "\n"


def test_a_command_is_run_without_a_shell(registry: Registry, command: tuple[str, ...]) -> None:
    registry.passwords = {"$(id) `id`; id"}
    words = (command[0], "$(id) `id`; id")
    assert _put(registry.client(RegistryLogin("robot", password_command=words))).status == 200


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["/nowhere/to/be/found"], "cannot be run"),
        ([sys.executable, "-c", "print('secret'); exit(3)"], "ended with status 3"),
        ([sys.executable, "-c", ""], "not one line"),
        ([sys.executable, "-c", "print('secret'); print('more')"], "not one line"),
        ([sys.executable, "-c", "print('x' * 16385)"], "not one line"),
        ([sys.executable, "-c", "import sys; sys.stdout.buffer.write(b'\\xff')"], "cannot be"),
        (["sleep", "20"], "does not end"),
    ],
)
def test_a_command_that_gives_no_password_is_told_of_without_it(words: list[str], why: str) -> None:
    started = time.monotonic()
    with Deadline(0.6 if words[0] == "sleep" else 10), pytest.raises(PasswordError) as caught:
        run_password_command(words)
    assert why in str(caught.value)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - started < 5


def test_a_login_does_not_show_its_secrets() -> None:
    shown = repr(RegistryLogin("robot", "secret", password_command=("print", "secret")))
    assert "secret" not in shown
    assert "robot" in shown


# TLS.


def test_an_authority_of_ones_own_vouches_for_the_registry_alone(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", tls=context)
    with pytest.raises(RegistryUnavailableError, match="certificate"):
        _put(RegistryClient(server.url))
    account = RegistryAccount(server.url, LOGIN, certificate)
    client = RegistryClient(server.url, authorize=account.authorize, ca_file=certificate)
    assert _put(client).status == 200
    assert f"Authorization: {basic()}".encode() in server.requests[-1]
