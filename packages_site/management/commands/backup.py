"""manage.py backup FOLDER"""

from argparse import ArgumentTypeError
from datetime import UTC
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.models import Max

from packages_site.bundle import (
    CHECKPOINTS,
    FORMER_LOG_KEYS,
    LOG_KEY,
    POSTGRESQL_DUMP,
    SQLITE_COPY,
    Head,
    Manifest,
    hash_files,
    new_bundle,
    sync_folder,
    write_manifest,
)
from packages_site.dump import DumpError, copy_sqlite, dump_postgresql
from packages_site.status import BACKUP_TASK
from packages_site.version import VERSION
from workspaces.log.checkpoints import latest_checkpoint, make_checkpoint
from workspaces.log.files import write_once
from workspaces.log.keys import KeyFileError
from workspaces.log.models import EventSeal
from workspaces.models import Workspace
from workspaces.secret_key import fingerprint_secret_key
from workspaces.sql import read_now
from workspaces.task_runs import note_task_run


class Command(BaseCommand):
    help = (
        "Back up the database, the key of the lock log and the newest checkpoint of each workspace "
        "into a new folder, and print its path. SECRET_KEY is not in it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("folder", type=_read_folder, help="where the backups are kept")

    def handle(self, *args: Any, **options: Any) -> None:
        """Back up, or leave a folder that ends with `.partial`, and say why."""
        at = read_now().astimezone(UTC)
        folder = options["folder"] / f"taglock-{at:%Y%m%dT%H%M%SZ}"
        try:
            with new_bundle(folder) as partial:
                heads = self._write_log(partial)
                _write_database(partial)
                manifest = Manifest(
                    at.isoformat(timespec="seconds").replace("+00:00", "Z"),
                    VERSION,
                    fingerprint_secret_key(),
                    heads,
                    hash_files(partial),
                )
                write_manifest(partial, manifest)
                sync_folder(partial)
        except (OSError, DumpError) as error:
            raise CommandError(f"There is no backup: {error}") from error
        note_task_run(BACKUP_TASK)
        self.stderr.write(
            "SECRET_KEY is not in the backup: keep it with your other secrets, and not beside it."
        )
        self.stdout.write(str(folder))

    def _write_log(self, folder: Path) -> dict[str, Head]:
        """Write keys and newest checkpoints; return how far the log of each workspace is."""
        key = Path(settings.LOG_KEY_FILE)
        for path, name in ((key, LOG_KEY), (Path(f"{key}.former"), FORMER_LOG_KEYS)):
            if path.exists():
                write_once(folder / name, path.read_text(encoding="utf-8"))
        for slug in Workspace.objects.order_by("slug").values_list("slug", flat=True):
            try:
                checkpoint = make_checkpoint(slug)
            except KeyFileError as error:
                self.stderr.write(f"{slug}: the newest checkpoint is an older one: {error}")
                checkpoint = latest_checkpoint(slug)
            if checkpoint is not None:
                write_once(folder / CHECKPOINTS / f"{slug}.note", checkpoint.note)
        return _read_heads()


def _read_heads() -> dict[str, Head]:
    last = EventSeal.objects.values("workspace").annotate(last=Max("sequence"))
    places = {row["workspace"]: row["last"] for row in last}
    heads = {}
    for slug, sequence in sorted(places.items()):
        seal = EventSeal.objects.get(workspace=slug, sequence=sequence)
        heads[slug] = Head(sequence, seal.hash)
    return heads


def _write_database(folder: Path) -> None:
    if connection.vendor == "postgresql":
        dump_postgresql(folder / POSTGRESQL_DUMP)
    else:
        copy_sqlite(folder / SQLITE_COPY)


def _read_folder(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_dir():
        raise ArgumentTypeError(
            f"there is no folder {path}: make one for Taglock's user alone: "
            f"install -d -o taglock -m 700 {path}"
        )
    return path
