"""Registries that keep accounts of their own, or none, for the tests to put Taglock in front of.

`htpasswd` asks for Basic; `token` trusts the tokens of a small service that is not Taglock's;
`open` lets everyone in; `private` is the first, over TLS with its own authority and below a path.
"""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from containers.registry.account import RegistryLogin
from packages_site.local import find_free_ports
from tests.conftest import skip_or_fail
from tests.services.accounts import OwnKeys, bundle_of
from tests.services.certificates import make_certificates
from tests.services.parts import COLLECT_RARELY, Part, is_answering

PASSWORD = "demo"
# Of "demo", by bcrypt at its least cost.
_HASH = "$2b$04$abcdefghijklmnopqrstuukpT6/rAWFFcbBfEblfGqmNEecvFUNVy"
TAGLOCK, PUSHER, PULLER, STRANGER = "taglock-itself", "pat", "pulla", "strange"
EVERYTHING = ("pull", "push", "delete", "*")
RIGHTS = {TAGLOCK: EVERYTHING, PUSHER: EVERYTHING, PULLER: ("pull",), STRANGER: ()}
OWN_LOGIN = RegistryLogin(TAGLOCK, PASSWORD)
SERVICE, ISSUER = "another-registry", "another-service"


@dataclass(frozen=True)
class AnyRegistry:
    """A running registry. `ca_file` vouches for it, where the machine's authorities do not.

    `login` is Taglock's own account.
    """

    url: str
    ca_file: Path | None = None
    login: RegistryLogin = OWN_LOGIN


@contextmanager
def running_registry(kind: str, folder: Path) -> Iterator[AnyRegistry]:
    """Run a registry of one of the kinds above, which keeps everything in `folder`."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        if kind == "open":
            yield stack.enter_context(_open(folder))
        elif kind == "token":
            service = stack.enter_context(_token_service(folder))
            yield stack.enter_context(_distribution(folder, {"token": service}))
        else:
            file = folder / "htpasswd"
            file.write_text("".join(f"{name}:{_HASH}\n" for name in (TAGLOCK, PUSHER)))
            auth = {"htpasswd": {"realm": "a registry", "path": str(file)}}
            registry = stack.enter_context(_distribution(folder, auth))
            if kind == "private":
                registry = stack.enter_context(_behind_tls(folder, registry))
            yield registry


@contextmanager
def _distribution(folder: Path, auth: dict[str, Any]) -> Iterator[AnyRegistry]:
    """Run Debian's registry, which makes addresses of its own for uploads, and keeps nothing."""
    (port,) = find_free_ports(1)
    config = folder / "registry.yml"
    config.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {"inmemory": {}, "delete": {"enabled": True}},
                "http": {"addr": f"127.0.0.1:{port}"},
                "auth": auth,
            }
        )
    )
    command = f"exec env -u REGISTRY_AUTH_FILE docker-registry serve '{config}'"
    with _running(command, folder / "registry.out", f"http://127.0.0.1:{port}") as url:
        yield AnyRegistry(url)


@contextmanager
def _open(folder: Path) -> Iterator[AnyRegistry]:
    """Run crane's registry, which knows no accounts and forgets everything in the end."""
    crane = Path(__file__).parents[2] / ".venv" / "go" / "crane"
    if not crane.exists():
        skip_or_fail("crane, which requirements/clients builds with Go")
    (port,) = find_free_ports(1)
    command = f"exec '{crane}' registry serve --address 127.0.0.1:{port}"
    with _running(command, folder / "registry.out", f"http://127.0.0.1:{port}") as url:
        yield AnyRegistry(url, login=RegistryLogin(""))


@contextmanager
def _behind_tls(folder: Path, registry: AnyRegistry) -> Iterator[AnyRegistry]:
    """Run an nginx in front of a registry, with TLS and a path."""
    files = make_certificates(folder)
    (port,) = find_free_ports(1)
    config = folder / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;"
        "events { worker_connections 256; } http { access_log off;"
        f"{temporary} server {{ listen 127.0.0.1:{port} ssl; client_max_body_size 0;"
        f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key};"
        f"location /artifactory/ {{ proxy_pass {registry.url}/;"
        "proxy_set_header Host $http_host; }"
        "location / { return 418; } } }"
    )
    command = f"exec /usr/sbin/nginx -e stderr -p '{folder}' -c '{config}'"
    with _running(command, folder / "nginx.out", f"http://127.0.0.1:{port}"):
        yield AnyRegistry(f"https://localhost:{port}/artifactory", files.authority)


@contextmanager
def _running(command: str, log: Path, url: str) -> Iterator[str]:
    part = Part(command, log, COLLECT_RARELY, is_ready=lambda: is_answering(f"{url}/v2/"))
    try:
        part.start()
        yield url
    finally:
        part.stop()


@contextmanager
def _token_service(folder: Path) -> Iterator[dict[str, str]]:
    """Run a token service; yield what the registry is told of it."""
    keys = OwnKeys()
    bundle_file = folder / "trusted.pem"
    bundle_file.write_text(bundle_of(keys))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = _read_login(self.headers.get("Authorization", ""))
            if name is None:
                self._answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})
                return
            asked = parse_qs(urlsplit(self.path).query).get("scope", [])
            scopes = [scope for each in asked for scope in each.split(" ")]
            self._answer(200, {"token": _sign(keys, name, scopes), "expires_in": 120})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(404, {})

        def _answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield {
            "realm": f"http://127.0.0.1:{server.server_address[1]}/token",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(bundle_file),
        }
    finally:
        server.shutdown()
        server.server_close()


def _read_login(header: str) -> str | None:
    """Return who logs in; empty for no one, and None for wrong credentials."""
    if not header:
        return ""
    name, _, password = base64.b64decode(header.partition(" ")[2]).decode().partition(":")
    return name if name in RIGHTS and password == PASSWORD else None


def _sign(keys: OwnKeys, name: str, scopes: list[str]) -> str:
    access = []
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        resource, _, actions = rest.rpartition(":")
        allowed = RIGHTS.get(name, ())
        granted = [each for each in actions.split(",") if each in allowed]
        access.append({"type": kind, "name": resource, "actions": granted})
    key, now = keys.find_signing_key(), int(time.time())
    claims = {"iss": ISSUER, "sub": name, "aud": SERVICE, "access": access}
    times = {"iat": now, "nbf": now - 5, "exp": now + 120, "jti": str(time.monotonic_ns())}
    headers = {"kid": key.id, "x5c": [key.certificate]}
    return jwt.encode(claims | times, key.private_key, "ES256", headers=headers)


def has_docker_registry() -> bool:
    """Whether Debian's registry and nginx are there."""
    probe = "command -v docker-registry && test -x /usr/sbin/nginx"
    return subprocess.run(["sh", "-c", probe], capture_output=True).returncode == 0
