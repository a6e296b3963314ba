"""No command but `migrate` makes a database or a key; each says in one line what is missing."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from packages_site.command_line import RESTORE, WITHOUT_DATABASE, WITHOUT_MIGRATIONS
from packages_site.data_dir import make_command_line
from tests.services.console import Console
from tests.services.postgresql import find_free_port
from tests.services.site import ROOT

pytestmark = pytest.mark.process

# Each command in a process of its own, forked from one that has loaded everything.
RUN_EVERY_COMMAND = """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "packages_site.settings"
import django
django.setup()
from django.core.management import get_commands
from packages_site.command_line import main

folder, harmless = sys.argv[1], json.loads(sys.argv[2])
statuses = {}
for name in sorted(get_commands()):
    if name in ("migrate", "test", "testserver"):
        continue
    if not (pid := os.fork()):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, stream in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{name}.{stream}", os.O_WRONLY | os.O_CREAT), number)
        try:
            status = main(["manage.py", name, *harmless.get(name, [])])
        except SystemExit as error:
            status = error.code or 0
        os._exit(status if isinstance(status, int) else 99)
    statuses[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps(statuses))
"""
HARMLESS = {
    "collectstatic": ["--dry-run", "--noinput"],
    "makemigrations": ["--check", "--dry-run"],
    "spectacular": ["--file", os.devnull],
}


Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def run(python: Console) -> Run:
    """Return a function that runs Python with its data in a folder."""

    def run(data_dir: Path, *command: str, **env: str) -> Done:
        return python.run(*command, env={"DATA_DIR": str(data_dir), **env})

    return run


@pytest.fixture
def manage(run: Run) -> Run:
    """Return a function that runs a command of manage.py with its data in a folder."""

    def manage(data_dir: Path, *command: str, **env: str) -> Done:
        return run(data_dir, "manage.py", *command, **env)

    return manage


def assert_one_line(done: Done, *words: str) -> None:
    """Assert that a command has failed, and has said why in one line, and nothing else."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.startswith("taglock: "), done
    assert done.stderr.count("\n") == 1, done
    for word in words:
        assert word in done.stderr


def run_every_command(run: Run, data_dir: Path, folder: Path) -> dict[str, int]:
    folder.mkdir()
    done = run(data_dir, "-c", RUN_EVERY_COMMAND, str(folder), json.dumps(HARMLESS))
    statuses: dict[str, int] = json.loads(done.stdout)
    assert {"verify_lock_log", "demo", "shell", "flush", "token_keys"} <= set(statuses)
    return statuses


def test_without_a_database_no_command_makes_one_or_a_key(run: Run, tmp_path: Path) -> None:
    data_dir, folder = tmp_path / "data", tmp_path / "said"
    statuses = run_every_command(run, data_dir, folder)
    assert not data_dir.exists()
    for name, status in statuses.items():
        said = (folder / f"{name}.err").read_text()
        assert "Traceback" not in said, name
        # It makes the database, and wants to know from what.
        if name not in {*WITHOUT_DATABASE, RESTORE}:
            assert status == 1, name
            assert (folder / f"{name}.out").read_text() == "", name
            assert said.startswith(f"taglock: there is no database {data_dir}/taglock.sqlite3. ")
            assert f"DATA_DIR={data_dir} .venv/bin/python manage.py migrate" in said
            assert said.count("\n") == 1, name


def test_on_a_database_without_tables_every_command_says_so(run: Run, tmp_path: Path) -> None:
    data_dir, folder = tmp_path / "data", tmp_path / "said"
    data_dir.mkdir()
    file = data_dir / "taglock.sqlite3"
    file.touch()
    for name, status in run_every_command(run, data_dir, folder).items():
        said = (folder / f"{name}.err").read_text()
        assert "Traceback" not in said, name
        if name not in WITHOUT_DATABASE | WITHOUT_MIGRATIONS:
            assert status == 1, name
            assert said.startswith("taglock: the database lacks "), name
            assert "manage.py migrate" in said
            assert said.count("\n") == 1, name
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert {path.name.partition("-")[0] for path in data_dir.iterdir()} == {"taglock.sqlite3"}


def test_migrate_makes_database_and_keys_and_then_commands_work(
    manage: Run, tmp_path: Path
) -> None:
    data_dir = tmp_path / "not" / "there" / "yet"
    for option in ("--plan", "--check"):
        assert_one_line(manage(data_dir, "migrate", option), "there is no database")
    assert not data_dir.exists()
    done = manage(data_dir, "migrate", "--verbosity", "0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = {path.name for path in data_dir.iterdir()}
    assert {"secret-key", "lock-log-key", "taglock.sqlite3"} <= made
    assert (data_dir / "taglock.sqlite3").stat().st_mode & 0o777 == 0o600
    kept = {name: (data_dir / name).read_bytes() for name in ("secret-key", "lock-log-key")}
    assert manage(data_dir, "create_workspace", "acme", "--name", "Acme").returncode == 0
    assert manage(data_dir, "migrate", "--verbosity", "0").returncode == 0
    assert manage(data_dir, "seal_lock_log").returncode == 0
    assert manage(data_dir, "verify_lock_log", "acme").returncode == 0
    assert {name: (data_dir / name).read_bytes() for name in kept} == kept
    # A database whose keys were lost.
    (data_dir / "secret-key").unlink()
    assert_one_line(manage(data_dir, "verify_lock_log", "acme"), "no secret key", "migrate")


@pytest.mark.parametrize("command", ["migrate", "verify_lock_log"])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://taglock:hunter2@127.0.0.1:1/taglock",
        "sqlite:////dev/null/taglock.sqlite3",
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(
    manage: Run, tmp_path: Path, command: str, url: str
) -> None:
    done = manage(tmp_path, command, *(["acme"] * (command != "migrate")), DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("-c", "import packages_site.wsgi"),
        ("-m", "celery", "--quiet", "--app", "packages_site", "beat"),
    ],
)
def test_site_gate_and_scheduler_make_no_keys_either(
    run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    env = {"DJANGO_SETTINGS_MODULE": "packages_site.settings"}
    done = run(tmp_path / "data", *command, **env)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    for words in ("taglock: there is no secret key", "SECRET_KEY", "manage.py migrate"):
        assert words in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("data_dir", "line"),
    [
        (ROOT / "var", ".venv/bin/python manage.py migrate"),
        (Path("/tmp/tag lock"), "DATA_DIR='/tmp/tag lock' .venv/bin/python manage.py migrate"),  # noqa: S108
    ],
)
def test_a_printed_command_names_the_folder_where_it_is_not_the_default(
    settings: Any, data_dir: Path, line: str
) -> None:
    settings.DATA_DIR = data_dir
    assert make_command_line("migrate") == line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://taglock:hunter2@127.0.0.1:1/taglock"),
        ("LOG_KEY_FILE", "/dev/null/keys/key"),
    ],
)
def test_make_run_says_in_one_line_what_it_cannot_use(
    run: Run, tmp_path: Path, name: str, value: str
) -> None:
    env = {"DJANGO_SETTINGS_MODULE": "packages_site.settings", "PORT": str(find_free_port())}
    done = run(tmp_path, "-m", "packages_site.run", **env, **{name: value})
    assert_one_line(done)
    assert "hunter2" not in done.stderr
