"""A Taglock to measure: its database and its processes."""

import io
import socket

from django.core.management import call_command
from django.db import connection

from bench.command import Place
from bench.fill import fill_with_locks
from bench.floors import MAKE_TABLE
from bench.statements import Statements
from immutability.actions.save_settings import save_container_settings
from immutability.policy.drafts import Draft
from immutability.policy.protection import PolicyRule, Protection
from immutability.reading import read_policy
from packages_site.local import find_free_ports
from packages_site.run import SITE_THREADS
from tests.services.cluster import BIN, Cluster
from tests.services.parts import Part
from workspaces.access import SYSTEM
from workspaces.models import User, Workspace

WORKSPACE = "acme"
PUSHER, ADMIN = "dana", "ada"
APPLICATION = "packages_site.wsgi:application"
_VERSIONS = "^v"


class Taglock:
    """Everything that is measured. Nothing runs before it is started."""

    def __init__(self, place: Place, *, has_registry: bool) -> None:
        self.place = place
        self._has_registry = has_registry
        self.cluster = Cluster(
            place.folder,
            place.database_url,
            gates=1,
            application=APPLICATION,
            env={} if has_registry else {"REGISTRY_URL": ""},
        )
        self.site, self.site_port = self.make_site("site")
        self._more: list[Part] = []

    def prepare(self, locks: int) -> Statements:
        """Make the database, with people, settings and so many locks; return its statements.

        Raises RuntimeError.
        """
        call_command("migrate", verbosity=0)
        self.make_workspace(WORKSPACE)
        for username, role in ((PUSHER, "member"), (ADMIN, "admin")):
            call_command("add_member", WORKSPACE, username, role=role, stderr=io.StringIO())
        if locks:
            fill_with_locks(WORKSPACE, locks)
        return Statements(self.place.database_url)

    def make_workspace(self, slug: str) -> None:
        """Make a workspace whose versions are protected."""
        call_command("create_workspace", slug, name=slug, stderr=io.StringIO())
        protect(slug, _VERSIONS)

    def make_access_token(self, name: str, scope: str, workspace: str = WORKSPACE) -> str:
        """Make an access token and return it."""
        printed = io.StringIO()
        call_command("create_access_token", workspace, name, "--scope", scope, stdout=printed)
        return printed.getvalue().strip()

    def make_site(self, name: str, **env: str) -> tuple[Part, int]:
        """Return a site as in production, not started yet, and its port."""
        (port,) = find_free_ports(1)
        command = (
            f"exec {BIN}/granian --interface wsgi --host 127.0.0.1 --port {port} "
            f"--blocking-threads {SITE_THREADS} --no-ws --log-level error {APPLICATION}"
        )
        part = Part(
            command,
            self.place.folder / f"{name}.out",
            {**self.cluster.env, "BEHIND_EDGE": "false", **env},
            is_ready=lambda: _is_listening(port),
        )
        return part, port

    def make_floor(self) -> tuple[Part, int]:
        """Return the views of floors.py, behind a server like the site's, and their port."""
        with connection.cursor() as cursor:
            cursor.execute(MAKE_TABLE)
        return self.make_site("floor", DJANGO_SETTINGS_MODULE="bench.floor_settings")

    def start(self, *more: Part) -> None:
        """Start the site, or the registry with gate and edge, and `more`."""
        self._more.extend(more)
        cluster = self.cluster
        cluster.export_bundle()
        connection.close()
        behind_edge = (cluster.registry, *cluster.gates, cluster.edge)
        for part in (*(behind_edge if self._has_registry else [self.site]), *more):
            part.start()

    def stop(self) -> None:
        """Stop everything."""
        connection.close()
        for part in (self.site, *self._more):
            part.kill()
        self.cluster.stop()


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def protect(slug: str, pattern: str) -> None:
    """Let a workspace protect the tags that match one pattern."""
    workspace = Workspace.objects.get(slug=slug)
    save_container_settings(
        workspace,
        Draft(Protection.SOME, (PolicyRule("Versions", pattern),)),
        expected_version=read_policy(workspace).version,
        may_suspend_locks=True,
        actor=SYSTEM,
    )


def find_user(username: str) -> User:
    """Return somebody who has been added."""
    return User.objects.get(username=username)
