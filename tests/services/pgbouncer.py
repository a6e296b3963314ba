"""A PgBouncer of the tests' own, in transaction mode before the tests' PostgreSQL."""

import shutil
import socket

import psycopg

from packages_site.local import find_free_ports
from tests.conftest import skip_or_fail
from tests.services.parts import Part
from tests.services.postgresql import as_postgres, make_folder


class PgBouncer(Part):
    """A pooler on a free loopback port, with fewer connections than there are threads."""

    def __init__(self, host: str, port: int, user: str, *, pool_size: int) -> None:
        """Skip the test, loudly, where there is no PgBouncer.

        `host`, `port` and `user` are the server's; `pool_size` is how many connections to it one
        database gets.
        """
        program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            skip_or_fail("Debian's pgbouncer")
        self._folder = make_folder("taglock-pgbouncer-")
        (self.port,) = find_free_ports(1)
        self._user = user
        users = self._folder / "users.txt"
        users.write_text(f'"{user}" ""\n')
        config = self._folder / "pgbouncer.ini"
        config.write_text(
            f"""[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
admin_users = {user}
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
log_connections = 0
log_disconnections = 0
"""
        )
        before = " ".join(str(part) for part in as_postgres())
        super().__init__(
            f"exec {before} {program} --quiet {config}",
            self._folder / "pgbouncer.out",
            is_ready=self._is_listening,
        )

    def renew(self) -> None:
        """Let every connection to the server be a new one; those to the clients stay."""
        with psycopg.connect(self.address_of("pgbouncer", self._user), autocommit=True) as admin:
            admin.execute("RECONNECT")

    def remove(self) -> None:
        """End it, and remove its files."""
        self.resume()
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def address_of(self, database: str, user: str) -> str:
        """Return the address of a database through it, for DATABASE_URL."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
