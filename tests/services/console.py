"""Python, loaded once: runs each command in a fork, as a process of its own would.

`python -m tests.services.console` reads commands, one line of JSON each, and answers each with a
line of its status and what it has said.
"""

import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]
# What gates, sites, workers and commands import, and nothing that reads a setting.
LOADED = (
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.solo",
    "cryptography.x509",
    "csp.constants",
    "django.contrib.auth.hashers",
    "django.core.handlers.wsgi",
    "django.core.management",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.test",
    "django.views.debug",
    "jwt",
    "kombu.transport.redis",
    "markdown_it",
    "prometheus_client",
    "psycopg_pool",
    "re2",
    "requests",
    "rest_framework.settings",
    "urllib3",
)
SETTINGS = "DJANGO_SETTINGS_MODULE"


class Console:
    """Runs what is given to `python`, in an environment.

    Where that names the settings, all of Django is loaded before the first command.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.services.console"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, however that is; `env` is added to the environment."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(json.dumps([arguments, stdin, dict(env or {})]) + "\n")
        asked.flush()
        status, out, error = json.loads(answered.readline())
        return subprocess.CompletedProcess(arguments, status, out, error)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _run(arguments: Sequence[str], stdin: str, env: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command in a fork; return its status, and what it has said."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as failed,
    ):
        given.write(stdin.encode())
        given.seek(0)
        if not (pid := os.fork()):
            for number, stream in enumerate((given, said, failed)):
                os.dup2(stream.fileno(), number)
            os.environ.update(env)
            os._exit(be_python(list(arguments)))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, _read(said), _read(failed)


def be_python(arguments: list[str]) -> int:
    """Do what `python` does with these arguments in this process; return its status."""
    status: object = 0
    try:
        if arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
        elif arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = 0 if end.code is None else end.code
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return status if isinstance(status, int) else 1


def _read(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


def main() -> None:
    """Answer until there is nobody to ask."""
    for name in LOADED:
        importlib.import_module(name)
    if SETTINGS in os.environ:
        import django  # noqa: PLC0415  (reads the settings)
        from django.db.migrations.loader import MigrationLoader  # noqa: PLC0415

        django.setup()
        # Every command looks whether the database lacks a migration.
        MigrationLoader(None)
    # The garbage collector of a fork passes over all of it.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_run(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
