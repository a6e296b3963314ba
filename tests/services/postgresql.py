"""A PostgreSQL server of the tests' own: `python -m tests.services.postgresql COMMAND…`.

Starts it in a folder of its own on a free loopback port, with a migrated database to copy
(`TEMPLATE`), and runs the command with DATABASE_URL set. Stops it, and exits with the command's
status. Says so and exits 69 where PostgreSQL is missing.

Several servers need not migrate each: `--make` alone makes the data of such a server and prints
their folder, and one that finds it in TEST_POSTGRESQL_DATA begins with a copy of it. DATA_DIR has
the keys that go with the data, and is to be copied, too.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parents[2]
MISSING = os.EX_UNAVAILABLE  # 69, which pytest never exits with.
# The tests' databases are copies of it.
TEMPLATE = "taglock_template"
MEMORY = Path("/dev/shm")  # noqa: S108
LEAST_MEMORY_BYTES = 2 * 1024**3
# Nothing here outlives its machine. Commits stay synchronous: tests kill the server and count on
# what was committed, and without fsync a commit costs next to nothing.
FOR_TESTS = """
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 2GB
checkpoint_timeout = 1h
jit = off
"""


def find_bin() -> Path | None:
    """Return the folder with initdb and pg_ctl, the newest version of Debian's, or None."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def find_free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """The server of a data folder, however it was started: to be stopped, hung and started."""

    def __init__(self, bin_dir: Path, data: Path) -> None:
        self._data = data
        log = data.parent / "log"
        self._control = [*as_postgres(), bin_dir / "pg_ctl", "-D", data, "-w", "-l", log]

    def start(self) -> None:
        """Start it, with the options that its folder was made with; wait until it answers."""
        _run([*self._control, "start"])

    def stop(self) -> None:
        """End it at once, as a crash does: it comes back to what was committed."""
        self.resume()
        _run([*self._control, "-m", "immediate", "stop"])

    def shut_down(self) -> None:
        """End it as a service manager does, with nothing left to recover."""
        _run([*self._control, "-m", "fast", "stop"])

    def restart(self) -> None:
        """End it as a service manager does, and start it again."""
        _run([*self._control, "-m", "fast", "restart"])

    @property
    def is_running(self) -> bool:
        return bool(self._find_pids())

    def hang(self) -> None:
        """Let all of it stand still: connections stay open and are accepted, nobody answers."""
        # The first one makes the others, so once it stands still there are no more of them.
        for pid in self._find_pids()[:1]:
            os.kill(pid, signal.SIGSTOP)
        for pid in self._find_pids()[1:]:
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        for pid in self._find_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _find_pids(self) -> list[int]:
        """Return the postmaster's process id and those of its children; none where it is down."""
        try:
            postmaster = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return []
        parents = {
            int(path.name): parent
            for path in Path("/proc").iterdir()
            if path.name.isdigit() and (parent := _find_parent(path)) is not None
        }
        if postmaster not in parents:
            return []
        return [postmaster, *(pid for pid, parent in parents.items() if parent == postmaster)]


def _find_parent(process: Path) -> int | None:
    try:
        # The name may have blanks and brackets; what follows it has none.
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


@contextmanager
def postgresql(
    bin_dir: Path, options: str = "", parent: Path | None = None, made: Path | None = None
) -> Iterator[str]:
    """Run a server; yield its address for DATABASE_URL. The data goes with it.

    `options` are lines of postgresql.conf; the data are kept in a new folder in `parent`, and are
    those in the folder `made` to begin with, where there is one.
    """
    folder = make_folder("taglock-postgresql-", parent)
    try:
        if made is None:
            _make_data(bin_dir, folder)
        else:
            _run([*as_postgres(), "cp", "-a", made / "data", folder])
        server, address = _start(bin_dir, folder, options)
        try:
            yield address
        finally:
            if server.is_running:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_migrated(bin_dir: Path, parent: Path | None) -> Path:
    """Return a new folder with the data of a server that has a migrated database to copy."""
    folder = make_folder("taglock-postgresql-", parent)
    try:
        _make_data(bin_dir, folder)
        settings = (folder / "data/postgresql.conf").read_bytes()
        server, address = _start(bin_dir, folder, FOR_TESTS)
        try:
            make_template(address)
        finally:
            server.shut_down()
        # Each copy has an address of its own.
        (folder / "data/postgresql.conf").write_bytes(settings)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _make_data(bin_dir: Path, folder: Path) -> None:
    initdb = bin_dir / "initdb"
    _run([*as_postgres(), initdb, "-D", folder / "data", "-U", "taglock", "--auth=trust", "-N"])


def _start(bin_dir: Path, folder: Path, options: str) -> tuple[Server, str]:
    """Start the server of a folder; return it, and its address."""
    port = find_free_port()
    data = folder / "data"
    # In the folder, and not on the command line: a test that starts it again knows no options.
    with (data / "postgresql.conf").open("a") as file:
        file.write(
            f"listen_addresses = '127.0.0.1'\nport = {port}\n"
            f"unix_socket_directories = '{folder}'\nfsync = off\nmax_connections = 500\n"
            f"log_min_messages = fatal\n{options}"
        )
    server = Server(bin_dir, data)
    server.start()
    return server, f"postgresql://taglock@127.0.0.1:{port}/postgres"


def find_memory() -> Path | None:
    """Return the folder that is kept in memory, or None where it is missing or small."""
    if not MEMORY.is_mount() or not os.access(MEMORY, os.W_OK):
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free >= LEAST_MEMORY_BYTES else None


def make_template(address: str) -> None:
    """Make a migrated database beside the one at this address."""
    with psycopg.connect(address, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {TEMPLATE}")
    url = f"{address.rpartition('/')[0]}/{TEMPLATE}"
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--skip-checks", "--verbosity", "0"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        check=True,
    )


def make_folder(prefix: str, parent: Path | None = None) -> Path:
    """Make a folder for a server that refuses to run as root, and runs as `as_postgres` then."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    return folder


def as_postgres() -> list[str | Path]:
    """Return what comes before a command that refuses root: the user of Debian's package."""
    if os.geteuid() != 0:
        return []
    owner = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout.decode(errors='replace')}")


def main() -> int:
    """Make data to copy, or run the command line's command beside a server; return the status."""
    bin_dir = find_bin()
    if bin_dir is None:
        print("taglock: MISSING: PostgreSQL's server (Debian: postgresql)", file=sys.stderr)
        return MISSING
    if sys.argv[1:] == ["--make"]:
        print(make_migrated(bin_dir, find_memory()))
        return 0
    # A shell makes what it starts in the background ignore this; the command must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    made = os.environ.get("TEST_POSTGRESQL_DATA")
    with postgresql(bin_dir, FOR_TESTS, find_memory(), Path(made) if made else None) as address:
        if not made:
            make_template(address)
        environment = {**os.environ, "DATABASE_URL": address, "TEST_DATABASE_TEMPLATE": TEMPLATE}
        command = subprocess.Popen(sys.argv[1:], env=environment)
        # It is interrupted, and not killed: it has servers of its own to stop.
        signal.signal(signal.SIGTERM, lambda *_: command.send_signal(signal.SIGINT))
        while True:
            try:
                return command.wait()
            except KeyboardInterrupt:
                continue  # The terminal has told the command too: its end is waited for.


if __name__ == "__main__":
    sys.exit(main())
