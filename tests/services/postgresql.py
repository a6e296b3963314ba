"""A PostgreSQL server of the tests' own: `python -m tests.services.postgresql COMMAND…`.

Starts it in a folder of its own on a free loopback port, runs the command with DATABASE_URL set,
stops it, and exits with the command's status. Says so and exits 3 where PostgreSQL is missing.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MISSING = 3


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


@contextmanager
def postgresql(bin_dir: Path) -> Iterator[str]:
    """Run a server; yield its address for DATABASE_URL. The data goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="taglock-postgresql-"))
    as_owner: list[str | Path] = _as_postgres(folder) if os.geteuid() == 0 else []
    port = find_free_port()
    data = folder / "data"
    try:
        _run([*as_owner, bin_dir / "initdb", "-D", data, "-U", "taglock", "--auth=trust", "-N"])
        options = (
            f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off -c max_connections=200 "
            "-c log_min_messages=fatal"
        )
        control = [*as_owner, bin_dir / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        _run([*control, "-o", options, "start"])
        try:
            yield f"postgresql://taglock@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_postgres(folder: Path) -> list[str | Path]:
    """PostgreSQL refuses to run as root: run it as the user that Debian's package made."""
    owner = pwd.getpwnam("postgres")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout.decode(errors='replace')}")


def main() -> int:
    """Run the command line's command beside a server; return its status."""
    bin_dir = find_bin()
    if bin_dir is None:
        print("taglock: MISSING: PostgreSQL's server (Debian: postgresql)", file=sys.stderr)
        return MISSING
    with postgresql(bin_dir) as address:
        return subprocess.run(sys.argv[1:], env={**os.environ, "DATABASE_URL": address}).returncode


if __name__ == "__main__":
    sys.exit(main())
