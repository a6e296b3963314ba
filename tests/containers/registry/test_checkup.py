"""The connection to a registry, checked step by step."""

import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from containers.names import InvalidReferenceError, parse_repository
from containers.registry.account import RegistryAccount, RegistryLogin
from containers.registry.checkup import Checkup, Outcome
from containers.registry.client import RegistryClient
from tests.containers.registry.conftest import BareRegistry
from tests.containers.registry.servers import Server
from tests.services.certificates import make_certificates

STEPS = [
    "Reach",
    "TLS",
    "Challenge",
    "Account",
    "Catalog",
    "Manifest",
    "Deletes",
    "Deletes by tag",
    "Referrers",
    "Edge",
]
REALM = "http://127.0.0.1:8000/auth/token"
LISTED: dict[str, Any] = {"repositories": ["Bad", "acme/empty", "acme/api"]}


def check(url: str, client: RegistryClient | None = None, **options: Any) -> dict[str, str]:
    """Return what each step found, with how it ended before it."""
    options = {"public_url": "http://127.0.0.1:1", **options}
    findings = Checkup(url, client or RegistryClient(url), **options).run()
    assert [each.step for each in findings] == STEPS[: len(findings)]
    for each in findings:
        assert bool(each.advice) == (each.outcome is not Outcome.OK)
    return {each.step: f"{each.outcome.value}: {each.what}" for each in findings}


def last_of(found: dict[str, str]) -> tuple[str, str]:
    return list(found.items())[-1]


class OpenRegistry:
    """A registry that lets everyone in, and answers a path as it is told to."""

    def __init__(self, serve: Callable[..., Server], **options: Any) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "GET /v2/": (200, {}),
            "GET /v2/_catalog": (200, LISTED),
            "GET /v2/acme/empty/tags/list": (200, {"tags": None}),
            "GET /v2/acme/api/tags/list": (200, {"tags": ["v1"]}),
            "DELETE": (405, {"errors": [{"code": "UNSUPPORTED"}]}),
            "HEAD": (404, {"errors": []}),
            "GET": (404, {"errors": []}),
        }
        self.headers = ""
        self.server = serve(self._reply, is_kept_open=True, **options)

    def _reply(self, connection: socket.socket) -> None:
        method, target, _ = self.server.requests[-1].decode().split("\r\n")[0].split(" ")
        exact = f"{method} {target.partition('?')[0]}"
        status, body = self.answers.get(exact) or self.answers[method]
        sent = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{self.headers}"
        connection.sendall(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode())
        if method != "HEAD":
            connection.sendall(sent)


@pytest.mark.process
def test_a_real_registry_that_trusts_our_tokens_has_all_that_is_asked_of_it(
    bare_registry: BareRegistry,
) -> None:
    image = bare_registry.repository("acme/checked")
    assert image.put("v1", image.make_image("one")).status == 201
    realm = "http://127.0.0.1:8000/auth/token"
    if bare_registry.name != "docker-registry":
        realm = last_of(check(bare_registry.url, bare_registry.client, realm="x", service="y"))[1]
        realm = realm.split('"')[1]
    found = check(bare_registry.url, bare_registry.client, realm=realm, service="taglock")
    assert list(found) == STEPS
    by_tag, referrers = found.pop("Deletes by tag"), found.pop("Referrers")
    assert found.pop("Edge").startswith("warning: http://127.0.0.1:1 cannot be reached from here")
    assert {each.partition(":")[0] for each in found.values()} == {"ok"}, found
    assert " is sha256:" in found["Manifest"]
    if bare_registry.name == "docker-registry":
        assert by_tag.startswith("warning: They are not supported")
    else:
        assert by_tag == "ok: They are allowed."
    assert referrers.startswith("warning")


@pytest.mark.process
def test_a_registry_that_does_not_trust_our_tokens_is_named(bare_registry: BareRegistry) -> None:
    url, client = bare_registry.url, RegistryClient(bare_registry.url)
    step, found = last_of(check(url, client, realm="https://x.example.org", service="taglock"))
    assert (step, found.startswith("failed: It asks for Bearer of ")) == ("Challenge", True)
    step, found = last_of(check(url, client))
    assert (step, "is not accepted: the registry answered 401" in found) == ("Account", True)


def test_an_open_registry_is_a_failure_where_our_tokens_are_meant(
    serve: Callable[..., Server],
) -> None:
    registry = OpenRegistry(serve)
    url = registry.server.url
    failed = ("Challenge", "failed: It lets everyone in who can reach it.")
    assert last_of(check(url, realm=REALM, service="taglock")) == failed
    found = check(url)
    assert found["Challenge"].startswith("warning: It lets everyone in")
    assert found["Catalog"] == "ok: Repositories: 3."
    assert found["Manifest"].startswith("warning: acme/api lists the tag v1")
    assert found["Deletes"].startswith("warning: They are not allowed: the registry answered 405")
    registry.answers |= {
        "GET /v2/_catalog": (401, {}),
        "DELETE": (404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]}),
        "GET": (200, {"manifests": []}),
    }
    found = check(url)
    assert found["Catalog"].startswith("warning: It cannot be read: the registry answered 401")
    assert found["Manifest"] == "ok: Not tried: no repository with a tag was found."
    assert found["Deletes"] == found["Deletes by tag"] == "ok: They are allowed."
    assert found["Referrers"] == "ok: The registry lists them."


