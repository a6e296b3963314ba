"""A backup is taken, and read into an empty database, which is usable once it is up to now."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from psycopg.conninfo import make_conninfo

from packages_site.bundle import (
    BadBundleError,
    Manifest,
    hash_files,
    new_bundle,
    read_bundle,
    write_manifest,
)
from packages_site.management.commands import restore
from tests.conftest import is_postgresql
from tests.services.console import Console

pytestmark = [pytest.mark.process, pytest.mark.both_databases]

CUT_OFF = """
import django
django.setup()
from workspaces.restore_note import connection
connection.cursor().execute("UPDATE taglock_restore SET loaded = 0")
"""
STATUS = """
import django
django.setup()
from packages_site.status import read_status
print(*(each.what for each in read_status()))
"""
SETTINGS = {
    "SECRET_KEY": "a secret key of fifty characters, and a few more than that",
    "PUBLIC_URL": "http://tags.example",
    "REGISTRY_URL": "",
}


def of_django(settings: Mapping[str, str]) -> dict[str, str]:
    return {**settings, "DJANGO_SETTINGS_MODULE": "packages_site.settings"}


@pytest.fixture
def installations(tmp_path: Path) -> Iterator[list[dict[str, str]]]:
    """The settings of two installations without anything in them."""
    names = [f"kept_{os.getpid()}_{number}" for number in range(2)]
    settings = [{**SETTINGS, "DATA_DIR": str(tmp_path / name)} for name in names]
    if not is_postgresql():
        yield [{**each, "DATABASE_URL": ""} for each in settings]
        return
    given = connection.settings_dict
    address = f"postgresql://{given['USER']}@{given['HOST']}:{given['PORT']}"
    with psycopg.connect(make_conninfo(f"{address}/postgres"), autocommit=True) as server:
        for name in names:
            server.execute(f'CREATE DATABASE "{name}"')
        yield [
            {**each, "DATABASE_URL": f"{address}/{name}"}
            for each, name in zip(settings, names, strict=True)
        ]
        for name in names:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_a_backup_is_restored_and_used_only_once_it_is_up_to_now(
    python: Console, installations: list[dict[str, str]], tmp_path: Path
) -> None:
    before, after = installations

    def manage(settings: Mapping[str, str], *command: str) -> tuple[int, str]:
        done = python.run("manage.py", *command, env=settings)
        return done.returncode, done.stdout + done.stderr

    manage(before, "migrate", "-v0")
    manage(before, "create_workspace", "acme", "--name", "Acme")
    status, said = manage(before, "backup", str(tmp_path / "nowhere"))
    assert (status, "install -d" in said) == (2, True)
    done = python.run("manage.py", "backup", str(tmp_path), env=before)
    bundle = Path(done.stdout.strip())
    assert "SECRET_KEY is not in the backup" in done.stderr
    assert "The last one was taken" in python.run("-c", STATUS, env=of_django(before)).stdout
    assert json.loads((bundle / "manifest.json").read_text())["heads"]["acme"]["sequence"] == 1
    assert bundle.stat().st_mode & 0o777 == 0o700
    files = {path.name: path.stat().st_mode & 0o777 for path in bundle.rglob("*.*")}
    assert {"manifest.json", "acme.note"} < set(files)
    assert set(files.values()) == {0o600}
    assert not any(
        SETTINGS["SECRET_KEY"] in path.read_text("latin-1")
        for path in bundle.glob("*")
        if path.is_file()
    )

    # What is there is not overwritten, and a wrong key changes nothing.
    assert "is not empty" in manage(before, "restore", str(bundle))[1]
    wrong = {**after, "SECRET_KEY": SETTINGS["SECRET_KEY"].upper()}
    status, said = manage(wrong, "restore", str(bundle))
    assert (status, "--secret-key-is-lost" in said) == (1, True)
    status, said = manage(after, "verify_lock_log", "acme")
    assert (status, "lacks" in said or "no database" in said) == (1, True)

    beside = {**after, "REGISTRY_URL": "http://127.0.0.1:9"}
    status, said = manage(beside, "restore", str(bundle))
    assert status == 0, said
    assert "1 workspaces, 1 events" in said
    assert "manage.py reconcile --after-restore" in said
    status, said = manage(
        after, "verify_lock_log", "acme", "--checkpoint", f"{bundle}/checkpoints/acme.note"
    )
    assert (status, "1 checkpoints with a good signature" in said) == (0, True), said
    start = "import packages_site.wsgi"
    done = python.run("-c", start, env=beside)
    assert (done.returncode, "reconcile --after-restore" in done.stderr) == (1, True)
    # As if it had been cut off: nothing but the restore goes on.
    python.run("-c", CUT_OFF, env=of_django(after))
    assert "was cut off: run it again" in manage(after, "check_drift")[1]
    assert "was cut off: run it again" in python.run("-c", start, env=after).stderr
    status, said = manage(beside, "restore", str(bundle), "--export", str(tmp_path / "no.jsonl"))
    assert (status, "cannot be read as an export" in said) == (1, True)
    assert manage(beside, "restore", str(bundle))[0] == 0
    assert manage(beside, "reconcile", "--after-restore") == (
        0,
        "0 tags reconciled, 0 not finished.\n",
    )
    assert python.run("-c", start, env=beside).returncode == 0


def test_a_backup_that_is_cut_off_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_bundle(tmp_path / "one"):
        _ = 1 / 0
    assert not (tmp_path / "one").exists()
    with pytest.raises(BadBundleError, match="was cut off"):
        read_bundle(tmp_path / "one.partial")
    with pytest.raises(BadBundleError, match="is no backup"):
        read_bundle(tmp_path)
    with new_bundle(tmp_path / "two") as partial:
        (partial / "database.dump").write_text("whole")
        write_manifest(partial, Manifest("now", "0.1.0", "x", {}, hash_files(partial)))
    assert read_bundle(tmp_path / "two").is_postgresql
    with pytest.raises(FileExistsError), new_bundle(tmp_path / "two"):
        pass
    (tmp_path / "two" / "database.dump").write_text("other")
    with pytest.raises(BadBundleError, match=r"database\.dump is missing or changed"):
        read_bundle(tmp_path / "two")
    manifest = tmp_path / "two" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(BadBundleError, match="another version"):
        read_bundle(tmp_path / "two")


def test_a_restore_takes_nothing_of_another_one_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Manifest("now", "0.1.0", "x", {}, {})
    has_tables = [True]
    monkeypatch.setattr(restore, "has_tables", lambda: has_tables[-1])
    monkeypatch.setattr(restore, "find_cut_off_bundle", lambda: str(tmp_path / "first"))
    # What is in the database already is of the backup whose restore was cut off.
    assert restore._is_loaded(tmp_path / "first")
    with pytest.raises(BadBundleError, match="or empty the database first"):
        restore._is_loaded(tmp_path / "second")
    has_tables.append(False)
    assert not restore._is_loaded(tmp_path / "second")
    # SQLite would write it into the restored file.
    monkeypatch.setattr(restore, "find_sqlite_file", lambda: tmp_path / "database")
    (tmp_path / "database-wal").write_text("of another one")
    with pytest.raises(BadBundleError, match=r"database-wal is left of another database"):
        restore._load(tmp_path, whole)
    assert not (tmp_path / "database").exists()
