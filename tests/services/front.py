"""Taglock in this process, before any registry: an edge, and the settings of site and gate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.urls import clear_url_caches

from packages_site.local import Ports, edge_command, find_free_ports
from tests.services.parts import Part, is_answering
from tests.services.registries import AnyRegistry


@contextmanager
def running_edge(
    folder: Path, registry: AnyRegistry, live_server_url: str, accounts: str
) -> Iterator[int]:
    """Run an edge before the registry, with this process as its gate and site; yield its port."""
    (port,) = find_free_ports(1)
    here, own = urlsplit(live_server_url).port or 0, urlsplit(registry.url).port or 0
    command = edge_command(
        folder,
        Ports(port, here, here, own),
        registry.url,
        ca_file=registry.ca_file,
        asks_gate=accounts == "taglock",
    )
    url = f"http://127.0.0.1:{port}/_edge/access"
    part = Part(command, folder / "edge.out", is_ready=lambda: is_answering(url))
    try:
        part.start()
        yield port
    finally:
        part.stop()


@contextmanager
def standing_before(
    registry: AnyRegistry, settings: Any, *, accounts: str, port: int
) -> Iterator[None]:
    """Let this process be gate and site of the edge at a port, with an account of its own."""
    settings.ROOT_URLCONF = "tests.services.front_urls"
    settings.REGISTRY_URL = registry.url
    settings.REGISTRY_CA_FILE = registry.ca_file
    settings.REGISTRY_ACCOUNTS = accounts
    settings.REGISTRY_LOGIN_SECRET = registry.login
    settings.PUBLIC_URL = f"http://127.0.0.1:{port}"
    settings.ALLOWED_HOSTS = ["*"]
    clear_url_caches()
    yield
    clear_url_caches()
