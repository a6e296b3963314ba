"""manage.py restore BUNDLE"""

import shlex
import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from containers.connection import find_registries
from immutability.reconcile.replay import replay_export
from packages_site.bundle import (
    CHECKPOINTS,
    FORMER_LOG_KEYS,
    LOG_KEY,
    POSTGRESQL_DUMP,
    SQLITE_COPY,
    BadBundleError,
    Manifest,
    read_bundle,
)
from packages_site.data_dir import find_sqlite_file, has_secret_key, make_command_line
from packages_site.dump import DumpError, has_tables, load_postgresql
from packages_site.restoring import describe_cut_off_restore, find_cut_off_bundle
from workspaces.log.exported import BadExportError
from workspaces.log.files import write_once
from workspaces.log.keys import KeyFileError, read_known_keys
from workspaces.log.models import EventSeal, LockEvent
from workspaces.models import Workspace
from workspaces.restore_note import forget_restore, note_begin, note_begin_in_file, note_loaded
from workspaces.secret_key import fingerprint_secret_key


class Command(BaseCommand):
    help = (
        "Read a backup into the database of DATABASE_URL, which must be empty, and say what to do "
        "next. Until that is done, nothing starts on it."
    )
    # They look at the database, which is empty.
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("bundle", type=Path, help="the folder that `backup` has printed")
        parser.add_argument(
            "--export",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="a newer export of a log, in JSONL: names that were locked or reserved since the "
            "backup are so again; can be repeated",
        )
        parser.add_argument(
            "--secret-key-is-lost",
            action="store_true",
            help="give up the keys of tokens in the backup: the SECRET_KEY of then is not at hand",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore, or say in one line why not; what is there is never overwritten."""
        bundle = options["bundle"].absolute()
        try:
            manifest = read_bundle(bundle)
            self._require_keys(bundle, manifest, is_lost=options["secret_key_is_lost"])
            if not _is_loaded(bundle):
                _load(bundle, manifest)
            _write_keys(bundle)
            if options["secret_key_is_lost"]:
                call_command("change_secret_key", old_key_is_lost=True)
            call_command("migrate", interactive=False, verbosity=0)
            _require_heads(manifest)
            self._replay(options["export"])
        except (BadBundleError, BadExportError, DumpError, KeyFileError, OSError) as error:
            raise CommandError(str(error)) from error
        if _has_registry():
            note_loaded()
        else:
            forget_restore()
        self._tell(bundle, manifest)

    def _require_keys(self, bundle: Path, manifest: Manifest, *, is_lost: bool) -> None:
        """Refuse keys that could not read the backup, before anything is written."""
        if manifest.is_postgresql != (connection.vendor == "postgresql"):
            raise BadBundleError("the backup is of another kind of database than DATABASE_URL's")
        if not has_secret_key():
            raise BadBundleError("set SECRET_KEY first: the one of the backup's time")
        is_same = fingerprint_secret_key() == manifest.secret_key_fingerprint
        if not is_same and not is_lost:
            raise BadBundleError(
                "SECRET_KEY is another one than at the backup's time: set that one; or, if it is "
                "lost, add --secret-key-is-lost, and every registry needs the new keys"
            )
        key, kept = Path(settings.LOG_KEY_FILE), bundle / LOG_KEY
        if key.exists() and kept.exists() and key.read_bytes() != kept.read_bytes():
            raise BadBundleError(
                f"{key} is another key of the lock log than the backup's: move it to another place"
            )

    def _replay(self, exports: list[Path]) -> None:
        """Let the locks be what newer exports of the logs know."""
        keys = read_known_keys() if exports else []
        for path in exports:
            slug, count = replay_export(path, keys)
            self.stdout.write(f"{slug}: {count} locks are as {path} has them.")

    def _tell(self, bundle: Path, manifest: Manifest) -> None:
        """Say what the database has now, and what comes next."""
        self.stdout.write(
            f"Restored the backup of {manifest.made_at}: {Workspace.objects.count()} workspaces, "
            f"{LockEvent.objects.count()} events. It has forgotten what happened since."
        )
        steps = []
        if _has_registry():
            steps += ["reconcile --after-restore", "check_drift", "sync_registry"]
        for slug in manifest.heads:
            note = bundle / CHECKPOINTS / f"{slug}.note"
            checkpoint = ["--checkpoint", str(note)] if note.exists() else []
            steps.append(shlex.join(["verify_lock_log", slug, *checkpoint]))
        self.stdout.write("Next, before you start anything:")
        for step in steps:
            self.stdout.write(f"  {make_command_line(step)}")
        self.stdout.write('See "After a restore" in docs/operations.md.')


def _has_registry() -> bool:
    """Whether a registry is connected, whose word is to be taken: it is newer than the backup."""
    return any(client is not None for _, client in find_registries())


def _is_loaded(bundle: Path) -> bool:
    """Whether a restore that was cut off has filled the database already.

    Raises BadBundleError where that was one of another backup: it would pass for this one.
    """
    begun = find_cut_off_bundle()
    if not (begun and has_tables()):
        return False
    if begun != str(bundle):
        raise BadBundleError(f"{describe_cut_off_restore()}; or empty the database first")
    return True


def _load(bundle: Path, manifest: Manifest) -> None:
    """Fill the database, all of it or nothing. Raises DumpError, OSError and BadBundleError."""
    if has_tables():
        raise BadBundleError(
            f"the database {connection.settings_dict['NAME']} is not empty, and nothing in it is "
            "overwritten: make an empty one, and let DATABASE_URL name it"
        )
    if manifest.is_postgresql:
        note_begin(bundle)
        load_postgresql(bundle / POSTGRESQL_DUMP)
        return
    path = find_sqlite_file()
    if path is None:
        raise BadBundleError("DATABASE_URL names no file")
    for name in (f"{path}-wal", f"{path}-journal"):
        # SQLite would write what it says into the restored file.
        if Path(name).exists() and Path(name).stat().st_size > 0:
            raise BadBundleError(f"{name} is left of another database: move it to another place")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-restoring")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    shutil.copyfile(bundle / SQLITE_COPY, draft)
    note_begin_in_file(draft, bundle)
    draft.rename(path)


def _write_keys(bundle: Path) -> None:
    """Put the log's keys where this node has none."""
    key = Path(settings.LOG_KEY_FILE)
    for name, path in ((LOG_KEY, key), (FORMER_LOG_KEYS, Path(f"{key}.former"))):
        if (bundle / name).exists():
            mode = 0o600 if name == LOG_KEY else 0o644
            write_once(path, (bundle / name).read_text(encoding="utf-8"), mode)


def _require_heads(manifest: Manifest) -> None:
    """Refuse a database whose logs are not those that were backed up. Raises BadBundleError."""
    for slug, head in manifest.heads.items():
        seals = EventSeal.objects.filter(workspace=slug, sequence=head.sequence, hash=head.hash)
        if not seals.exists():
            raise BadBundleError(
                f"the restored log of {slug} does not have event {head.sequence} as it was when "
                "the backup was made: the backup was changed"
            )
