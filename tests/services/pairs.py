"""Two of each part of Taglock, as production has them: registries, gates and sites behind an edge.

They are started and stopped as their units do. The registries share their storage, and stand behind
one name with two addresses, as gates and sites see it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from containers.tokens.stored_keys import token_keys
from packages_site.local import (
    BUNDLE_FILE,
    Ports,
    edge_command,
    find_free_ports,
    registry_command,
)
from packages_site.run import GATE_SETTINGS
from tests.services.accounts import bundle_of
from tests.services.parts import Part, PythonPart, is_answering
from tests.services.site import ROOT

# Half of it as ever, and half of it in which nothing is begun.
STOP_DELAY_SECONDS = 1
# Not imported: it stands for a DNS in the processes that read it.
TWO_REGISTRIES = ROOT / "tests/services/two_registries.py"
REGISTRIES, REGISTRY_NAME = ("127.0.0.1", "127.0.0.2"), "registries.test"


class Pairs:
    """All of it, on one database."""

    def __init__(self, folder: Path, database_url: str, **env: str) -> None:
        self.folder = folder
        edge, site, site_2, gate, gate_2, registry = find_free_ports(6)
        self.port, self.registry_port = edge, registry
        shutil.copy(TWO_REGISTRIES, folder)
        self.env = {
            "DATABASE_URL": database_url,
            "DATA_DIR": str(folder),
            "SECRET_KEY": settings.SECRET_KEY,
            "LOG_KEY_FILE": str(settings.LOG_KEY_FILE),
            "REGISTRY_URL": f"http://{REGISTRY_NAME}:{registry}",
            "BEHIND_EDGE": "true",
            "PUBLIC_URL": f"http://127.0.0.1:{edge}",
            "STOP_DELAY_SECONDS": str(STOP_DELAY_SECONDS),
            "PYTHONWARNINGS": "ignore",
            **env,
        }
        self.registries = [self._make_registry(address) for address in REGISTRIES]
        self.sites = [self.make_part("site", port) for port in (site, site_2)]
        self.gates = [self.make_part("gate", port) for port in (gate, gate_2)]
        command = edge_command(
            folder,
            Ports(edge, site, gate, registry),
            f"http://{REGISTRIES[0]}:{registry}",
            more_gates=[gate_2],
            more_sites=[site_2],
        )
        self._change_edge()
        self.edge = Part(
            command,
            folder / "edge.out",
            is_ready=lambda: is_answering(f"http://127.0.0.1:{edge}/readyz"),
        )

    def start(self) -> None:
        """Start all of it."""
        self.export_bundle()
        start([*self.registries, *self.sites, *self.gates, self.edge])

    def stop(self) -> None:
        """End all of it at once."""
        for part in (self.edge, *self.sites, *self.gates, *self.registries):
            part.kill()

    def export_bundle(self) -> None:
        """Let the registries trust, from their next start on, what is signed now."""
        (self.folder / BUNDLE_FILE).write_text(bundle_of(token_keys()))

    def reload_edge(self) -> None:
        """Let nginx read its configuration again, in new processes."""
        os.kill(self.edge.pid, signal.SIGHUP)

    def make_part(self, name: str, port: int, root: Path | None = None) -> Part:
        """Return a site or a gate, of this version or of the code in `root`, not started yet."""
        threads = {"site": "4", "gate": "16"}
        env = {
            **self.env,
            **(GATE_SETTINGS if name == "gate" else {}),
            "GRANIAN_PORT": str(port),
            "GRANIAN_BLOCKING_THREADS": threads[name],
            "GRANIAN_LOG_LEVEL": "error",
        }
        log = self.folder / f"{name}-{port}.out"

        def is_ready() -> bool:
            return is_answering(f"http://127.0.0.1:{port}/healthz")

        serve = "-m packages_site.serve"
        if root is None:
            command = f"{serve} tests.services.two_registries:application"
            return PythonPart(command, log, env, is_ready=is_ready)
        env["PYTHONPATH"] = f"{root}:{self.folder}"
        command = f"cd {root} && exec {sys.executable} {serve} two_registries:application"
        return Part(command, log, env, is_ready=is_ready)

    def run(self, root: Path, *command: str) -> None:
        """Run a command of manage.py, of the code in `root`, to its end."""
        env = {**os.environ, **self.env, "PYTHONPATH": f"{root}:{self.folder}"}
        subprocess.run([sys.executable, "manage.py", *command], cwd=root, env=env, check=True)

    def make_background(self, command: str) -> Part:
        """Return a process of Celery, not started yet."""
        log = self.folder / f"{command.split()[0]}.out"
        return PythonPart(
            f"-m celery --skip-checks --app packages_site {command} --loglevel info",
            log,
            self.env,
            is_ready=lambda: bool(re.search(r" ready\.|beat: Starting", log.read_text())),
        )

    def _make_registry(self, address: str) -> Part:
        port = self.registry_port
        folder = self.folder / address
        folder.mkdir()
        command = registry_command(self.folder, port, "", self.env["PUBLIC_URL"])
        config = self.folder / "registry.yml"
        text = config.read_text().replace(
            f'"addr": "127.0.0.1:{port}",',
            f'"addr": "{address}:{port}", "draintimeout": "10s", "secret": "shared",',
        )
        own = self.folder / f"registry-{address}.yml"
        own.write_text(text)
        return Part(
            command.replace(str(config), str(own)),
            self.folder / f"registry-{address}.out",
            is_ready=lambda: is_answering(f"http://{address}:{port}/v2/"),
        )

    def _change_edge(self) -> None:
        """Name the second registry."""
        config = self.folder / "edge" / "nginx.conf"
        one, two = (f"server {address}:{self.registry_port} " for address in REGISTRIES)
        text, before = config.read_text(), f"{one}max_fails=0; keepalive 16;"
        assert before in text
        config.write_text(text.replace(before, f"{one}max_fails=0; {two}max_fails=0;"))


def start(parts: Sequence[Part]) -> None:
    """Start parts, and wait until all of them are ready."""
    for part in parts:
        part.begin()
    for part in parts:
        part.wait_until_ready()


def stop(parts: Sequence[Part]) -> None:
    """Stop parts, as a service manager does, and wait for the end of all."""
    for part in parts:
        part.ask_to_stop()
    for part in parts:
        part.wait_until_ended()


def restart(parts: Sequence[Part]) -> None:
    """Restart parts of one node, as a service manager does."""
    stop(parts)
    start(parts)
