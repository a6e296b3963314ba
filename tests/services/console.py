"""`manage.py`, loaded once: runs each command in a fork, as a process of its own would.

`python -m tests.services.console` reads commands, one JSON array of arguments and what goes to
standard input per line, and answers each with a line of its status and what it has said.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]


class Console:
    """Runs commands of manage.py in an environment, which names the settings module too."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.services.console"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, however that is."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(json.dumps([arguments, stdin]) + "\n")
        asked.flush()
        status, out, error = json.loads(answered.readline())
        return subprocess.CompletedProcess(arguments, status, out, error)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _run(arguments: list[str], stdin: str) -> tuple[int, str, str]:
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
            os._exit(_be_manage(["manage.py", *arguments]))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, _read(said), _read(failed)


def _be_manage(command: list[str]) -> int:
    """Run a command in this process; return its status."""
    from packages_site.command_line import main  # noqa: PLC0415  (once Django is set up)

    status: object = 1
    try:
        sys.argv = command
        status = main(command)
    except SystemExit as end:
        status = end.code or 0
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return status if isinstance(status, int) else 1


def _read(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


def main() -> None:
    """Answer until there is nobody to ask."""
    import django  # noqa: PLC0415  (the class above needs none of it)

    django.setup()
    for line in sys.stdin:
        print(json.dumps(_run(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
