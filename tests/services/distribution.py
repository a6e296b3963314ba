"""The registry of CNCF Distribution 3, built with Go where Go is at hand."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from packages_site.local import BUNDLE_FILE, find_free_ports, token_auth
from tests.services.accounts import OwnKeys, bundle_of
from tests.services.go_programs import build_with_go
from tests.services.parts import COLLECT_RARELY, Part, is_answering
from tests.services.site import Site, make_data_dir


@dataclass(frozen=True)
class Distribution3:
    """A running registry at `url`.

    It trusts the tokens of `keys` at first. Clients are sent for tokens to the edge of a Taglock,
    which is to listen on `edge_port` and to have its data in `data_dir`.
    """

    url: str
    keys: OwnKeys
    data_dir: Path
    edge_port: int
    part: Part

    def trust(self, site: Site) -> None:
        """Trust what a Taglock trusts now: take its bundle, and start again."""
        site.manage("token_keys", "export", str(self.data_dir / BUNDLE_FILE))
        self.part.stop()
        self.part.start()


def build_distribution_3() -> Path:
    """Return the program, built where it is not there yet; skip, or fail in CI, without Go."""
    (program,) = build_with_go("registry-v3")
    return program


@contextmanager
def running_distribution_3(folder: Path) -> Iterator[Distribution3]:
    """Run a registry that keeps everything in `folder`, and so does the Taglock before it."""
    program = build_distribution_3()
    port, edge_port = find_free_ports(2)
    data_dir = make_data_dir(folder / "taglock")
    keys = OwnKeys()
    bundle_file = data_dir / BUNDLE_FILE
    bundle_file.write_text(bundle_of(keys))
    config = folder / "config.yml"
    config.write_text(
        json.dumps(
            {
                "version": 0.1,
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {
                    "filesystem": {"rootdirectory": str(folder / "data")},
                    "delete": {"enabled": True},
                },
                "http": {"addr": f"127.0.0.1:{port}", "relativeurls": True},
                "auth": {"token": token_auth(bundle_file, f"http://127.0.0.1:{edge_port}")},
            }
        )
    )
    url = f"http://127.0.0.1:{port}"
    part = Part(
        f"exec env -u REGISTRY_AUTH_FILE {program} serve {config}",
        folder / "registry.out",
        {**COLLECT_RARELY, "OTEL_TRACES_EXPORTER": "none"},
        is_ready=lambda: is_answering(f"{url}/v2/"),
    )
    try:
        part.start()
        yield Distribution3(url, keys, data_dir, edge_port, part)
    finally:
        part.stop()


@pytest.fixture(scope="module")
def distribution_3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution3]:
    """A running registry."""
    with running_distribution_3(tmp_path_factory.mktemp("distribution-3")) as registry:
        yield registry
