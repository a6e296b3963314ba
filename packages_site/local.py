"""The parts around the site on your own machine: registry and edge.

Each gets a configuration in the data folder and runs in the foreground, only on loopback.
"""

import getpass
import json
import os
import shlex
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from containers.tokens.tokens import ISSUER, SERVICE
from packages_site.addresses import bracket
from workspaces.log.files import replace_file

# Debian's.
MACHINES_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
# The certificates that the registry trusts.
BUNDLE_FILE = "registry-trusted.pem"
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ports:
    """The loopback ports of the parts. The edge's is the one that people know."""

    edge: int
    site: int
    gate: int
    registry: int


def find_missing() -> list[str]:
    """Return the Debian packages that are missing for a registry behind an edge."""
    programs = {"docker-registry": "docker-registry", "nginx": "nginx"}
    return [package for program, package in programs.items() if _find(program) is None]


def find_free_ports(count: int) -> list[int]:
    """Return loopback ports that no one listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def registry_command(data_dir: Path, port: int, bundle: str, public_url: str) -> str:
    """Write the registry's configuration, and return the command that runs it.

    It trusts tokens by the certificates of `bundle`, and sends clients to `public_url` for them.
    """
    bundle_file = data_dir / BUNDLE_FILE
    replace_file(bundle_file, bundle)
    config = data_dir / "registry.yml"
    # JSON is YAML. Relative addresses, so that what it answers is right behind the edge.
    config.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {
                    "filesystem": {"rootdirectory": str(data_dir / "registry")},
                    "delete": {"enabled": True},
                },
                "http": {"addr": f"127.0.0.1:{port}", "relativeurls": True},
                "auth": {"token": token_auth(bundle_file, public_url)},
            },
            indent=2,
        )
    )
    # It calls every manifest that it does not have an error: not on the screen, then.
    log = shlex.quote(str(data_dir / "registry.log"))
    # By its name, the variable of skopeo and podman would be a setting of the registry too.
    program = f"env -u REGISTRY_AUTH_FILE {_find('docker-registry')}"
    return f"exec {program} serve {shlex.quote(str(config))} >{log} 2>&1"


def token_auth(bundle_file: Path, public_url: str) -> dict[str, str]:
    """Return the section `auth.token` of a registry's configuration."""
    return {
        "realm": f"{public_url}/auth/token",
        "service": SERVICE,
        "issuer": ISSUER,
        "rootcertbundle": str(bundle_file),
    }


def edge_command(
    data_dir: Path,
    ports: Ports,
    registry_url: str,
    more_gates: Sequence[int] = (),
    more_sites: Sequence[int] = (),
    ca_file: Path | None = None,
    *,
    asks_gate: bool = False,
) -> str:
    """Write the edge's configuration around deploy/nginx/taglock.conf; return its command.

    `more_gates` and `more_sites` are the ports of further ones beside those of `ports`. `ca_file`
    has the certificates that a registry over TLS is verified by; the machine's by default. With
    `asks_gate` the registry doesn't know Taglock's accounts, and the edge asks the gate about each
    request.
    """
    registry = urlsplit(registry_url)
    folder = data_dir / "edge"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = "\n".join(
        f"    {kind}_temp_path {_quote_for_nginx(folder / kind)};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    upstreams = "\n".join(
        f"    upstream taglock_{name} {{ {servers} }}"
        for name, servers in (
            ("registry", f"server {_find_server(registry)} max_fails=0; keepalive 16;"),
            ("gate", _servers([ports.gate, *more_gates])),
            ("site", _servers([ports.site, *more_sites])),
        )
    )
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        f"""{user}
daemon off;
worker_processes 1;
pid {_quote_for_nginx(folder / "nginx.pid")};
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
{temporary}
    proxy_cache_path {_quote_for_nginx(folder / "access")} keys_zone=taglock_access:1m max_size=10m
        inactive=1m use_temp_path=off;
{upstreams}
    server {{
        listen 127.0.0.1:{ports.edge};
{_include("taglock.conf")}
{_describe_registry(registry, ca_file)}
{_include("taglock-accounts.conf") if asks_gate else ""}
    }}
}}
"""
    )
    place = shlex.quote(str(folder))
    return f"exec {_find('nginx')} -e stderr -p {place} -c {shlex.quote(str(config))}"


def _include(name: str) -> str:
    return f"        include {_quote_for_nginx(ROOT / 'deploy/nginx' / name)};"


def _find_server(registry: SplitResult) -> str:
    port = registry.port or (443 if registry.scheme == "https" else 80)
    return f"{bracket(registry.hostname or '')}:{port}"


def _describe_registry(registry: SplitResult, ca_file: Path | None) -> str:
    """Return what tells taglock.conf of a registry over TLS, or below a path."""
    lines = [f"set $taglock_registry {registry.scheme}://taglock_registry{registry.path};"]
    if registry.scheme == "https":
        lines += [
            f"set $taglock_registry_host {registry.netloc};",
            f"proxy_ssl_name {registry.hostname};",
            "proxy_ssl_server_name on;",
            "proxy_ssl_verify on;",
            "proxy_ssl_verify_depth 5;",
            f"proxy_ssl_trusted_certificate {_quote_for_nginx(ca_file or MACHINES_AUTHORITIES)};",
        ]
    return "\n".join(f"        {line}" for line in lines)


def _quote_for_nginx(path: Path) -> str:
    escaped = str(path).replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _servers(ports: list[int]) -> str:
    """List gates or sites; of several, one that does not answer is left alone for a while.

    Each is its own backup, so that they are asked all the same where each is left alone.
    """
    if len(ports) == 1:
        return f"server 127.0.0.1:{ports[0]} max_fails=0;"
    first = " ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;" for port in ports)
    last = " ".join(f"server 127.0.0.1:{port} max_fails=0 backup;" for port in ports)
    return f"{first} {last}"


def _find(program: str) -> str | None:
    """Find a program; Debian keeps servers where an ordinary user's PATH does not look."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
