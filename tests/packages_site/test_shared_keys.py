"""Nodes with different keys: each says so, in one line, where it is set up, checked and started."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import Error
from django.core.management import call_command
from django.db import OperationalError, connection

from packages_site.key_files import make_log_key_file
from packages_site.shared_keys import check_shared_keys
from tests.packages_site.test_command_line import Done, Run, assert_one_line
from tests.services.console import Console
from workspaces.models import KeyFingerprint

OTHER = 50 * "o"
SETTINGS = {"DJANGO_SETTINGS_MODULE": "packages_site.settings"}
STARTS = [
    ("-c", "import packages_site.wsgi"),
    ("-m", "celery", "--quiet", "--app", "packages_site", "beat"),
]


@pytest.fixture
def run(python: Console, tmp_path: Path) -> Run:
    """Return a function that runs Python as a node, with its own folder, on a shared database."""

    def run(node: str, *command: str, **env: str) -> Done:
        url = f"sqlite:///{tmp_path}/shared.sqlite3"
        own = {"DATA_DIR": str(tmp_path / node), "DATABASE_URL": url, **SETTINGS, **env}
        return python.run(*command, env=own)

    return run


@pytest.fixture
def other_log_key(settings: Any, tmp_path: Path) -> Callable[[], None]:
    """Return a function that gives this node another key of the lock log."""

    def other_log_key() -> None:
        settings.LOG_KEY_FILE = tmp_path / "lock-log-key"
        make_log_key_file(settings.LOG_KEY_FILE, "https://tags.example.org")

    return other_log_key


@pytest.mark.process
def test_a_second_node_is_told_which_keys_it_lacks(run: Run, tmp_path: Path) -> None:
    assert run("one", "manage.py", "migrate", "--verbosity", "0").returncode == 0
    done = run("two", "manage.py", "migrate", "--verbosity", "0")
    assert done.returncode == 1
    assert "has another SECRET_KEY than the other nodes" in done.stderr
    assert_one_line(run("two", "manage.py", "create_workspace", "acme"), "another SECRET_KEY")
    for command in STARTS:
        done = run("two", *command)
        assert done.returncode == 1
        assert "has another SECRET_KEY than the other nodes" in done.stderr
        assert done.stderr.count("\n") == 1

    # With the same SECRET_KEY all is well, and the lock log's key is not made again.
    theirs = (tmp_path / "one" / "secret-key").read_text()
    done = run("two", "manage.py", "migrate", "--verbosity", "0", SECRET_KEY=theirs)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "two" / "lock-log-key").exists()
    assert run("two", *STARTS[0], SECRET_KEY=theirs).returncode == 0

    # Every node signs with the same key and trusts the same.
    exported = {
        run(node, "manage.py", "token_keys", "export", SECRET_KEY=theirs).stdout
        for node in ("one", "two")
    }
    (bundle,) = exported
    assert bundle.count("BEGIN CERTIFICATE") == 1

    wrong, right = tmp_path / "wrong", tmp_path / "one" / "secret-key"
    wrong.write_text(50 * "w")
    change = ("manage.py", "change_secret_key", "--old-key-file")
    done = run("two", *change, str(wrong), SECRET_KEY=OTHER)
    assert (done.returncode, "not the SECRET_KEY before" in done.stderr) == (1, True)
    assert_one_line(run("two", *STARTS[0], SECRET_KEY=OTHER), "another SECRET_KEY")
    done = run("two", *change, str(right), SECRET_KEY=OTHER)
    assert (done.returncode, done.stdout) == (0, "")
    done = run("two", "manage.py", "token_keys", "export", SECRET_KEY=OTHER)
    assert done.stdout == bundle
    assert run("two", *STARTS[0], SECRET_KEY=OTHER).returncode == 0
    assert_one_line(run("one", *STARTS[0]), "another SECRET_KEY")


def test_the_check_of_a_deployment_says_which_keys_are_others(
    db: None, settings: Any, other_log_key: Callable[[], None]
) -> None:
    assert check_shared_keys(None) == []
    other_log_key()
    settings.SECRET_KEY = OTHER
    found = check_shared_keys(None)
    assert [(type(each), each.id) for each in found] == [
        (Error, "taglock.E001"),
        (Error, "taglock.E002"),
    ]


def test_without_the_database_the_check_of_a_deployment_compares_nothing(db: None) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(fail):
        (message,) = check_shared_keys(None)
    assert message.id == "taglock.I001"


def test_migrating_again_tells_of_another_lock_log_key(
    db: None, other_log_key: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(KeyFingerprint.objects.values_list())
    other_log_key()
    call_command("migrate", verbosity=0)
    assert "has another lock log key than the other nodes" in capsys.readouterr().err
    assert list(KeyFingerprint.objects.values_list()) == before
