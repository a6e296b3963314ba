"""How the provider is asked: to which addresses, for how long, how much, and what it can say."""

import base64
import json
import socket
import threading
import time
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import quote_plus

import pytest

from tests.containers.registry.servers import Server
from tests.workspaces.single_sign_on.double import CLIENT_ID, ISSUER, ProviderDouble
from workspaces.single_sign_on import provider
from workspaces.single_sign_on.provider import (
    ProviderAwayError,
    ProviderClient,
    ProviderRefusedError,
    Tokens,
)
from workspaces.single_sign_on.settings import Provider
from workspaces.single_sign_on.tokens import BadTokenError


@pytest.fixture
def double() -> ProviderDouble:
    return ProviderDouble()


def test_the_provider_is_read_once_and_its_keys_when_one_is_new(double: ProviderDouble) -> None:
    tokens = [double.client.exchange_code("c", redirect_uri="r", verifier="v") for _ in range(2)]
    double.client.read_claims(tokens[0])
    double.client.read_claims(tokens[1])
    assert double.sent == ["openid-configuration", "token", "token", "keys"]
    # A token that names another key makes it look once, and not again at once.
    other = base64.urlsafe_b64encode(b'{"alg":"ES256","kid":"two"}').decode() + ".e30.AA"
    double.client._keys_again_at = 0
    for _ in range(3):
        with pytest.raises(BadTokenError):
            double.client.read_claims(Tokens("a", other))
    assert double.sent[4:] == ["keys"]
    # After a while what it says of itself, and its keys, are read again.
    double.client._metadata_until = double.client._keys_until = double.client._keys_again_at = 0
    double.client.read_claims(double.client.exchange_code("c", redirect_uri="r", verifier="v"))
    assert double.sent[5:] == ["openid-configuration", "token", "keys"]


def test_who_signs_in_while_the_keys_are_read_waits_for_them(
    double: ProviderDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = double.client.exchange_code("c", redirect_uri="r", verifier="v")
    answer, found = double.client._send, list[Any]()
    second = threading.Thread(target=lambda: found.append(double.client.read_claims(tokens)))

    def send(method: str, address: str, *others: Any) -> tuple[int, bytes]:
        if address.endswith("/keys"):
            second.start()
            # Without an end before this one's.
            second.join(0.2)
            assert second.is_alive()
        return answer(method, address, *others)

    monkeypatch.setattr(double.client, "_send", send)
    assert double.client.read_claims(tokens)["sub"] == "id|dana"
    second.join(10)
    assert [each["sub"] for each in found] == ["id|dana"]
    assert double.sent.count("keys") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("issuer", f"{ISSUER}/"),
        ("issuer", "https://login.example.org/{tenantid}"),
        ("token_endpoint", None),
        ("token_endpoint", "http://login.example.org/token"),
        ("jwks_uri", "file:///etc/passwd"),
        ("jwks_uri", "https://"),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("authorization_endpoint", "https://user@login.example.org/"),
        ("userinfo_endpoint", 7),
    ],
)
def test_a_provider_that_says_something_unusable_is_none(
    double: ProviderDouble, name: str, value: Any
) -> None:
    double.metadata[name] = value
    with pytest.raises(ProviderAwayError):
        double.client.read_metadata()


def test_taglock_proves_who_it_is_as_the_provider_wants_it(
    double: ProviderDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Any, bytes]] = []

    def send(_method: str, address: str, headers: Any, body: bytes | None) -> tuple[int, bytes]:
        if address.endswith("/token"):
            sent.append((headers, body or b""))
            return 200, b'{"access_token": "a", "token_type": "bearer"}'
        return 200, json.dumps(double.metadata).encode()

    client = ProviderClient(Provider(ISSUER, "tag:lock", "odd %:secret"))
    monkeypatch.setattr(client, "_send", send)
    client.refresh("r")
    pair = f"{quote_plus('tag:lock')}:{quote_plus('odd %:secret')}".encode()
    assert sent[0][0]["Authorization"] == f"Basic {base64.b64encode(pair).decode()}"
    assert b"secret" not in sent[0][1]
    double.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    client._metadata_until = 0
    client.refresh("r")
    assert "Authorization" not in sent[1][0]
    assert b"client_secret=odd+%25%3Asecret" in sent[1][1]
    # A public client has PKCE alone.
    client.provider = Provider(ISSUER, CLIENT_ID)
    client.refresh("r")
    assert b"client_secret" not in sent[2][1]


def test_what_the_provider_refuses_is_told_apart_from_what_says_nothing(
    double: ProviderDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [(400, b'{"error": "invalid_grant"}')]
    double.client.read_metadata()
    monkeypatch.setattr(double.client, "_send", lambda *_: answers[-1])
    with pytest.raises(ProviderRefusedError) as refused:
        double.client.refresh("r")
    assert refused.value.code == "invalid_grant"
    for answer in (
        (500, b'{"error": "invalid_grant"}'),
        (429, b'{"error": "invalid_grant"}'),
        (302, b'{"error": "invalid_grant"}'),
        (400, b"<html>invalid_grant"),
        (400, b'{"error": ["invalid_grant"]}'),
        (400, b"[" * 100_000),
        (200, b"[]"),
        (200, b'{"access_token": 7, "token_type": "Bearer"}'),
        (200, b'{"access_token": "a", "token_type": "mac"}'),
    ):
        answers.append(answer)
        with pytest.raises(ProviderAwayError):
            double.client.refresh("r")


MOVED = b"HTTP/1.1 302 Found\r\nLocation: /keys\r\nContent-Length: 0\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (2 * provider.MAX_ANSWER_BYTES)


def _send(reply: bytes, connection: socket.socket) -> None:
    connection.sendall(reply)


def test_a_call_follows_no_redirect_and_reads_no_endless_answer() -> None:
    for reply, said in ((MOVED, "302"), (ENDLESS, "more than 1 MiB")):
        with closing(Server(partial(_send, reply))) as server:
            with pytest.raises(ProviderAwayError, match=said):
                ProviderClient(Provider(server.url, CLIENT_ID)).read_metadata()
            assert len(server.requests) == 1


def test_a_call_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "CALL_SECONDS", 0.2)
    is_over = threading.Event()

    def say_nothing(_: socket.socket) -> None:
        is_over.wait(30)

    with closing(Server(say_nothing)) as server:
        began_at = time.monotonic()
        with pytest.raises(ProviderAwayError, match="cannot be reached"):
            ProviderClient(Provider(server.url, CLIENT_ID)).read_metadata()
        assert time.monotonic() - began_at < 20
        is_over.set()


def test_a_key_that_is_withdrawn_is_not_trusted_for_long(double: ProviderDouble) -> None:
    token = double.client.exchange_code("c", redirect_uri="r", verifier="v").id_token
    assert double.client.find_keys(token)
    double.client._keys_until = 0
    assert double.client.find_keys(token) == []


def test_the_check_of_a_deployment_says_what_is_wrong(provider_double: ProviderDouble) -> None:
    assert provider.check_provider(None) == []
    provider_double.client._metadata_until = 0
    provider_double.metadata["issuer"] = f"{ISSUER}/"
    (message,) = provider.check_provider(None)
    assert (message.id, message.is_serious()) == ("taglock.E003", True)
    assert "OIDC_ISSUER must be just that" in message.msg