def test_an_edge_that_leads_past_the_gate_is_a_failure(serve: Callable[..., Server]) -> None:
    registry, edge = OpenRegistry(serve), OpenRegistry(serve)
    answers: list[tuple[int, Any]] = [(404, "404 page not found"), (201, {}), (400, {})]
    for answered in answers:
        edge.answers["PUT"] = answered
        step, told = last_of(check(registry.server.url, public_url=edge.server.url))
        assert (step, "do not reach the gate" in told) == ("Edge", True)
    with pytest.raises(InvalidReferenceError) as caught:
        parse_repository("taglock/No-such-repository")
    error = {"code": "NAME_INVALID", "message": caught.value.message, "detail": {}}
    edge.answers["PUT"] = (400, {"errors": [error]})
    told = check(registry.server.url, public_url=edge.server.url)["Edge"]
    assert told == f"ok: Writes at {edge.server.url} reach the gate."
    # Of one registry among several, pulls must lead to it, too.
    options: dict[str, Any] = {"public_url": edge.server.url, "edge_service": "taglock-b"}
    step, told = last_of(check(registry.server.url, **options))
    assert (step, "lead to another registry" in told) == ("Edge", True)
    edge.headers = 'WWW-Authenticate: Bearer realm="https://x.example.org",service="taglock-b"\r\n'
    assert check(registry.server.url, **options)["Edge"].startswith("ok: Writes at ")


def test_a_wrong_password_and_a_wrong_path_are_told(serve: Callable[..., Server]) -> None:
    registry = OpenRegistry(serve)
    registry.headers = 'WWW-Authenticate: Basic realm="x\x9b31m"\r\n'
    registry.answers["GET /v2/"] = (401, {"errors": [{"code": "UNAUTHORIZED"}]})
    url = registry.server.url
    account = RegistryAccount(url, RegistryLogin("robot", "wrong"))
    client = RegistryClient(url, authorize=account.authorize, renew=account.renew)
    found = check(url, client)
    assert found["Challenge"] == "ok: It asks for Basic."
    assert last_of(found)[0] == "Account"
    step, told = last_of(check(f"{url}/artifactory"))
    assert (step, told.startswith("failed: GET /artifactory/v2/: the registry answered 404")) == (
        "Challenge",
        True,
    )


def test_no_address_and_no_server_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    step, told = last_of(check(f"http://127.0.0.1:{port}"))
    assert (step, "Connection refused" in told) == ("Reach", True)

    def find_none(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", find_none)
    step, told = last_of(check("http://registry.invalid:5000"))
    assert (step, told) == ("Reach", "failed: The name registry.invalid has no address.")


def test_what_is_wrong_with_tls_is_told(serve: Callable[..., Server], tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    port = OpenRegistry(serve, tls=context).server.url.rpartition(":")[2]
    step, told = last_of(check(f"https://localhost:{port}"))
    assert (step, "certificate is not accepted" in told) == ("TLS", True)
    client = RegistryClient(f"https://localhost:{port}", ca_file=files.authority)
    found = check(f"https://localhost:{port}", client, ca_file=files.authority)
    assert found["TLS"].startswith("ok: TLSv1.3, and the certificate is valid for localhost")
    assert list(found) == STEPS
    client = RegistryClient(f"https://127.0.0.1:{port}", ca_file=files.authority)
    step, told = last_of(check(f"https://127.0.0.1:{port}", client, ca_file=files.authority))
    assert (step, "certificate is not accepted" in told) == ("TLS", True)
    plain = OpenRegistry(serve).server.url.replace("http:", "https:")
    step, told = last_of(check(plain))
    assert (step, told.startswith("failed: No TLS")) == ("TLS", True)


def test_a_registry_that_says_nothing_ends_the_checkup(serve: Callable[..., Server]) -> None:
    registry = OpenRegistry(serve)
    registry.answers["GET /v2/acme/api/tags/list"] = (200, {"tags": ["v1"]})
    registry.answers["HEAD"] = registry.answers["GET /v2/acme/api/manifests/v1"] = (500, {})
    step, told = last_of(check(registry.server.url))
    assert (step, told) == ("Manifest", "failed: No answer: the registry answered 500.")


def test_an_operator_reads_each_step_and_what_to_do(
    serve: Callable[..., Server], settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match="set REGISTRY_URL"):
        call_command("check_registry")
    settings.REGISTRY_URL = OpenRegistry(serve).server.url
    with pytest.raises(CommandError, match="can't be used"):
        call_command("check_registry")
    told = capsys.readouterr().out
    assert "ok      Reach: 127.0.0.1:" in told
    assert "failed  Challenge: It lets everyone in who can reach it.\n        Let the" in told
    settings.REGISTRY_ACCOUNTS = "registry"
    settings.PUBLIC_URL = "http://127.0.0.1:1"
    call_command("check_registry")
    assert "warning Challenge: It lets everyone in" in capsys.readouterr().out
