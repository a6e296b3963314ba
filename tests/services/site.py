"""`make run` as a newcomer runs it, on a free port, with a data folder of its own."""

import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

from containers.tokens.tokens import Caller, CallerKind
from tests.services.accounts import Account, SiteKeys
from tests.services.console import Console
from tests.services.parts import COLLECT_RARELY
from tests.services.postgresql import find_free_port

ROOT = Path(__file__).resolve().parent.parent.parent
READY_SECONDS = 90
STOP_SECONDS = 20


def make_data_dir(path: Path) -> Path:
    """Make a data folder, with the keys and the database that tests/run has migrated, if any."""
    if made := os.environ.get("TEST_DATA_DIR"):
        return shutil.copytree(made, path)
    path.mkdir()
    return path


def own_environment() -> dict[str, str]:
    """Return the environment without what is set for the tests: the site has its own database."""
    settings = ("DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "DJANGO_SETTINGS_MODULE")
    return {name: value for name, value in os.environ.items() if name not in settings}


class Site:
    """A running site: its address, and what it has printed."""

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        registry_url: str = "",
        redis_url: str = "",
        settings: str = "packages_site.settings",
    ) -> None:
        """Start it and wait until it says that it is ready. Raises RuntimeError otherwise."""
        self.port = port or find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = data_dir
        self.lines: list[str] = []
        self._has_redis = bool(redis_url)
        self._env = {
            **own_environment(),
            "DATA_DIR": str(data_dir),
            "DJANGO_SETTINGS_MODULE": settings,
        }
        self._console: Console | None = None
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            ["make", "--silent", "run"],
            cwd=ROOT,
            env={
                **self._env,
                **COLLECT_RARELY,
                # They read every address of the site, which no task needs.
                "CELERY_SKIP_CHECKS": "true",
                "PORT": str(self.port),
                "REGISTRY_URL": registry_url,
                "REDIS_URL": redis_url,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(READY_SECONDS) or self._process.poll() is not None:
            self.stop()
            raise RuntimeError("make run did not get ready:\n" + "".join(self.lines))

    @property
    def commands(self) -> list[str]:
        """The commands that it printed, in order."""
        return [line.strip() for line in self.lines if line.startswith("curl ")]

    @property
    def manage_commands(self) -> list[str]:
        """The commands of manage.py that it printed."""
        return [line.strip() for line in self.lines if " manage.py " in line]

    @property
    def registry_commands(self) -> list[str]:
        """The logins, pushes and deletes that it printed, in order."""
        beginnings = ("skopeo ", "echo demo | skopeo ")
        return [line.strip() for line in self.lines if line.startswith(beginnings)]

    @property
    def login(self) -> str:
        """The first login that it printed: a member's."""
        return next(line for line in self.registry_commands if " login " in line)

    @property
    def pushes(self) -> list[str]:
        """The pushes that it printed, in order."""
        return [line for line in self.registry_commands if " copy " in line]

    @property
    def registry_port(self) -> int:
        """The registry's own port, to which nobody but edge and gate talks in real life."""
        return self.ports_behind["registry"]

    @property
    def ports_behind(self) -> dict[str, int]:
        """The ports behind its edge: of registry, gate and site."""
        text = (self.data_dir / "edge" / "nginx.conf").read_text()
        found = re.findall(r"upstream taglock_(\w+) \{ server 127\.0\.0\.1:(\d+)", text)
        return {name: int(port) for name, port in found}

    def find_processes(self) -> dict[str, int]:
        """Return the process ids of its processes by name, without what those have started."""
        (supervisor,) = _find_children(self._process.pid)
        found = {}
        for pid in _find_children(supervisor):
            command = _read_command(pid)
            for name, mark in self._marks.items():
                if mark in command:
                    found[name] = pid
        return found

    @property
    def _marks(self) -> dict[str, str]:
        """What tells each process by its command line."""
        ports = self.ports_behind
        return {
            "registry": "docker-registry serve",
            "edge": "nginx: master process",
            "gate": f"--port {ports['gate']} ",
            "site": f"--port {ports['site']} ",
            "worker": "packages_site worker" if self._has_redis else "packages_site beat",
            **({"scheduler": "packages_site beat"} if self._has_redis else {}),
        }

    def account(self, username: str) -> Account:
        """Return a person's account at its registry."""
        code = f"print(User.objects.get(username={username!r}).pk)"
        number = int(self.run_python(f"from workspaces.models import User\n{code}"))
        return Account(SiteKeys(self.data_dir), Caller(CallerKind.PERSON, number, username))

    def manage(self, command: str, *arguments: str, stdin: str = "") -> str:
        """Run a command of manage.py beside it; return what it says on standard output.

        It does not check the application first, which takes ten times as long as most commands.
        """
        return self._run_command(command, "--skip-checks", *arguments, stdin=stdin)

    def run_python(self, code: str) -> str:
        """Run Python within its application; return what it prints."""
        return self._run_command("shell", "--no-imports", "-c", code)

    def _run_command(self, *arguments: str, stdin: str = "") -> str:
        if self._console is None:
            self._console = Console(self._env)
        done = self._console.run("manage.py", *arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal as a terminal or a service manager does; return make's exit status."""
        if self._console is not None:
            self._console.close()
            self._console = None
        if self._process.poll() is None:
            if number == signal.SIGINT:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise
        self._reader.join(5)
        return status

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.lines.append(line)
                if re.match(r"\s+Stop\s", line):
                    self._ready.set()
        self._ready.set()


def _find_children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(each) for each in children.read_text().split()]
    except OSError:
        return []


def _read_command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""


def run_command(command: str) -> str:
    """Run a printed command in a shell, as a person would who pastes it; return its output."""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
