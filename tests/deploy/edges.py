"""Every edge of deploy/, started between three upstreams that keep what reaches them."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from packages_site.local import ROOT, Ports, edge_command, find_free_ports
from tests.conftest import skip_or_fail
from tests.deploy.upstream import Asked, Upstream
from tests.deploy.wire import ask, is_open, to_request
from tests.services.parts import Part

DEPLOY = ROOT / "deploy"
# A proxy that ends TLS and is named in each edge's configuration. Others come from 127.0.0.1.
FRONT = "127.0.0.2"


@dataclass(frozen=True)
class EdgePorts:
    """Where an edge listens, and what is behind it."""

    plain: int
    # Where it speaks HTTP/2 from the first byte.
    http2: int
    # Where FRONT is believed.
    front: int
    registry: int
    gate: int
    site: int

    @property
    def own(self) -> tuple[int, int, int]:
        """Where it listens."""
        return (self.plain, self.http2, self.front)


@dataclass(frozen=True)
class Edge:
    """A running edge, and what is behind it."""

    kind: str
    ports: EdgePorts
    registry: Upstream
    gate: Upstream
    site: Upstream

    def forget(self) -> None:
        """Let what was asked be what is asked from now on."""
        for each in (self.registry, self.gate, self.site):
            each.asked.clear()

    def asked(self) -> dict[str, list[str]]:
        """Return the first lines of what reached whom, without the version."""
        lines = {
            name: [asked.line.rpartition(" ")[0] for asked in upstream.asked]
            for name, upstream in self._upstreams()
        }
        return {name: found for name, found in lines.items() if found}

    def all_asked(self) -> list[Asked]:
        """Return what reached anyone."""
        return [asked for _, upstream in self._upstreams() for asked in upstream.asked]

    def _upstreams(self) -> tuple[tuple[str, Upstream], ...]:
        return (("registry", self.registry), ("gate", self.gate), ("site", self.site))


@contextmanager
def start_edge(kind: str, folder: Path) -> Iterator[Edge]:
    """Run the edge of that kind, in a folder of its own, until the block ends."""
    with ExitStack() as stack:
        registry, gate, site = Upstream(), Upstream(), Upstream()
        for upstream in (registry, gate, site):
            stack.callback(upstream.close)
        behind = (registry.port, gate.port, site.port)
        ports = stack.enter_context(run_edge(kind, folder, *behind))
        yield Edge(kind, ports, registry, gate, site)


@contextmanager
def run_edge(kind: str, folder: Path, registry: int, gate: int, site: int) -> Iterator[EdgePorts]:
    """Run the edge of that kind before these ports, until the block ends."""
    plain, http2, front = find_free_ports(3)
    ports = EdgePorts(plain, http2, front, registry, gate, site)
    command = COMMANDS[kind](ports, folder)
    part = Part(command, folder / "edge.out", is_ready=lambda: _is_ready(ports.plain))
    part.start()
    try:
        yield ports
    finally:
        part.stop()


def _is_ready(port: int) -> bool:
    """Whether it knows its routes: Traefik listens before it does."""
    return is_open(port) and ask(port, to_request("/v2/")).status != 404


def _nginx(ports: EdgePorts, folder: Path) -> str:
    parts = Ports(ports.plain, ports.site, ports.gate, ports.registry)
    command = edge_command(folder, parts, f"http://127.0.0.1:{ports.registry}")
    config = folder / "edge" / "nginx.conf"
    ours = f'include "{DEPLOY}/nginx/taglock.conf";'
    config.write_text(
        _replace(
            config.read_text(),
            {
                "http {": (
                    f"http {{ set_real_ip_from {FRONT}; real_ip_header X-Forwarded-For;"
                    " real_ip_recursive on; geo $realip_remote_addr $taglock_in_front"
                    f" {{ default no; {FRONT} yes; }}"
                ),
                f"listen 127.0.0.1:{ports.plain};": (
                    f"listen 127.0.0.1:{ports.plain}; listen 127.0.0.1:{ports.http2} http2;"
                    f" listen 127.0.0.1:{ports.front};"
                ),
                ours: f'{ours} include "{DEPLOY}/nginx/tls-in-front.conf";',
            },
        )
    )
    return command


def _caddy(ports: EdgePorts, folder: Path) -> str:
    config = folder / "Caddyfile"
    snippets = "\n".join(
        f"(taglock_{name}) {{\n\tto 127.0.0.1:{port}\n}}"
        for name, port in (
            ("registry", ports.registry),
            ("gate", ports.gate),
            ("site", ports.site),
        )
    )
    addresses = ", ".join(f"http://:{port}" for port in ports.own)
    config.write_text(
        f"""{{
	admin off
	persist_config off
	servers {{
		protocols h1 h2c
		max_header_size 64KB
		trusted_proxies static {FRONT}
		trusted_proxies_strict
	}}
}}
{snippets}
{addresses} {{
	bind 127.0.0.1
	import {DEPLOY}/caddy/taglock.caddy
}}
"""
    )
    return f"exec {_find('caddy')} run --adapter caddyfile --config {_quote(config)}"


def _haproxy(ports: EdgePorts, folder: Path) -> str:
    config = folder / "haproxy.cfg"
    text = (DEPLOY / "haproxy/taglock.cfg").read_text()
    config.write_text(
        _replace(
            text,
            {
                "bind 127.0.0.1:8000": "\n".join(f"bind 127.0.0.1:{port}" for port in ports.own),
                "acl from_tls_proxy always_false": f"acl from_tls_proxy src {FRONT}",
                **_servers(ports),
            },
        )
    )
    return f"exec {_find('haproxy')} -db -f {_quote(config)}"


def _traefik(ports: EdgePorts, folder: Path) -> str:
    routes, config = folder / "taglock.yml", folder / "traefik.yml"
    routes.write_text(_replace((DEPLOY / "traefik/taglock.yml").read_text(), _servers(ports)))
    static = yaml.safe_load((DEPLOY / "traefik/traefik.yml").read_text())
    static["providers"]["file"]["filename"] = str(routes)
    entry = static["entryPoints"]["taglock"]
    entry["forwardedHeaders"]["trustedIPs"] = [FRONT]
    static["entryPoints"] = {
        name: entry | {"address": f"127.0.0.1:{port}"}
        for name, port in (
            ("taglock", ports.plain),
            ("second", ports.http2),
            ("third", ports.front),
        )
    }
    config.write_text(yaml.safe_dump(static))
    return f"exec {_find('traefik')} --configFile={_quote(config)}"


def _envoy(ports: EdgePorts, folder: Path) -> str:
    config = folder / "envoy.yaml"
    text = _replace((DEPLOY / "envoy/taglock.yaml").read_text(), _servers(ports, "port_value: {}"))
    tree = yaml.safe_load(text)
    (listener,) = tree["static_resources"]["listeners"]
    # What it refuses closes at once.
    listener["filter_chains"][0]["filters"][0]["typed_config"]["delayed_close_timeout"] = "0.05s"
    listeners = []
    for port in ports.own:
        copy = yaml.safe_load(yaml.safe_dump(listener)) | {"name": str(port)}
        copy["address"]["socket_address"]["port_value"] = port
        listeners.append(copy)
    (chain,) = listeners[-1]["filter_chains"]
    chain["filter_chain_match"] = {
        "source_prefix_ranges": [{"address_prefix": FRONT, "prefix_len": 32}]
    }
    chain["filters"][0]["typed_config"]["xff_num_trusted_hops"] = 1
    tree["static_resources"]["listeners"] = listeners
    config.write_text(yaml.safe_dump(tree))
    return f"exec {_find('envoy')} --concurrency 1 --log-level error -c {_quote(config)}"


COMMANDS: dict[str, Callable[[EdgePorts, Path], str]] = {
    "nginx": _nginx,
    "caddy": _caddy,
    "haproxy": _haproxy,
    "traefik": _traefik,
    "envoy": _envoy,
}


def _servers(ports: EdgePorts, text: str = "127.0.0.1:{}") -> dict[str, str]:
    """Return the addresses that the files of deploy/ name, and those of the upstreams."""
    behind = {5000: ports.registry, 8002: ports.gate, 8001: ports.site}
    return {text.format(old): text.format(new) for old, new in behind.items()}


def _replace(text: str, changes: dict[str, str]) -> str:
    """Replace each text by its new one. Each must be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def _find(program: str) -> str:
    """Find a program: one that came with the Python packages, or Debian's."""
    folders = (f"{ROOT}/.venv/bin", "/usr/local/sbin", "/usr/sbin", os.environ.get("PATH", ""))
    found = shutil.which(program, path=":".join(folders))
    if found is None:
        skip_or_fail(program)
    return shlex.quote(str(found))


def _quote(path: Path) -> str:
    return shlex.quote(str(path))
