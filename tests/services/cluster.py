"""A whole Taglock of real processes on the tests' own database: gates, site, edge and registry.

The test sees the same database as they do, so it can prepare and look without asking anyone.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from containers.tokens.stored_keys import token_keys
from packages_site.local import (
    BUNDLE_FILE,
    Ports,
    edge_command,
    find_free_ports,
    registry_command,
)
from packages_site.run import GATE_SETTINGS
from tests.conftest import is_postgresql, skip_or_fail
from tests.services.accounts import Account, account_of, bundle_of
from tests.services.parts import Part, PythonPart, is_answering, wait_until
from tests.services.site import ROOT
from workspaces.log.files import replace_file
from workspaces.models import User

BIN = Path(sys.executable).parent
GATE_THREADS = 16
SITE_THREADS = 4
# Gate and site of production, with the hooks of tests/services/faults.py around them.
FAULTY = "tests.services.faults:application"


class Cluster:
    """Two gates on PostgreSQL, one on SQLite; before them an edge, behind them a registry.

    `registry_url`, where it is given, stands between the gates and the registry.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        *,
        gates: int = 2,
        application: str = FAULTY,
        env: Mapping[str, str] | None = None,
        registry_url: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.name = f"taglock-{folder.name}-{os.getpid()}"
        more = find_free_ports(gates - 1)
        self.ports = Ports(*find_free_ports(4))
        self.gate_ports = [self.ports.gate, *more]
        self.database_url = database_url
        self.registry_url = registry_url or f"http://127.0.0.1:{self.ports.registry}"
        self.env = {
            "DATABASE_URL": database_url,
            "DATA_DIR": str(folder),
            # The one that the tests' database knows.
            "SECRET_KEY": settings.SECRET_KEY,
            "LOG_KEY_FILE": str(settings.LOG_KEY_FILE),
            "REGISTRY_URL": self.registry_url,
            "BEHIND_EDGE": "true",
            "PUBLIC_URL": f"http://127.0.0.1:{self.ports.edge}",
            # What its sessions at PostgreSQL are called.
            "PGAPPNAME": self.name,
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(ROOT),
            **(env or {}),
        }
        self.keys = token_keys()
        edge = edge_command(
            folder, self.ports, f"http://127.0.0.1:{self.ports.registry}", more_gates=more
        )
        self.registry = Part(
            registry_command(folder, self.ports.registry, "", self.env["PUBLIC_URL"]),
            folder / "registry.out",
            is_ready=lambda: is_answering(f"http://127.0.0.1:{self.ports.registry}/v2/"),
        )
        self.edge = Part(
            edge,
            folder / "edge.out",
            is_ready=lambda: is_answering(f"http://127.0.0.1:{self.ports.edge}/v2/"),
        )
        self.gates = [
            self._python_part(f"gate-{port}", port, application, GATE_THREADS, GATE_SETTINGS)
            for port in self.gate_ports
        ]
        self.site = self._python_part("site", self.ports.site, application, SITE_THREADS)

    def account(self, user: User) -> Account:
        """Return the account of someone at its registry."""
        return account_of(user, self.keys)

    @property
    def whole_env(self) -> dict[str, str]:
        """The environment of its processes, for a command that is run beside them."""
        return {**os.environ, **self.env}

    def start(self) -> None:
        """Start all of it; Python's parts take a second or two."""
        self.export_bundle()
        for part in (self.registry, *self.gates, self.site, self.edge):
            part.start()

    def export_bundle(self) -> None:
        """Give the registry, for its next start, the key that signs now."""
        replace_file(self.folder / BUNDLE_FILE, bundle_of(self.keys))

    def stop(self) -> None:
        """Stop all of it."""
        for part in (self.edge, self.site, *self.gates, self.registry):
            part.resume()
            part.kill()
        # PostgreSQL notices a moment later, and its database may be dropped next.
        with suppress(psycopg.OperationalError, TimeoutError):
            wait_until(lambda: not self._has_sessions())

    def _has_sessions(self) -> bool:
        if not self.database_url.startswith("postgresql:"):
            return False
        address = f"{self.database_url.rpartition('/')[0]}/postgres"
        asked = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s"
        with psycopg.connect(address) as session:
            return session.execute(asked, [self.name]).fetchone() is not None

    def find_link(self, repository: str, tag: str) -> Path:
        """Return the file in which the registry has what a tag points at; it may not be there."""
        return self._manifests_of(repository) / "tags" / tag / "current" / "link"

    def _manifests_of(self, repository: str) -> Path:
        return self.folder / "registry/docker/registry/v2/repositories" / repository / "_manifests"

    def break_tag(self, repository: str, tag: str) -> None:
        """Leave a tag as the registry does that is killed while it writes it: without a word."""
        link = self.find_link(repository, tag)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_bytes(b"")

    def break_image(self, repository: str, digest: str) -> None:
        """Leave an image as the registry does that is killed while it writes that it has it."""
        algorithm, _, encoded = digest.partition(":")
        folder = self._manifests_of(repository) / "revisions" / algorithm / encoded
        (folder / "link").write_bytes(b"")

    def mend(self) -> None:
        """Let everything run again, whatever a test has done to it."""
        for part in (self.registry, *self.gates, self.site, self.edge):
            if part.is_running:
                part.resume()
            else:
                part.start()
        # Each of them finds out by itself that its connections to the database are of no use.
        for port in (*self.gate_ports, self.ports.site):
            wait_until(partial(is_answering, f"http://127.0.0.1:{port}/readyz"))
        # And the edge, that gates are back which it has left alone for a while.
        writes = f"http://127.0.0.1:{self.ports.edge}/v2/"
        looks = 2 * len(self.gates)
        wait_until(lambda: all(is_answering(writes, "DELETE") for _ in range(looks)))

    def mend_after_a_kill(self) -> None:
        """Wait until one of its processes is dead, and mend: a killed one takes a moment to die."""
        wait_until(lambda: not all(part.is_running for part in (*self.gates, self.site)))
        self.mend()

    def another_gate(self, **env: str) -> tuple[Part, int]:
        """Return a further gate, not started yet, and its port, which the edge does not know."""
        (port,) = find_free_ports(1)
        name = f"gate-{port}"
        env = {**GATE_SETTINGS, **env}
        return self._python_part(name, port, FAULTY, GATE_THREADS, env), port

    def _python_part(
        self,
        name: str,
        port: int,
        application: str,
        threads: int,
        env: Mapping[str, str] | None = None,
    ) -> Part:
        command = (
            f"-m granian --interface wsgi --host 127.0.0.1 --port {port} "
            f"--blocking-threads {threads} --no-ws --log-level error {application}"
        )
        return PythonPart(
            command,
            self.folder / f"{name}.out",
            {**self.env, **(env or {})},
            is_ready=lambda: is_answering(f"http://127.0.0.1:{port}/healthz"),
        )


def test_database_url() -> str:
    """Return the address of the database that the tests are using."""
    settings = connection.settings_dict
    if is_postgresql():
        host, port, user = (settings[name] for name in ("HOST", "PORT", "USER"))
        return f"postgresql://{user}@{host}:{port}/{settings['NAME']}"
    return f"sqlite:///{quote(str(settings['NAME']))}"


def require_programs() -> None:
    """Skip, or fail in CI, where registry or edge is missing."""
    for program in ("docker-registry", "nginx"):
        if not any(Path(folder, program).exists() for folder in ("/usr/bin", "/usr/sbin")):
            skip_or_fail(f"Debian's {program}")


@pytest.fixture(scope="session")
def _running_cluster(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    require_programs()
    cluster = Cluster(
        tmp_path_factory.mktemp("cluster"),
        test_database_url(),
        gates=2 if is_postgresql() else 1,
    )
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(transactional_db: None, _running_cluster: Cluster) -> Iterator[Cluster]:
    """A running cluster. What a test breaks is mended before the next one."""
    yield _running_cluster
    _running_cluster.mend()
